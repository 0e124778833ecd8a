//! Stores that break one promise each are refused for promotions.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use common::block_on;
use registry::{Created, Entry, Error, MemoryStore, Registry, Store, StoreError, Trust};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    /// Every writer is told that it created the object; the first stays.
    EverybodyWins,
    /// The condition is ignored: the last writer overwrites.
    Overwrites,
    /// No writer is told that it won.
    NobodyWins,
    /// A body with a wrong checksum is kept.
    KeepsWrongChecksums,
}

#[derive(Debug)]
struct Liar(MemoryStore, Lie);

#[async_trait]
impl Store for Liar {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.0.get(name).await
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        match self.1 {
            Lie::EverybodyWins => self.0.create(name, body).await.map(|_| Created::New),
            Lie::Overwrites => {
                self.0.delete(name).await?;
                self.0.create(name, body).await
            }
            Lie::NobodyWins => self.0.create(name, body).await.map(|_| Created::Exists),
            Lie::KeepsWrongChecksums => self.0.create(name, body).await,
        }
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.0.entries(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.0.delete(name).await
    }

    async fn refuses_a_wrong_checksum(&self, name: &str) -> Result<bool, StoreError> {
        if self.1 == Lie::KeepsWrongChecksums {
            self.0.keep_wrong_checksums();
        }
        self.0.refuses_a_wrong_checksum(name).await
    }
}

#[test]
fn a_store_that_breaks_a_promise_is_not_trusted_with_promotions() {
    block_on(async {
        for (lie, named) in [
            (Lie::EverybodyWins, "8 of 8 racing writers"),
            (Lie::Overwrites, "racing writers"),
            (Lie::NobodyWins, "none of 8 writers"),
            (Lie::KeepsWrongChecksums, "checksum"),
        ] {
            let registry = Registry::new(Arc::new(Liar(MemoryStore::default(), lie)));
            let trust = Trust::new(registry);
            assert_eq!(trust.known_objection(), None, "nobody asked yet");
            let error = trust.require().await.unwrap_err();
            assert!(matches!(&error, Error::Unsafe(reason) if reason.contains(named)), "{lie:?}: {error}");
            assert!(trust.known_objection().is_some_and(|reason| reason.contains(named)));
        }
        let trust = Trust::new(Registry::new(Arc::new(MemoryStore::default())));
        assert!(trust.require().await.is_ok());
    });
}
