//! Who calls: API keys, their roles, and how often each may ask.
//!
//! Routes are told the caller's name and id, never a key.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use model::Digest;
use poem::{
    Request, RequestBody, Result,
    http::{StatusCode, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry as Document},
};
use registry::{Cache, Keys, Registry, Role};
use subtle::ConstantTimeEq;

use crate::{circuit::Circuit, kind::Kind, problem::Problem};

/// How often the store is asked for keys and revocations: a revocation counts within five seconds.
const LOOK: Duration = Duration::from_secs(2);
/// An answer that takes longer is none. A store that is known to be away is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The other header that a key may come in.
const KEY_HEADER: &str = "x-api-key";

/// Who calls.
#[derive(Clone)]
pub(crate) enum Caller {
    /// The holder of a key.
    Holder(Arc<Holder>),
    /// Somebody without a key, where none is needed.
    Anybody,
    /// Somebody who has to show a key: none was sent, or a wrong one.
    Unknown { sent_one: bool },
    /// Nobody knows yet which keys there are.
    Unanswerable,
}

/// The holder of a key.
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) roles: Vec<Role>,
    sha256: Digest,
    rate: Option<DefaultDirectRateLimiter>,
}

impl Caller {
    /// The name that history and audit trail keep: the key's, else what the caller says.
    pub(crate) fn actor(&self, said: Option<String>) -> Option<String> {
        match self {
            Self::Holder(holder) => Some(holder.name.clone()),
            _ => said,
        }
    }

    /// Whether it is somebody who may know how the service is built.
    pub(crate) fn is_trusted(&self) -> bool {
        matches!(self, Self::Holder(_) | Self::Anybody)
    }

    /// Refuses who has no key or not this role. Without a role every key will do.
    pub(crate) fn require(&self, role: Option<Role>) -> Result<(), Problem> {
        let unauthorized = |detail| Problem::new(StatusCode::UNAUTHORIZED, Kind::Unauthorized, detail);
        match self {
            Self::Anybody => Ok(()),
            Self::Holder(holder) => match role {
                Some(role) if !holder.roles.contains(&role) => {
                    let detail = format!("This needs a key with the role `{role}`.");
                    Err(Problem::new(StatusCode::FORBIDDEN, Kind::Forbidden, detail))
                }
                _ => Ok(()),
            },
            Self::Unknown { sent_one: true } => Err(unauthorized("The API key is wrong or was revoked.")),
            Self::Unknown { sent_one: false } => {
                Err(unauthorized("Send an API key as `Authorization: Bearer KEY` or `X-API-Key: KEY`."))
            }
            Self::Unanswerable => {
                let detail = "The API keys are not known here yet, because the object store does not answer.";
                Err(Problem::store_unavailable(detail))
            }
        }
    }
}

/// Every key that may be used, kept up with the store.
pub(crate) struct KeyRing {
    registry: Registry,
    store: Circuit,
    cache: Option<Cache>,
    /// Whether a key is needed even if none was ever made.
    always: bool,
    per_second: Option<NonZeroU32>,
    known: ArcSwapOption<Known>,
    /// Whether the disk has what is known.
    is_kept: AtomicBool,
    is_reported: AtomicBool,
}

struct Known {
    keys: Keys,
    holders: Vec<Arc<Holder>>,
}

impl KeyRing {
    /// A ring that knows what the cache has, if it has something.
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

    /// Whether a request needs a key: from the first key on, and while nobody has told.
    pub(crate) fn is_required(&self) -> bool {
        self.always || self.known.load().as_ref().is_none_or(|known| known.keys.were_made())
    }

    /// Whether the store or the cache has told which keys there are.
    pub(crate) fn is_known(&self) -> bool {
        self.known.load().is_some()
    }

    /// Whether it is known that no key can be used.
    pub(crate) fn has_none(&self) -> bool {
        self.known.load().as_ref().is_some_and(|known| known.holders.is_empty())
    }

