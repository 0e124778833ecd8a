//! `/health`, `/about` and `/whoami`: the state of the service, its release, the caller.

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

/// The state of the service.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct State {
    /// `live` or `ready`.
    status: String,
    /// The version that serves.
    model_version: Option<String>,
    /// The generation that serves.
    generation: Option<u64>,
    /// `true` while the object store does not answer, so that a newer model would not be noticed. Verdicts continue.
    stale: Option<bool>,
    /// Since when it is stale: RFC 3339, UTC.
    stale_since: Option<String>,
    /// Why the newest promotion cannot be followed now: its model cannot be loaded, or, with `stale`, the object store does
    /// not answer. Verdicts continue with the model that serves.
    trouble: Option<String>,
    /// Why no version can be promoted: the guarantee that the object store lacks.
    promotion_refused: Option<String>,
    /// Why no workflow can be started now.
    temporal_trouble: Option<String>,
    /// Encryption keys of payloads for Temporal, as `id:fingerprint`. The first one encrypts.
    payload_keys: Option<Vec<String>>,
}

/// About this service.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct About {
    /// `threatwatch`.
    name: String,
    /// The release.
    version: String,
    /// The address of Temporal's Web UI, which shows the workflows.
    temporal_ui: Option<String>,
}

/// The caller, as the service sees it.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct WhoAmI {
    /// Whether the service requires API keys.
    keys_required: bool,
    /// The name of the API key. None without a key.
    name: Option<String>,
    /// The roles of the key: `predict`, `review`, `operate`.
    roles: Option<Vec<String>>,
}

answers! {
    /// Answers of `/whoami`.
    WhoAnswer {
        /// The caller.
        #[oai(status = 200)]
        Ok(Json<WhoAmI>),
    }
}
answers! {
    /// Answers of `/about`.
    AboutAnswer {
        /// Name and release.
        #[oai(status = 200)]
        Ok(Json<About>),
    }
}
answers! {
    /// Answers of `/health/live` and `/health/ready`.
    HealthAnswer {
        /// The service is up.
        #[oai(status = 200)]
        Ok(Json<State>),
    }
}

#[OpenApi(tag = "Tag::Health")]
impl Health {
    /// Check that the process is alive. Needs no other part.
    #[oai(path = "/health/live", method = "get")]
    async fn live(&self, request: &Request) -> HealthAnswer {
        HealthAnswer::Ok(Json(self.state("live", request)))
    }

    /// Check that the service can judge comments.
    ///
    /// It can from its first model on, even while the object store and Temporal are away.
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
                &format!(" No model can be promoted, because the object store lacks a guarantee: {objection}.");
        }
        problem.into()
    }

    /// Show the name and release of this service.
    #[oai(path = "/about", method = "get")]
    async fn about(&self, _by: By<Read>) -> AboutAnswer {
        AboutAnswer::Ok(Json(About {
            name: "threatwatch".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            temporal_ui: self.0.temporal_ui.as_ref().map(ToString::to_string),
        }))
    }

    /// Show the caller and its roles. Needs no key; a wrong key is refused.
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
    /// Callers without a key see that something is wrong, but not the reason, which may name hosts and paths.
    fn state(&self, status: &str, request: &Request) -> State {
        let is_trusted = caller::caller_of(request).is_trusted();
        let told = |reason: String| if is_trusted { reason } else { "send an API key to see the reason".to_owned() };
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
