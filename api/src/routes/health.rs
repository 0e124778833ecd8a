//! `/health` and `/about`: is the service well, and what is it?

use poem::http::StatusCode;
use poem_openapi::{Object, OpenApi, payload::Json};

use super::{Tag, answers};
use crate::{Context, problem::Problem};

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
    /// Why production cannot be followed at the moment; predictions go on with the model that serves.
    trouble: Option<String>,
    /// Why the object store is not trusted with promotions; none are made then.
    promotion_refused: Option<String>,
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
    async fn live(&self) -> HealthAnswer {
        HealthAnswer::Ok(Json(self.state("live")))
    }

    /// Can it judge comments? Yes from the first model on, also while other parts are away.
    #[oai(path = "/health/ready", method = "get")]
    async fn ready(&self) -> HealthAnswer {
        if self.0.serving.live().is_some() {
            return HealthAnswer::Ok(Json(self.state("ready")));
        }
        let mut problem = match self.0.serving.trouble() {
            Some(trouble) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-model", trouble),
            None => Problem::no_model(),
        };
        if let Some(objection) = self.0.trust.known_objection() {
            problem.detail +=
                &format!(" No model can be promoted: the object store cannot be trusted with it: {objection}.");
        }
        problem.into()
    }

    /// What is this service?
    #[oai(path = "/about", method = "get")]
    async fn about(&self) -> Json<About> {
        Json(About {
            name: "threatwatch".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            temporal_ui: self.0.temporal_ui.as_ref().map(ToString::to_string),
        })
    }
}

impl Health {
    fn state(&self, status: &str) -> State {
        let live = self.0.serving.live();
        State {
            status: status.to_owned(),
            model_version: live.as_ref().map(|live| live.manifest.version.to_string()),
            generation: live.map(|live| live.generation.0),
            trouble: self.0.serving.trouble(),
            promotion_refused: self.0.trust.known_objection(),
        }
    }
}
