//! A store in memory, for tests.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Created, Store, StoreError};

/// Objects in memory, with the same contract as a real store.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Bytes>>,
}

impl MemoryStore {
    /// Changes an object's bytes behind the registry's back, as a failing disk would.
    pub fn corrupt(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut objects = self.objects.lock().expect("no holder panics");
        let mut bytes = objects.get(name).map(|b| b.to_vec()).unwrap_or_default();
        change(&mut bytes);
        objects.insert(name.to_owned(), bytes.into());
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.objects.lock().expect("no holder panics").get(name).cloned())
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        let mut objects = self.objects.lock().expect("no holder panics");
        if objects.contains_key(name) {
            return Ok(Created::Exists);
        }
        objects.insert(name.to_owned(), body);
        Ok(Created::New)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let objects = self.objects.lock().expect("no holder panics");
        Ok(objects.keys().filter(|name| name.starts_with(prefix)).cloned().collect())
    }
}
