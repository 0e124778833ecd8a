//! `/health` and `/about`: is the service well, and what is it?

use poem::Request;
use poem_openapi::{Object, OpenApi, payload::Json};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Tag, answers};
use crate::{
    caller::{self, By, Caller, MaybeKey, Read},
    context::Context,
    problem::Problem,
};

pub(crate) struct Health(pub(crate) Context);

/// The service is well.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct State {
    /// `live` or `ready`.
    status: String,
    /// The version that serves.
    model_version: Option<String>,
    /// The generation that serves.
    generation: Option<u64>,
    /// `true` while a newer model would not be seen, because the object store does not answer. Verdicts go on.
    stale: Option<bool>,
    /// Since when: RFC 3339, UTC.
    stale_since: Option<String>,
    /// Why production cannot be followed at the moment; predictions go on with the model that serves.
    trouble: Option<String>,
    /// Why the object store is not trusted with promotions; none are made then.
    promotion_refused: Option<String>,
    /// Why no workflow can be started at the moment.
    temporal_trouble: Option<String>,
    /// Keys that payloads for Temporal are encrypted with, as `id:fingerprint`, the one that encrypts first.
    payload_keys: Option<Vec<String>>,
}

/// What this is.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct About {
    /// `threatwatch`.
    name: String,
    /// The release.
    version: String,
    /// Where the workflows can be watched.
    temporal_ui: Option<String>,
}

/// Who a caller is to the service.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct WhoAmI {
    /// Whether the service asks for API keys.
    keys_required: bool,
    /// The name of the key; none without one.
    name: Option<String>,
    /// What the key may be used for: `predict`, `review`, `operate`.
    roles: Option<Vec<String>>,
}

answers! {
    /// Answers of `/whoami`.
    WhoAnswer {
        /// Who it is.
        #[oai(status = 200)]
        Ok(Json<WhoAmI>),
    }
}
answers! {
    /// Answers of `/about`.
    AboutAnswer {
        /// What it is.
        #[oai(status = 200)]
        Ok(Json<About>),
    }
}
answers! {
    /// Answers of `/health/live` and `/health/ready`.
    HealthAnswer {
        /// The service is well.
        #[oai(status = 200)]
        Ok(Json<State>),
    }
}

#[OpenApi(tag = "Tag::Health")]
impl Health {
    /// Is the process alive? Asks nobody else.
    #[oai(path = "/health/live", method = "get")]
    async fn live(&self, request: &Request) -> HealthAnswer {
        HealthAnswer::Ok(Json(self.state("live", request)))
    }

    /// Can it judge comments? Yes from the first model on, also while other parts are away.
    #[oai(path = "/health/ready", method = "get")]
    async fn ready(&self, request: &Request) -> HealthAnswer {
        if *self.0.stopping.borrow() {
            return Problem::stopping().into();
        }
        if self.0.serving.live().is_some() {
            return HealthAnswer::Ok(Json(self.state("ready", request)));
        }
        let mut problem = self.0.serving.missing();
        if let Some(objection) = self.0.trust.known_objection() {
            problem.detail +=
                &format!(" No model can be promoted: the object store cannot be trusted with it: {objection}.");
        }
        problem.into()
    }

    /// What is this service?
    #[oai(path = "/about", method = "get")]
    async fn about(&self, _by: By<Read>) -> AboutAnswer {
        AboutAnswer::Ok(Json(About {
            name: "threatwatch".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            temporal_ui: self.0.temporal_ui.as_ref().map(ToString::to_string),
        }))
    }

    /// Who am I to this service? Needs no key; a wrong one is refused.
    #[oai(path = "/whoami", method = "get")]
    async fn who_am_i(&self, caller: MaybeKey) -> WhoAnswer {
        let holder = match &caller.0 {
            Caller::Holder(holder) => Some(holder),
            _ => None,
        };
        WhoAnswer::Ok(Json(WhoAmI {
            keys_required: self.0.keys.is_required(),
            name: holder.map(|holder| holder.name.clone()),
            roles: holder.map(|holder| holder.roles.iter().map(ToString::to_string).collect()),
        }))
    }
}

impl Health {
    /// Strangers are told that something is wrong, not what: reasons name hosts and paths.
    fn state(&self, status: &str, request: &Request) -> State {
        let is_trusted = caller::caller_of(request).is_trusted();
        let told = |reason: String| if is_trusted { reason } else { "ask with an API key".to_owned() };
        let live = self.0.serving.live();
        let stale = self.0.serving.stale();
        State {
            status: status.to_owned(),
            model_version: live.as_ref().map(|live| live.manifest.version.to_string()),
            generation: live.map(|live| live.generation.0),
            stale: stale.is_some().then_some(true),
            stale_since: stale.as_ref().and_then(|stale| OffsetDateTime::from(stale.since).format(&Rfc3339).ok()),
            trouble: stale.map(|stale| stale.reason).or_else(|| self.0.serving.trouble()).map(told),
            promotion_refused: self.0.trust.known_objection().map(told),
            temporal_trouble: self.0.temporal.outage().map(|outage| told(outage.reason)),
            payload_keys: is_trusted
                .then(|| self.0.orchestrator.codec().names())
                .map(|names| names.iter().map(|name| format!("{}:{}", name.id, name.fingerprint)).collect()),
        }
    }
}
