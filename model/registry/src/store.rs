//! What the registry needs of a store: three operations, one of them atomic.

use std::{error, fmt};

use async_trait::async_trait;
use bytes::Bytes;

/// Objects by name. Names are `/`-separated paths made by [`crate::Key`].
///
/// Contract, which one suite of tests holds against every implementation:
/// - `create` is atomic: of any number of concurrent calls for one name at most one answers [`Created::New`], and every
///   later `get` returns that call's bytes. A body is never seen in part.
/// - A call that fails may have taken effect (a lost reply); a caller reads back to know.
/// - After `create` answers, every `get` and `list`, by anybody, sees the object.
/// - Every call ends within a bounded time.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The object's bytes; `None` where there is no such object.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError>;

    /// Writes an object unless there is one of that name.
    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError>;

    /// Names that start with `prefix`, ascending.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
}

/// What [`Store::create`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is ours.
    New,
    /// There was one already; it is unchanged. It may be our own, written by a call whose reply was lost.
    Exists,
}

/// A store that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {name} in the object store: {reason}")]
pub struct StoreError {
    /// `read`, `write`, `list`, `open`.
    pub operation: &'static str,
    /// The object or prefix.
    pub name: String,
    /// Why, in the store's words.
    pub reason: String,
    /// Whether the same call may succeed later.
    pub is_transient: bool,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn error::Error + Send + Sync>>,
}
