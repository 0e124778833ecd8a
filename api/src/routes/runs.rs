//! `/runs`: where a workflow stands, and what somebody says of one that waits for it.

use std::time::Duration;

use poem_openapi::{Object, OpenApi, param::Query, payload::Json};
use workflows::{
    orchestrator::{Error, Started},
    steps::Say,
};

use super::{Tag, answers};
use crate::{Context, problem::Problem};

/// Temporal answers at once or is away.
const START: Duration = Duration::from_secs(4);

pub(crate) struct Runs(pub(crate) Context);

/// A workflow that is running.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct Run {
    /// Its id.
    workflow_id: String,
    /// Its run.
    run_id: String,
    /// Where to watch it.
    temporal_url: Option<String>,
}

impl Run {
    /// A run that was started, with the address of its page.
    pub(super) fn new(started: Started, context: &Context) -> Self {
        let Started { workflow_id, run_id } = started;
        let temporal_url =
            context.temporal_ui.as_ref().map(|ui| format!("{ui}/namespaces/default/workflows/{workflow_id}/{run_id}"));
        Self { workflow_id, run_id, temporal_url }
    }
}

answers! {
    /// Answers of `GET /runs/status`.
    StatusAnswer {
        /// Where it stands.
        #[oai(status = 200)]
        Ok(Json<RunStatus>),
    }
}

answers! {
    /// Answers of `POST /runs/approve` and `POST /runs/reject`.
    SaidAnswer {
        /// The run goes on accordingly.
        #[oai(status = 200)]
        Ok(Json<Said>),
    }
}

/// What somebody says of a run that waits for it.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct SayBody {
    /// The run's workflow id.
    workflow_id: String,
    /// Who says so, for the history.
    #[oai(validator(max_length = 500))]
    actor: String,
    /// Why, for the history.
    #[oai(validator(max_length = 500))]
    reason: String,
}

/// What the run took it for.
#[derive(Debug, Object)]
struct Said {
    /// `approved` or `rejected`.
    outcome: String,
}

/// Where a run stands.
#[derive(Debug, Object)]
struct RunStatus {
    /// The step that it is in, or `done`.
    stage: String,
    /// Activities finished.
    done: u32,
    /// Activities in all.
    total: u32,
    /// One line for people.
    message: String,
    /// Versions registered so far, or the one that is promoted.
    versions: Vec<String>,
    /// Whether it is still going; one that failed keeps the stage that it failed in.
    running: bool,
}

#[OpenApi(tag = "Tag::Operations")]
impl Runs {
    /// Let a run that waits for approval promote its best version.
    #[oai(path = "/runs/approve", method = "post")]
    async fn approve(&self, body: Json<SayBody>) -> SaidAnswer {
        self.say(body.0, true).await
    }

    /// End a run that waits for approval without a promotion.
    #[oai(path = "/runs/reject", method = "post")]
    async fn reject(&self, body: Json<SayBody>) -> SaidAnswer {
        self.say(body.0, false).await
    }

    /// Show where a training run, promotion or rollback stands.
    #[oai(path = "/runs/status", method = "get")]
    async fn status(
        &self,
        /// The workflow's id.
        workflow_id: Query<String>,
    ) -> StatusAnswer {
        let orchestrator = &self.0.orchestrator;
        let asked =
            async { Ok((orchestrator.status(&workflow_id.0).await?, orchestrator.is_running(&workflow_id.0).await?)) };
        match answered_in_time(asked).await {
            Ok((status, running)) => StatusAnswer::Ok(Json(RunStatus {
                stage: status.stage,
                done: status.done,
                total: status.total,
                message: status.message,
                versions: status.versions.iter().map(ToString::to_string).collect(),
                running,
            })),
            Err(error) => Problem::from(error).into(),
        }
    }
}

impl Runs {
    async fn say(&self, body: SayBody, approves: bool) -> SaidAnswer {
        let say = Say { actor: body.actor, reason: body.reason };
        if let Err(reason) = say.check() {
            return Problem::invalid(reason).into();
        }
        let orchestrator = &self.0.orchestrator;
        let said = async {
            if approves {
                orchestrator.approve(&body.workflow_id, say).await
            } else {
                orchestrator.reject(&body.workflow_id, say).await
            }
        };
        match answered_in_time(said).await {
            Ok(outcome) => SaidAnswer::Ok(Json(Said { outcome })),
            Err(error) => Problem::from(error).into(),
        }
    }
}

/// What Temporal answers, or that it does not.
pub(super) async fn answered_in_time<T>(asking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let no_answer = |_| Err(Error::Unreachable(format!("no answer within {} s", START.as_secs())));
    tokio::time::timeout(START, asking).await.unwrap_or_else(no_answer)
}
