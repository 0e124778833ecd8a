//! `/runs`: the status of a workflow, and the approval or rejection of a run.

use std::time::Duration;

use poem_openapi::{Object, OpenApi, param::Query, payload::Json};
use workflows::{
    orchestrator::{Error, Started},
    steps::Say,
};

use super::{Tag, answers};
use crate::{
    audit,
    body::Body,
    caller::{By, Read, Review},
    context::Context,
    problem::Problem,
};

/// Time limit for Temporal's answer.
const START: Duration = Duration::from_secs(4);

pub(crate) struct Runs(pub(crate) Context);

/// A workflow that is running.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct Run {
    /// The workflow id.
    workflow_id: String,
    /// The run id.
    run_id: String,
    /// Its page in Temporal's Web UI.
    temporal_url: Option<String>,
}

impl Run {
    /// A started run, with the address of its page.
    pub(super) fn new(started: Started, context: &Context) -> Self {
        let Started { workflow_id, run_id } = started;
        let page = |ui| format!("{ui}/namespaces/{}/workflows/{workflow_id}/{run_id}", context.temporal_namespace);
        let temporal_url = context.temporal_ui.as_ref().map(page);
        Self { workflow_id, run_id, temporal_url }
    }
}

answers! {
    /// Answers of `GET /runs/status`.
    StatusAnswer {
        /// The status.
        #[oai(status = 200)]
        Ok(Json<RunStatus>),
    }
}

answers! {
    /// Answers of `POST /runs/approve` and `POST /runs/reject`.
    SaidAnswer {
        /// The run continues with this decision.
        #[oai(status = 200)]
        Ok(Json<Said>),
    }
}

/// An approval or a rejection.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct SayBody {
    /// The workflow id of the run.
    #[oai(validator(max_length = 1000))]
    workflow_id: String,
    /// Who decides, for the history. With an API key, the key's name.
    #[oai(validator(max_length = 500))]
    actor: Option<String>,
    /// Why, for the history.
    #[oai(validator(max_length = 500))]
    reason: String,
}

/// The decision that the run took.
#[derive(Debug, Object)]
struct Said {
    /// `approved` or `rejected`.
    outcome: String,
}

/// The status of a run.
#[derive(Debug, Object)]
struct RunStatus {
    /// The current step, or `done`.
    stage: String,
    /// Activities finished.
    done: u32,
    /// Number of activities in total.
    total: u32,
    /// The status in one line.
    message: String,
    /// Versions registered so far, or the promoted version.
    versions: Vec<String>,
    /// Whether it is still running. A failed run keeps the stage in which it failed.
    running: bool,
}

#[OpenApi(tag = "Tag::Operations")]
impl Runs {
    /// Approve a run that waits for approval: it promotes its best version.
    #[oai(path = "/runs/approve", method = "post")]
    async fn approve(&self, by: By<Review>, body: Body<SayBody>) -> SaidAnswer {
        self.answer(&by, body.0, true).await
    }

    /// Reject a run that waits for approval: it ends without a promotion.
    #[oai(path = "/runs/reject", method = "post")]
    async fn reject(&self, by: By<Review>, body: Body<SayBody>) -> SaidAnswer {
        self.answer(&by, body.0, false).await
    }

    /// Show the status of a training run, promotion or rollback.
    #[oai(path = "/runs/status", method = "get")]
    async fn status(
        &self,
        _by: By<Read>,
        /// The workflow id.
        workflow_id: Query<String>,
    ) -> StatusAnswer {
        let orchestrator = &self.0.orchestrator;
        let asked =
            async { Ok((orchestrator.status(&workflow_id.0).await?, orchestrator.is_running(&workflow_id.0).await?)) };
        match answered_in_time(&self.0, asked).await {
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
    async fn answer(&self, by: &By<Review>, body: SayBody, approves: bool) -> SaidAnswer {
        match self.say(by, body, approves).await {
            Ok(outcome) => SaidAnswer::Ok(Json(Said { outcome })),
            Err(problem) => problem.into(),
        }
    }

    async fn say(&self, by: &By<Review>, body: SayBody, approves: bool) -> Result<String, Problem> {
        let actor = by.caller.actor(body.actor).ok_or_else(|| Problem::malformed("`actor` is missing."))?;
        let say = Say { actor, reason: body.reason };
        say.check().map_err(Problem::invalid)?;
        self.0.require_temporal()?;
        // An impossible request is not recorded, so that nobody can fill the audit trail with them.
        answered_in_time(&self.0, self.0.orchestrator.is_running(&body.workflow_id)).await?;
        let deed = audit::Request {
            caller: &by.caller,
            actor: Some(&say.actor),
            action: if approves { "approve" } else { "reject" },
            subject: Some(body.workflow_id.clone()),
            reason: Some(&say.reason),
        };
        let recorded = self.0.record(deed).await?;
        let orchestrator = &self.0.orchestrator;
        let said = async {
            if approves {
                orchestrator.approve(&body.workflow_id, say).await
            } else {
                orchestrator.reject(&body.workflow_id, say).await
            }
        };
        match answered_in_time(&self.0, said).await {
            Ok(outcome) => {
                recorded.ended("done", outcome.clone()).await;
                Ok(outcome)
            }
            Err(error) => Err(recorded.refused(error.into()).await),
        }
    }
}

/// Temporal's answer, or an error if it takes too long.
pub(super) fn answered_in_time<T>(
    context: &Context,
    asking: impl Future<Output = Result<T, Error>>,
) -> impl Future<Output = Result<T, Error>> {
    let answer = tokio::time::timeout(START, context.ask_temporal(asking));
    let no_answer = |_| Err(Error::Unreachable(format!("no answer within {} s", START.as_secs())));
    async move { answer.await.unwrap_or_else(no_answer) }
}
