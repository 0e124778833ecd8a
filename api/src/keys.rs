//! The active API keys, from the store, or from disk while it is away.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use governor::{Quota, RateLimiter};
use model::Digest;
use poem::{Request, http::header};
use registry::{Cache, Keys, Registry};
use subtle::ConstantTimeEq;

use crate::{
    caller::{Caller, Holder},
    circuit::Circuit,
    dialect::Dialect,
};

/// How often the store is asked for keys and revocations.
///
/// A revocation takes effect within five seconds.
const LOOK: Duration = Duration::from_secs(2);
/// Time limit for an answer of the store.
///
/// A store that is known to be away is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The header for a key beside `Authorization`.
const KEY_HEADER: &str = "x-api-key";

/// The active keys, read from the store regularly.
pub(crate) struct KeyRing {
    registry: Registry,
    store: Circuit,
    cache: Option<Cache>,
    /// Whether a key is required even if none was ever made.
    always: bool,
    per_second: Option<NonZeroU32>,
    known: ArcSwapOption<Known>,
    /// Whether the disk has the keys that are known.
    is_kept: AtomicBool,
    is_reported: AtomicBool,
}

struct Known {
    keys: Keys,
    holders: Vec<Arc<Holder>>,
}

impl KeyRing {
    /// A key ring with the keys of the cache, if there are any.
    pub(crate) fn new(
        registry: Registry,
        store: Circuit,
        cache: Option<Cache>,
        always: bool,
        per_second: Option<NonZeroU32>,
    ) -> Self {
        let (known, is_kept, is_reported) = (ArcSwapOption::empty(), AtomicBool::new(true), AtomicBool::new(false));
        let ring = Self { registry, store, cache, always, per_second, known, is_kept, is_reported };
        if let Some(keys) = ring.cache.as_ref().and_then(Cache::keys) {
            ring.take(keys);
        }
        ring
    }

    /// Whether a request needs a key: once one was made, and while this is unknown.
    pub(crate) fn is_required(&self) -> bool {
        self.always || self.known.load().as_ref().is_none_or(|known| known.keys.were_made())
    }

    /// Whether the keys are known, from the store or the cache.
    pub(crate) fn is_known(&self) -> bool {
        self.known.load().is_some()
    }

    /// Whether it is known that there is no active key.
    pub(crate) fn has_none(&self) -> bool {
        self.known.load().as_ref().is_some_and(|known| known.holders.is_empty())
    }

    /// The caller of a request.
    pub(crate) fn caller(&self, request: &Request) -> Caller {
        // Another scheme is meant for something else, such as a proxy.
        let bearer = request.header(header::AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.split_once(' ').unwrap_or((value, ""));
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        let dialect = Dialect::of(request.uri().path());
        let of_dialect = dialect.and_then(|dialect| dialect.key(request));
        let sent = bearer.or_else(|| request.header(KEY_HEADER)).or(of_dialect.as_deref());
        let known = self.known.load();
        match (sent, &*known) {
            // Clients of other services always send a key. Any key is accepted where none is required.
            (Some(_), Some(_)) if dialect.is_some() && !self.is_required() => Caller::Anybody,
            (_, None) => Caller::Unanswerable,
            (Some(key), Some(known)) => match find(&known.holders, key) {
                Some(holder) => Caller::Holder(holder),
                None => Caller::Unknown { sent_one: true },
            },
            (None, Some(_)) if self.is_required() => Caller::Unknown { sent_one: false },
            (None, Some(_)) => Caller::Anybody,
        }
    }

    /// Checks a caller once more: the key may have been revoked since.
    pub(crate) fn again(&self, caller: &Caller) -> Caller {
        let known = self.known.load();
        match (caller, &*known) {
            (Caller::Holder(holder), Some(known)) => {
                let holder = known.holders.iter().find(|known| known.sha256 == holder.sha256);
                holder.map_or(Caller::Unknown { sent_one: true }, |holder| Caller::Holder(Arc::clone(holder)))
            }
            (Caller::Anybody, Some(_)) if self.is_required() => Caller::Unknown { sent_one: false },
            (caller, _) => caller.clone(),
        }
    }

    /// Reads the keys from the store once.
    ///
    /// Deleted and revoked keys are refused from then on.
    pub(crate) async fn look(&self) -> Result<(), String> {
        let known = self.known.load_full();
        let nothing = Keys::default();
        let asking = self.registry.keys(known.as_ref().map_or(&nothing, |known| &known.keys));
        let keys = match tokio::time::timeout(PATIENCE, self.store.guard(asking)).await {
            Ok(Ok(keys)) => keys.map_err(|error| error.to_string())?,
            Ok(Err(outage)) => return Err(outage.reason),
            Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        if known.is_none_or(|known| known.keys != keys) {
            self.take(keys);
            self.is_kept.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes the known keys to disk, unless the disk has them.
    async fn keep(&self) {
        let (Some(cache), Some(known)) = (self.cache.clone(), self.known.load_full()) else { return };
        if self.is_kept.load(Ordering::Relaxed) {
            return;
        }
        let keeping = tokio::task::spawn_blocking(move || cache.keep_keys(&known.keys)).await;
        match keeping {
            Ok(Ok(())) => self.is_kept.store(true, Ordering::Relaxed),
            Ok(Err(error)) if !self.is_reported.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "the API keys cannot be written to disk; the service keeps trying");
            }
            _ => {}
        }
    }

    /// Reads the keys from the store for ever.
    pub(crate) async fn follow(&self) {
        loop {
            match self.look().await {
                Ok(()) if self.is_kept.load(Ordering::Relaxed) => self.is_reported.store(false, Ordering::Relaxed),
                Ok(()) => self.keep().await,
                // An outage of the store is logged elsewhere.
                Err(reason) if self.store.outage().is_none() && !self.is_reported.swap(true, Ordering::Relaxed) => {
                    tracing::warn!(reason, "API keys and revocations cannot be read; the known keys stay in use");
                }
                Err(_) => {}
            }
            if self.store.outage().is_some() {
                self.store.answering().await;
            } else {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    fn take(&self, keys: Keys) {
        let before = self.known.load_full();
        let before: BTreeMap<&Digest, &Arc<Holder>> =
            before.iter().flat_map(|known| &known.holders).map(|holder| (&holder.sha256, holder)).collect();
        let holder = |key: &registry::ApiKey| match before.get(&key.sha256) {
            // Keeps what is left of its rate.
            Some(holder) => Arc::clone(holder),
            None => Arc::new(Holder {
                name: key.name.to_string(),
                id: key.id.clone(),
                roles: key.roles.clone(),
                sha256: key.sha256.clone(),
                rate: self.per_second.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
            }),
        };
        let holders = keys.active().map(holder).collect();
        self.known.store(Some(Arc::new(Known { keys, holders })));
    }
}

/// The holder of a key. Takes the same time for every key, right or wrong.
fn find(holders: &[Arc<Holder>], key: &str) -> Option<Arc<Holder>> {
    let sha256 = Digest::of(key.as_bytes());
    let mut found = None;
    for holder in holders {
        if bool::from(holder.sha256.as_str().as_bytes().ct_eq(sha256.as_str().as_bytes())) {
            found = Some(holder);
        }
    }
    found.cloned()
}
