//! Retention keeps the version that judges beside production.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::{block_on, input, registered, version};
use model::protocol::PruneInput;
use registry::{MemoryStore, Registry, Store};

const DAY: i64 = 24 * 3600 * 1000;

#[test]
fn retention_spares_the_version_in_the_shadow_for_as_long_as_it_is_there() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        for number in 0..4 {
            registered(&registry, number).await;
        }
        registry.promote(&input(version(3), "promotion".to_owned(), None), 0).await.unwrap();
        registry.order_shadow(Some(&version(1)), 0.2, "anna").await.unwrap();
        store.set_clock(2 * DAY);
        let keep_one = PruneInput { keep: 1, ..PruneInput::default() };
        // Marked by one run, deleted by a later one.
        for day in [2, 4] {
            store.set_clock(day * DAY);
            registry.prune(&keep_one, day * DAY).await.unwrap();
        }
        let is_there = async |number| registry.manifest(&version(number)).await.is_ok();
        assert_eq!((is_there(0).await, is_there(1).await, is_there(3).await), (false, true, true));

        registry.order_shadow(None, 0.0, "anna").await.unwrap();
        for day in [6, 8] {
            store.set_clock(day * DAY);
            registry.prune(&keep_one, day * DAY).await.unwrap();
        }
        assert_eq!((is_there(1).await, is_there(3).await), (false, true));
    });
}
