//! Slow retention: it marks a version after that version was promoted.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{block_on, input, registered, version};
use model::{Generation, protocol::PruneInput};
use registry::{Created, Entry, Error, Key, MemoryStore, Registry, Store, StoreError};

const DAY: i64 = 24 * 3600 * 1000;

/// A store that promotes versions 0 and 2 just before the first mark is written.
#[derive(Debug)]
struct PromotesBeforeTheMark {
    inner: Arc<MemoryStore>,
    is_done: AtomicBool,
}

#[async_trait]
impl Store for PromotesBeforeTheMark {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(name).await
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        if name.starts_with(Key::MARKS) && !self.is_done.swap(true, Ordering::Relaxed) {
            let registry = Registry::new(Arc::clone(&self.inner) as Arc<dyn Store>);
            for number in [0, 2] {
                registry.promote(&input(version(number), format!("promotion of {number}"), None), 0).await.unwrap();
            }
        }
        self.inner.create(name, body).await
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.inner.entries(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name).await
    }

    async fn refuses_a_wrong_checksum(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.refuses_a_wrong_checksum(name).await
    }

    fn now(&self) -> i64 {
        self.inner.now()
    }
}

/// Versions 0 to 2 in the store, none promoted; two days have passed.
async fn three_old_versions(store: &Arc<MemoryStore>) -> Registry {
    let registry = Registry::new(Arc::clone(store) as Arc<dyn Store>);
    for number in 0..3 {
        registered(&registry, number).await;
    }
    store.set_clock(2 * DAY);
    registry
}

#[test]
fn a_version_that_was_promoted_before_its_mark_came_can_be_gone_back_to_at_once() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = three_old_versions(&store).await;
        let slow = PromotesBeforeTheMark { inner: Arc::clone(&store), is_done: AtomicBool::new(false) };
        let keep_one = PruneInput { keep: 1, ..PruneInput::default() };
        let pruned = Registry::new(Arc::new(slow)).prune(&keep_one, 2 * DAY).await.unwrap();
        assert_eq!(pruned.marked, 2);
        let (target, generation) = registry.rollback_target(None).await.unwrap();
        assert_eq!((&target, generation), (&version(0), Generation(2)));
        let back = registry.promote(&input(target, "rollback".to_owned(), Some(generation)), 0).await;
        assert_eq!(back.unwrap().generation, Generation(3));
    });
}

#[test]
fn a_mark_on_what_the_history_names_refuses_nobody_and_is_taken_away() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = three_old_versions(&store).await;
        for number in [0, 2] {
            registry.promote(&input(version(number), format!("promotion of {number}"), None), 0).await.unwrap();
        }
        let mark = Key::Retired(&Key::Model(&version(0)).path()).path();
        store.create(&mark, Bytes::new()).await.unwrap();
        let back = registry.promote(&input(version(0), "rollback".to_owned(), None), 0).await;
        assert_eq!(back.unwrap().generation, Generation(3));
        assert_eq!(store.get(&mark).await.unwrap(), None);
    });
}

#[test]
fn a_version_that_is_only_announced_is_tried_again_and_promoted_when_the_deleter_is_dead() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = three_old_versions(&store).await;
        let announcement = Key::Deleting(&Key::Model(&version(0)).path(), "dead").path();
        store.create(&announcement, Bytes::new()).await.unwrap();
        let promote = || async { registry.promote(&input(version(0), "promotion".to_owned(), None), 0).await };
        let told = promote().await.unwrap_err();
        assert!(matches!(told, Error::BeingDeleted { .. }) && told.is_transient(), "{told}");
        store.set_clock(2 * DAY + DAY / 24);
        assert_eq!(promote().await.unwrap().generation, Generation(1));
    });
}
