//! What the registry needs of a store: a few operations, one of them atomic.

use std::{error, fmt};

use async_trait::async_trait;
use bytes::Bytes;

/// Objects by name. Names are `/`-separated paths made by [`crate::Key`].
///
/// Contract, which one suite of tests holds against every implementation:
/// - `create` is atomic: of any number of concurrent calls for one name at most one answers [`Created::New`], and every
///   later `get` returns that call's bytes. A body is never seen in part.
/// - A call that fails may have taken effect (a lost reply), or may take effect later, until the store refuses its
///   signature; a caller reads back to know.
/// - After `create` answers, every `get` and `entries`, by anybody, sees the object; after `delete`, none does.
/// - Every call ends within a bounded time.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The object's bytes; `None` where there is no such object.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError>;

    /// The object's bytes, by a single request: for those who soon ask again anyway.
    async fn get_at_once(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.get(name).await
    }

    /// Writes an object unless there is one of that name.
    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError>;

    /// Objects whose names start with `prefix`, by name.
    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError>;

    /// Removes an object; nothing happens where there is none.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Removes an object by a single request: where that is answered, none is on its way that could take effect later.
    async fn delete_at_once(&self, name: &str) -> Result<(), StoreError> {
        self.delete(name).await
    }

    /// Offers a body under a checksum that is not its own; whether the store refuses it, and keeps nothing.
    async fn refuses_a_wrong_checksum(&self, name: &str) -> Result<bool, StoreError>;

    /// The clock that [`Entry::written`] is by, as near as it is known here: milliseconds since 1970, UTC.
    fn now(&self) -> i64 {
        crate::now_millis()
    }

    /// Names that start with `prefix`, ascending.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.entries(prefix).await?.into_iter().map(|entry| entry.name).collect())
    }
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// When it was written, by the store's clock: milliseconds since 1970, UTC.
    pub written: i64,
    /// Its length.
    pub bytes: u64,
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
    /// `read`, `write`, `list`, `delete`, `open`.
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