    /// Who sent a request.
    pub(crate) fn caller(&self, request: &Request) -> Caller {
        // Another scheme is meant for somebody else, a proxy perhaps.
        let bearer = request.header(header::AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.split_once(' ').unwrap_or((value, ""));
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        let sent = bearer.or_else(|| request.header(KEY_HEADER));
        let known = self.known.load();
        match (sent, &*known) {
            (_, None) => Caller::Unanswerable,
            (Some(key), Some(known)) => match find(&known.holders, key) {
                Some(holder) => Caller::Holder(holder),
                None => Caller::Unknown { sent_one: true },
            },
            (None, Some(_)) if self.is_required() => Caller::Unknown { sent_one: false },
            (None, Some(_)) => Caller::Anybody,
        }
    }

    /// Asks the store once. Keys that are gone or revoked do not count from then on.
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

    /// Keeps on disk what is known, unless the disk has it.
    async fn keep(&self) {
        let (Some(cache), Some(known)) = (self.cache.clone(), self.known.load_full()) else { return };
        if self.is_kept.load(Ordering::Relaxed) {
            return;
        }
        let keeping = tokio::task::spawn_blocking(move || cache.keep_keys(&known.keys)).await;
        match keeping {
            Ok(Ok(())) => self.is_kept.store(true, Ordering::Relaxed),
            Ok(Err(error)) if !self.is_reported.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "the API keys cannot be kept on disk; it is tried again and again");
            }
            _ => {}
        }
    }

    /// Follows the store for ever.
    pub(crate) async fn follow(&self) {
        loop {
            match self.look().await {
                Ok(()) if self.is_kept.load(Ordering::Relaxed) => self.is_reported.store(false, Ordering::Relaxed),
                Ok(()) => self.keep().await,
                Err(reason) if !self.is_reported.swap(true, Ordering::Relaxed) => {
                    tracing::warn!(reason, "API keys and revocations cannot be followed; the known ones go on");
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
            // With what is left of its rate.
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

/// The holder of a key. Takes the same time whichever key it is, and whether it is one or not.
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

/// Refuses a key that asks more often than it may.
pub(crate) fn limit_rate(caller: &Caller) -> Result<(), Problem> {
    let Caller::Holder(holder) = caller else { return Ok(()) };
    match &holder.rate {
        Some(rate) if rate.check().is_err() => {
            let detail = "This key asks more often than it may.";
            Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, Kind::TooManyRequests, detail))
        }
        _ => Ok(()),
    }
}

/// A role that a route asks for.
pub(crate) trait Need: Send {
    /// None where any key will do.
    const ROLE: Option<Role>;
}

/// Any key.
pub(crate) struct Read;
/// The role `predict`.
pub(crate) struct Predict;
/// The role `review`.
pub(crate) struct Review;
/// The role `operate`.
pub(crate) struct Operate;

impl Need for Read {
    const ROLE: Option<Role> = None;
}
impl Need for Predict {
    const ROLE: Option<Role> = Some(Role::Predict);
}
impl Need for Review {
    const ROLE: Option<Role> = Some(Role::Review);
}
impl Need for Operate {
    const ROLE: Option<Role> = Some(Role::Operate);
}

/// A caller who may do what the route does. Every route of a handler has one, or says why it needs none.
pub(crate) struct By<N> {
    pub(crate) caller: Caller,
    need: PhantomData<N>,
}

/// Whoever calls, with or without a key. A key that is wrong is refused.
pub(crate) struct MaybeKey(pub(crate) Caller);

/// Who sent a request.
pub(crate) fn caller_of(request: &Request) -> Caller {
    request.data::<Caller>().expect("every request has a caller").clone()
}

impl<'a> ApiExtractor<'a> for MaybeKey {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(document: &mut Document) {
        By::<Read>::register(document);
    }

    fn security_schemes() -> Vec<&'static str> {
        By::<Read>::security_schemes()
    }

    fn has_security_fallback() -> bool {
        true
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        let caller = caller_of(request);
        if matches!(caller, Caller::Unknown { sent_one: true }) {
            caller.require(None)?;
        }
        Ok(Self(caller))
    }
}

impl<'a, N: Need> ApiExtractor<'a> for By<N> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(document: &mut Document) {
        let scheme = |ty| MetaSecurityScheme {
            ty,
            description: Some("An API key; `threatwatch keys new` makes one."),
            name: None,
            key_in: None,
            scheme: None,
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        let bearer = MetaSecurityScheme { scheme: Some("bearer"), ..scheme("http") };
        document.create_security_scheme("Bearer", bearer);
        let header = MetaSecurityScheme { name: Some("X-API-Key"), key_in: Some("header"), ..scheme("apiKey") };
        document.create_security_scheme("ApiKey", header);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["Bearer", "ApiKey"]
    }

    /// On a loopback address no key is needed until one is made.
    fn has_security_fallback() -> bool {
        true
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        let caller = caller_of(request);
        caller.require(N::ROLE)?;
        Ok(Self { caller, need: PhantomData })
    }
}
