//! The operations that the registry needs from a store. One of them is atomic.

use std::{error, fmt};

use async_trait::async_trait;
use bytes::Bytes;

/// Objects by name. Names are `/`-separated paths made by [`crate::Key`].
///
/// The contract, which one test suite checks for every implementation:
/// - `create` is atomic: of any number of concurrent calls for one name at most one answers [`Created::New`], and every
///   later `get` returns that call's bytes. A body is never seen in part.
/// - A failed call may have taken effect (a lost reply), or may take effect later, until the store refuses its
///   signature. The caller must read the object to know.
/// - After `create` answers, every `get` and `entries` of any process sees the object; after `delete`, none does.
/// - Every call ends within a bounded time.
///
/// ```
/// use bytes::Bytes;
/// use registry::{Created, MemoryStore, Store};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::default();
/// assert_eq!(store.create("history/1", Bytes::from("first")).await?, Created::New);
/// assert_eq!(store.create("history/1", Bytes::from("second")).await?, Created::Exists);
/// assert_eq!(store.get("history/1").await?, Some(Bytes::from("first")));
///
/// assert_eq!(store.list("history/").await?, ["history/1"]);
/// store.delete("history/1").await?;
/// assert_eq!(store.get("history/1").await?, None);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The object's bytes; `None` if there is no such object.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError>;

    /// The object's bytes, by a single request: for callers that soon try again anyway.
    async fn get_at_once(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.get(name).await
    }

    /// Writes an object unless there is one of that name.
    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError>;

    /// The objects whose names start with `prefix`, sorted by name.
    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError>;

    /// Deletes an object. Nothing happens if there is none.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Deletes an object by a single request.
    ///
    /// After its answer no repetition can take effect later.
    async fn delete_at_once(&self, name: &str) -> Result<(), StoreError> {
        self.delete(name).await
    }

    /// Sends a body with a wrong checksum.
    ///
    /// Returns whether the store refuses it and stores nothing.
    async fn refuses_a_wrong_checksum(&self, name: &str) -> Result<bool, StoreError>;

    /// The time by the store's clock, as [`Entry::written`] has it: milliseconds since 1970, UTC.
    ///
    /// It is as exact as this process knows it.
    fn now(&self) -> i64 {
        crate::now_millis()
    }

    /// The names that start with `prefix`, ascending.
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
    /// There was an object already, and it is unchanged.
    ///
    /// It may be our own, from a call whose reply was lost.
    Exists,
}

/// Why an operation on the store failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {name} in the object store: {reason}")]
pub struct StoreError {
    /// `read`, `write`, `list`, `delete`, `open`.
    pub operation: &'static str,
    /// The object or prefix.
    pub name: String,
    /// The reason, as the store reports it.
    pub reason: String,
    /// Whether the same call may succeed later.
    pub is_transient: bool,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn error::Error + Send + Sync>>,
}
