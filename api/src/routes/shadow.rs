//! `/shadow`: a shadow version, which judges a share of production's comments.

use std::sync::atomic::Ordering;

use model::Version;
use poem_openapi::{Object, OpenApi, payload::Json};

use super::{Tag, answers};
use crate::{
    audit::Request,
    body::Body,
    caller::{By, Operate, Read},
    context::Context,
    figures::rfc3339,
    judging::version_of,
    problem::Problem,
    shadow::{Compared, Tally},
};

pub(crate) struct ShadowRoutes(pub(crate) Context);

/// The shadow version to start.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct ShadowRequest {
    /// A registered version.
    version: String,
    /// Share of the comments that it also judges: above 0, at most 1.
    share: f64,
    /// Who wants it; the name of the API key, where one is used.
    #[oai(validator(max_length = 500))]
    actor: Option<String>,
    /// Why.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

/// The end of a shadow version.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct StopRequest {
    /// Who wants it; the name of the API key, where one is used.
    #[oai(validator(max_length = 500))]
    actor: Option<String>,
    /// Why.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

/// The shadow version, and its comparison with production on this replica since it was started.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct ShadowState {
    /// The shadow version. None if there is none.
    version: Option<String>,
    /// Share of the comments that it also judges.
    share: Option<f64>,
    /// When it was started: RFC 3339, UTC.
    since: Option<String>,
    /// Who started it.
    actor: Option<String>,
    /// Why it does not judge, if so.
    trouble: Option<String>,
    /// Comments that both versions judged.
    compared: u64,
    /// Of these, threats by the shadow version only.
    only_shadow: u64,
    /// Of these, threats by production only.
    only_production: u64,
    /// Mean of the shadow version's probability minus production's.
    mean_difference: f64,
    /// Comments that it did not judge because it was behind.
    dropped: u64,
}

/// The new state. Each replica follows within seconds.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct ShadowOrdered {
    /// The shadow version. None if there is none.
    version: Option<String>,
    share: f64,
}

answers! {
    /// Answers of `GET /shadow`.
    ShadowAnswer {
        /// The shadow version and its comparison.
        #[oai(status = 200)]
        Ok(Json<ShadowState>),
    }
}

answers! {
    /// Answers of `POST /shadow` and `POST /shadow/stop`.
    OrderAnswer {
        /// The new state is stored.
        #[oai(status = 200)]
        Ok(Json<ShadowOrdered>),
    }
}

#[OpenApi(tag = "Tag::Models")]
impl ShadowRoutes {
    /// Show the shadow version, and how its verdicts differ from production's.
    #[oai(path = "/shadow", method = "get")]
    async fn state(&self, _by: By<Read>) -> ShadowAnswer {
        let following = self.0.shadow.following();
        let of = |f: fn(&Tally) -> u64| following.as_ref().map_or(0, |it| f(&it.tally));
        ShadowAnswer::Ok(Json(ShadowState {
            version: following.as_ref().and_then(|it| it.order.version.as_ref()).map(ToString::to_string),
            share: following.as_ref().map(|it| it.order.share),
            since: following.as_ref().map(|it| rfc3339(it.order.at)),
            actor: following.as_ref().map(|it| it.order.actor.clone()),
            trouble: following.as_ref().and_then(|it| it.live.as_ref().err().cloned()),
            compared: of(Tally::compared),
            only_shadow: of(|tally| tally.count(Compared::OnlyShadow)),
            only_production: of(|tally| tally.count(Compared::OnlyProduction)),
            mean_difference: following.as_ref().map_or(0.0, |it| it.tally.mean_difference()),
            dropped: of(|tally| tally.dropped.load(Ordering::Relaxed)),
        }))
    }

    /// Start a shadow version: it also judges a share of the comments.
    ///
    /// Requests do not wait for it, and answers do not show its verdicts. They are compared and counted.
    #[oai(path = "/shadow", method = "post")]
    async fn start(&self, by: By<Operate>, body: Body<ShadowRequest>) -> OrderAnswer {
        let ShadowRequest { version, share, actor, reason } = body.0;
        let version = match version_of(&version) {
            Ok(version) => version,
            Err(problem) => return problem.into(),
        };
        if !(share > 0.0 && share <= 1.0) {
            return Problem::invalid("`share` must be above 0 and at most 1.").into();
        }
        self.order(&by, Some(version), share, actor, reason).await
    }

    /// Stop the shadow version.
    #[oai(path = "/shadow/stop", method = "post")]
    async fn stop(&self, by: By<Operate>, body: Body<StopRequest>) -> OrderAnswer {
        let StopRequest { actor, reason } = body.0;
        self.order(&by, None, 0.0, actor, reason).await
    }
}

impl ShadowRoutes {
    async fn order(
        &self,
        by: &By<Operate>,
        version: Option<Version>,
        share: f64,
        actor: Option<String>,
        reason: Option<String>,
    ) -> OrderAnswer {
        let actor = by.caller.actor(actor);
        let recorded = self.0.record(Request {
            caller: &by.caller,
            actor: actor.as_deref(),
            action: if version.is_some() { "shadow_start" } else { "shadow_stop" },
            subject: version.as_ref().map(ToString::to_string),
            reason: reason.as_deref(),
        });
        let recorded = match recorded.await {
            Ok(recorded) => recorded,
            Err(problem) => return problem.into(),
        };
        let actor = actor.unwrap_or_else(|| "unknown".to_owned());
        let ordering = self.0.registry.order_shadow(version.as_ref(), share, &actor);
        match self.0.ask_store(ordering).await {
            Ok(order) => {
                recorded.ended("done", format!("order {}", order.sequence)).await;
                let version = order.version.map(|version| version.to_string());
                OrderAnswer::Ok(Json(ShadowOrdered { version, share: order.share }))
            }
            Err(problem) => recorded.refused(problem).await.into(),
        }
    }
}
