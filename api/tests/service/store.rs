//! A store in memory that can be switched off.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use registry::{Created, Entry, MemoryStore, Store, StoreError};

/// How a store behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    Answers,
    IsSlow,
    Refuses,
    IsSilent,
}

#[derive(Debug)]
pub(crate) struct Moody {
    pub(crate) inner: Arc<MemoryStore>,
    mood: AtomicU8,
}

impl Moody {
    pub(crate) fn new(inner: Arc<MemoryStore>, mood: Mood) -> Arc<Self> {
        Arc::new(Self { inner, mood: AtomicU8::new(mood as u8) })
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    async fn ask(&self, operation: &'static str, name: &str) -> Result<(), StoreError> {
        let mood = self.mood.load(Ordering::SeqCst);
        if mood == Mood::Answers as u8 {
            return Ok(());
        }
        if mood == Mood::IsSlow as u8 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            return Ok(());
        }
        if mood == Mood::IsSilent as u8 {
            // As long as a real store waits.
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
        let reason = "connection refused".to_owned();
        Err(StoreError { operation, name: name.to_owned(), reason, is_transient: true, source: None })
    }
}

#[async_trait]
impl Store for Moody {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.ask("read", name).await?;
        self.inner.get(name).await
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        self.ask("write", name).await?;
        self.inner.create(name, body).await
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.ask("list", prefix).await?;
        self.inner.entries(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.ask("delete", name).await?;
        self.inner.delete(name).await
    }

    async fn refuses_a_wrong_checksum(&self, name: &str) -> Result<bool, StoreError> {
        self.ask("write", name).await?;
        self.inner.refuses_a_wrong_checksum(name).await
    }
}
