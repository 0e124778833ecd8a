//! API keys and the audit trail, in the bucket.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use common::block_on;
use futures_util::future::join_all;
use model::Digest;
use registry::{AuditOutcome, Created, Deed, Entry, Error, Key, Keys, MemoryStore, Registry, Role, Store, StoreError};

/// A store that lets other tasks run before each operation.
#[derive(Debug, Default)]
struct Polite(MemoryStore);

#[async_trait]
impl Store for Polite {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        tokio::task::yield_now().await;
        self.0.get(name).await
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        tokio::task::yield_now().await;
        self.0.create(name, body).await
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        tokio::task::yield_now().await;
        self.0.entries(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.0.delete(name).await
    }

    async fn refuses_a_wrong_checksum(&self, name: &str) -> Result<bool, StoreError> {
        self.0.refuses_a_wrong_checksum(name).await
    }
}

fn registry() -> (Registry, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::default());
    (Registry::new(Arc::clone(&store) as Arc<dyn Store>), store)
}

#[test]
fn keys_are_made_listed_and_revoked_by_name_or_by_id() {
    block_on(async {
        let (registry, store) = registry();
        let (alice, bot) = ("alice".parse().unwrap(), "bot".parse().unwrap());
        let roles = [Role::Operate, Role::Review, Role::Operate];
        let (first, secret) = registry.create_key(&alice, &roles, "root").await.unwrap();
        assert_eq!(first.roles, [Role::Review, Role::Operate]);
        assert!(secret.expose().starts_with("tw_") && secret.expose().len() == 67);
        assert_eq!(first.sha256, Digest::of(secret.expose().as_bytes()));
        let (second, _) = registry.create_key(&alice, &[Role::Predict], "root").await.unwrap();
        registry.create_key(&bot, &[Role::Predict], "root").await.unwrap();
        let known = registry.keys(&Keys::default()).await.unwrap();
        assert_eq!(known.active().count(), 3);

        assert_eq!(registry.revoke_keys(&alice, Some(&first.id), "root").await.unwrap(), std::slice::from_ref(&first));
        let keys = registry.keys(&known).await.unwrap();
        assert_eq!(keys, registry.keys(&Keys::default()).await.unwrap(), "what is known already changes nothing");
        assert!(keys.active().all(|key| key.id != first.id) && keys.active().count() == 2);
        assert_eq!(registry.revoke_keys(&alice, None, "root").await.unwrap(), [second]);
        assert!(registry.revoke_keys(&alice, None, "root").await.unwrap().is_empty());
        for (name, id) in [("nobody", None), ("bot", Some("00000000"))] {
            let missing = registry.revoke_keys(&name.parse().unwrap(), id, "root").await;
            assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
        }
        // An unreadable revocation counts; an unreadable key is not accepted.
        store.corrupt(&Key::KeyRevocation("alice", &first.id).path(), Vec::clear);
        store.corrupt(&Key::ApiKey("mallory", "00000000").path(), |bytes| bytes.extend(b"{}"));
        let moved = Key::ApiKey("eve", &first.id).path();
        let stolen = store.get(&Key::ApiKey("alice", &first.id).path()).await.unwrap().unwrap();
        store.corrupt(&moved, |bytes| bytes.extend(stolen));
        let keys = registry.keys(&Keys::default()).await.unwrap();
        assert_eq!(keys.active().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["bot"]);
        // That keys were made stays known, even if all objects are lost.
        for path in store.list(Key::API_KEYS).await.unwrap() {
            store.delete(&path).await.unwrap();
        }
        let keys = registry.keys(&keys).await.unwrap();
        assert!(keys.were_made() && keys.all().next().is_none());
        assert!(!registry.keys(&Keys::default()).await.unwrap().were_made());
    });
}

#[test]
fn a_deed_gets_the_next_number_however_many_write_at_once() {
    block_on(async {
        let store = Arc::new(Polite::default());
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        assert!(registry.audit_trail(None, 10).await.unwrap().is_empty());
        let deed = |at: usize| Deed {
            actor: format!("actor-{at}"),
            key: None,
            action: "promote".to_owned(),
            subject: Some("a version".to_owned()),
            reason: None,
            request_id: None,
        };
        let writers = (0..16).map(|at| {
            // Half of them share a process, the others have one each.
            let another = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
            let registry = if at % 2 == 0 { registry.clone() } else { another };
            let deed = deed(at);
            async move { registry.audit(&deed).await.unwrap() }
        });
        let mut numbers = join_all(writers).await;
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=16).collect::<Vec<u64>>());
        let outcome = |word: &str| AuditOutcome { outcome: word.to_owned(), detail: "a run".to_owned() };
        registry.audit_outcome(3, &outcome("done")).await.unwrap();
        registry.audit_outcome(3, &outcome("refused")).await.unwrap();
        let trail = registry.audit_trail(None, 100).await.unwrap();
        assert_eq!(
            trail.iter().map(|audited| audited.entry.sequence).collect::<Vec<_>>(),
            (1..=16).rev().collect::<Vec<_>>()
        );
        assert_eq!(trail[13].outcome, Some(outcome("done")), "the first word counts");
        assert!(trail.iter().filter(|audited| audited.outcome.is_some()).count() == 1);
        // Each entry names the one before it as it is.
        for pair in trail.windows(2) {
            let before = store.get(&Key::Audit(pair[1].entry.sequence).path()).await.unwrap().unwrap();
            assert_eq!(pair[0].entry.previous_entry, Some(Digest::of(&before)));
        }
        let page = registry.audit_trail(Some(5), 3).await.unwrap();
        assert_eq!(page.iter().map(|audited| audited.entry.sequence).collect::<Vec<_>>(), [4, 3, 2]);
        assert!(registry.audit_trail(Some(1), 3).await.unwrap().is_empty());
        // A deleted or changed entry is noticed, and it does not stop the next entry.
        store.delete(&Key::Audit(7).path()).await.unwrap();
        store.0.corrupt(&Key::Audit(16).path(), |bytes| bytes.truncate(20));
        assert_eq!(registry.audit(&deed(17)).await.unwrap(), 17);
        let trail = registry.audit_trail(None, 100).await.unwrap();
        let corrupt = trail.iter().filter(|audited| audited.outcome.as_ref().is_some_and(|o| o.outcome == "corrupt"));
        assert_eq!(corrupt.map(|audited| audited.entry.sequence).collect::<Vec<_>>(), [16, 7]);
        // Another process continues from the entries that it finds.
        let other = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        assert_eq!((other.audit(&deed(18)).await.unwrap(), registry.audit(&deed(19)).await.unwrap()), (18, 19));
    });
}
