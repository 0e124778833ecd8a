//! Callers: who they are, what they may do, how often.
//!
//! A route gets the caller's name and id, never the key. Its signature names the role that it requires.

use std::{marker::PhantomData, sync::Arc};

use governor::DefaultDirectRateLimiter;
use model::Digest;
use poem::{Request, RequestBody, Result, http::StatusCode};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry as Document},
};
use registry::Role;

use crate::{kind::Kind, problem::Problem};

/// The caller of a request.
#[derive(Clone)]
pub(crate) enum Caller {
    /// The holder of a key.
    Holder(Arc<Holder>),
    /// A caller without a key, where no key is needed.
    Anybody,
    /// A caller who needs a key and sent none, or a wrong one.
    Unknown { sent_one: bool },
    /// The keys are not known yet.
    Unanswerable,
}

/// The holder of a key.
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) roles: Vec<Role>,
    pub(crate) sha256: Digest,
    pub(crate) rate: Option<DefaultDirectRateLimiter>,
}

impl Caller {
    /// The name for history and audit trail: the key's name, else the caller's own.
    pub(crate) fn actor(&self, said: Option<String>) -> Option<String> {
        match self {
            Self::Holder(holder) => Some(holder.name.clone()),
            _ => said,
        }
    }

    /// Whether the caller may see internals of the service.
    pub(crate) fn is_trusted(&self) -> bool {
        matches!(self, Self::Holder(_) | Self::Anybody)
    }

    /// Refuses a key that is over its rate limit.
    pub(crate) fn limit_rate(&self) -> Result<(), Problem> {
        let Self::Holder(holder) = self else { return Ok(()) };
        match &holder.rate {
            Some(rate) if rate.check().is_err() => {
                let detail = "This key is over its rate limit.";
                Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, Kind::TooManyRequests, detail))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a caller without a key, or without this role.
    ///
    /// With no role given, every key is accepted.
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
                let detail = "This replica does not know the API keys yet, because the object store does not answer.";
                Err(Problem::store_unavailable(detail))
            }
        }
    }
}

/// A role that a route requires.
pub(crate) trait Need: Send {
    /// None: any key is accepted.
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

/// A caller with the role that the route requires.
///
/// A route without this parameter says why.
pub(crate) struct By<N> {
    pub(crate) caller: Caller,
    need: PhantomData<N>,
}

/// Any caller, with or without a key. A wrong key is refused.
pub(crate) struct MaybeKey(pub(crate) Caller);

/// The caller of a request.
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
            description: Some("An API key. `threatwatch keys new` makes one."),
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
