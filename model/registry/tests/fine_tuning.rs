//! Bases and checkpoints: used only if whole; unneeded checkpoints are deleted.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::block_on;
use model::{Digest, protocol::PruneInput};
use registry::{Key, MemoryStore, Registry, Store};

/// A day in milliseconds.
const DAY: i64 = 24 * 3600 * 1000;

/// Bytes of three parts.
fn large(seed: u8) -> Vec<u8> {
    (0..20_000_000_u32).map(|i| (i % 251) as u8 ^ seed).collect()
}

#[test]
fn the_newest_whole_checkpoint_is_found_and_older_ones_go() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        let (work, other) = (Digest::of(b"work"), Digest::of(b"other"));
        assert_eq!(registry.newest_checkpoint(&work).await.unwrap(), None);
        registry.put_checkpoint(&work, 9, large(1)).await.unwrap();
        registry.put_checkpoint(&other, 9, large(2)).await.unwrap();
        registry.put_checkpoint(&work, 100, large(3)).await.unwrap();
        assert_eq!(registry.newest_checkpoint(&work).await.unwrap().unwrap(), large(3));
        let names = store.list(&Key::checkpoints(&work)).await.unwrap();
        assert_eq!(names.len(), 4, "the older one is gone, the newer has an index and three parts: {names:?}");

        // A worker that is killed while it writes leaves parts without an index. An index with a lost part is useless.
        let unfinished = Key::part_of(&Key::Checkpoint(&work, 200, 7).path(), 0);
        store.create(&unfinished, vec![0; 10].into()).await.unwrap();
        assert_eq!(registry.newest_checkpoint(&work).await.unwrap().unwrap(), large(3));
        store.delete(names.iter().find(|name| name.contains("part")).unwrap()).await.unwrap();
        assert_eq!(registry.newest_checkpoint(&work).await.unwrap(), None, "it is passed over");
        assert_eq!(registry.newest_checkpoint(&other).await.unwrap().unwrap(), large(2), "of another piece of work");

        registry.delete_checkpoints(&work).await.unwrap();
        assert_eq!(store.list(&Key::checkpoints(&work)).await.unwrap(), [""; 0]);

        // Retention deletes forgotten checkpoints a day later.
        let input = PruneInput { keep: 1, ..PruneInput::default() };
        registry.prune(&input, DAY - 1).await.unwrap();
        assert_eq!(store.list(Key::CHECKPOINTS).await.unwrap().len(), 4);
        assert!(registry.prune(&input, DAY).await.unwrap().bytes >= 20_000_000);
        assert_eq!(store.list(Key::CHECKPOINTS).await.unwrap(), [""; 0]);
    });
}

#[test]
fn a_base_is_kept_once_and_a_changed_part_is_refused() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        let digest = Digest::of(b"base");
        assert!(!registry.has_encoder_base(&digest).await.unwrap());
        registry.put_encoder_base(&digest, large(4)).await.unwrap();
        registry.put_encoder_base(&digest, large(5)).await.unwrap();
        assert_eq!(registry.encoder_base(&digest).await.unwrap().unwrap(), large(4), "the first stays");
        let part = Key::part_of(&Key::EncoderBase(&digest).path(), 1);
        store.delete(&part).await.unwrap();
        store.create(&part, vec![0; 10].into()).await.unwrap();
        assert!(registry.encoder_base(&digest).await.unwrap_err().to_string().contains("changed"));
    });
}
