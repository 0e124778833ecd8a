//! A store in memory, for tests.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Created, Store, StoreError, store::Entry};

/// Objects in memory, with the same contract as a real store.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, (Bytes, i64)>>,
    clock: AtomicI64,
    keeps_wrong_checksums: AtomicBool,
}

impl MemoryStore {
    /// Changes an object's bytes, as a failing disk would.
    ///
    /// If there is no object, it is created.
    pub fn corrupt(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut objects = self.objects.lock().expect("no holder panics");
        let (bytes, _) = objects.entry(name.to_owned()).or_default();
        let mut changed = bytes.to_vec();
        change(&mut changed);
        *bytes = changed.into();
    }

    /// From now on the store accepts bodies with wrong checksums, which makes promotions unsafe.
    pub fn keep_wrong_checksums(&self) {
        self.keeps_wrong_checksums.store(true, Ordering::Relaxed);
    }

    /// Sets the store's clock, which dates writes: milliseconds since 1970, UTC.
    pub fn set_clock(&self, millis: i64) {
        self.clock.store(millis, Ordering::Relaxed);
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.objects.lock().expect("no holder panics").get(name).map(|(bytes, _)| bytes.clone()))
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        let mut objects = self.objects.lock().expect("no holder panics");
        if objects.contains_key(name) {
            return Ok(Created::Exists);
        }
        objects.insert(name.to_owned(), (body, self.clock.load(Ordering::Relaxed)));
        Ok(Created::New)
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let objects = self.objects.lock().expect("no holder panics");
        let entry = |(name, (bytes, written)): (&String, &(Bytes, i64))| Entry {
            name: name.clone(),
            written: *written,
            bytes: bytes.len() as u64,
        };
        Ok(objects.iter().filter(|(name, _)| name.starts_with(prefix)).map(entry).collect())
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.objects.lock().expect("no holder panics").remove(name);
        Ok(())
    }

    fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    async fn refuses_a_wrong_checksum(&self, name: &str) -> Result<bool, StoreError> {
        if self.keeps_wrong_checksums.load(Ordering::Relaxed) {
            self.create(name, Bytes::from_static(b"a body")).await?;
            return Ok(false);
        }
        // Nothing can change a body between the caller and the memory.
        Ok(true)
    }
}
