//! Queries the status of runs and waits for their results.

use temporalio_client::{
    Client, UntypedQuery, UntypedWorkflow, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowGetResultOptions,
    WorkflowHandle, WorkflowQueryOptions,
    errors::{WorkflowGetResultError, WorkflowInteractionError, WorkflowQueryError},
    tonic,
};
use temporalio_common::{data_converters::RawValue, protos::temporal::api::failure::v1::failure::FailureInfo};

use super::{Error, Orchestrator, Started};
use crate::{
    BacktestWorkflow, PromoteWorkflow, RollbackWorkflow, TrainWorkflow,
    steps::{Backtest, PromoteReport, Status, TrainReport, Tuning},
};

impl Orchestrator {
    /// The stage, version and actor of a running promotion or rollback, as `: ...`; empty if unknown.
    ///
    /// Waits for a worker's answer. The caller must set a time limit.
    pub async fn who_is_there(&self, workflow_id: &str) -> String {
        let Ok(status) = self.status(workflow_id).await else { return String::new() };
        let version = status.versions.first().map_or_else(String::new, |version| format!(" {version}"));
        format!(": {}{version} for {} ({})", status.stage, status.actor, status.message)
    }

    /// Whether a run is still running.
    ///
    /// The status does not tell: a failed run keeps its last stage.
    pub async fn is_running(&self, workflow_id: &str) -> Result<bool, Error> {
        let handle = self.client().await?.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        let described = handle.describe(WorkflowDescribeOptions::builder().build()).await;
        let described = described.map_err(|error| match error {
            WorkflowInteractionError::NotFound(_) => Error::NotFound(workflow_id.to_owned()),
            // The id is not valid: it is empty, for example.
            WorkflowInteractionError::Rpc(status) if status.code() == tonic::Code::InvalidArgument => {
                Error::NotFound(format!("with the id `{workflow_id}`"))
            }
            other => Error::Unreachable(other.to_string()),
        })?;
        Ok(described.status() == WorkflowExecutionStatus::Running)
    }

    /// The progress of each encoder that a run is fine-tuning now.
    pub async fn tunings(&self, workflow_id: &str) -> Result<Vec<Tuning>, Error> {
        let handle = self.client().await?.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        let described = handle.describe(WorkflowDescribeOptions::builder().build()).await;
        let described = described.map_err(|error| Error::Unreachable(error.to_string()))?;
        let pending = described.raw().pending_activities.iter();
        let told = pending.filter_map(|activity| activity.heartbeat_details.as_ref()?.payloads.first());
        // Other activities report no progress.
        Ok(told.filter_map(|payload| serde_json::from_slice(&payload.data).ok()).collect())
    }

    /// Waits for a training run's result, as long as it takes.
    pub async fn trained(&self, run: &Started) -> Result<TrainReport, Error> {
        self.result::<TrainWorkflow>(run).await
    }

    /// Waits for a backtest's report, as long as it takes.
    pub async fn backtested(&self, run: &Started) -> Result<Backtest, Error> {
        self.result::<BacktestWorkflow>(run).await
    }

    /// Waits for the result of a promotion, as long as it takes.
    pub async fn promoted(&self, run: &Started) -> Result<PromoteReport, Error> {
        self.result::<PromoteWorkflow>(run).await
    }

    /// Waits for the result of a rollback, as long as it takes.
    pub async fn rolled_back(&self, run: &Started) -> Result<PromoteReport, Error> {
        self.result::<RollbackWorkflow>(run).await
    }

    /// The status of a run of any of our workflows.
    pub async fn status(&self, workflow_id: &str) -> Result<Status, Error> {
        status_of(&self.client().await?, workflow_id).await
    }

    pub(super) async fn result<W>(&self, run: &Started) -> Result<W::Output, Error>
    where
        W: temporalio_common::HasWorkflowDefinition,
    {
        let client = self.client().await?;
        // With the run id: the next promotion has the same workflow id.
        let mut info = client.get_workflow_handle::<W>(&run.workflow_id).info().clone();
        info.run_id = Some(run.run_id.clone()).filter(|id| !id.is_empty());
        let handle = WorkflowHandle::<_, W>::new(client, info);
        handle.get_result(WorkflowGetResultOptions::default()).await.map_err(|error| ended(&run.workflow_id, error))
    }
}

/// The status of a run of any of our workflows.
pub(crate) async fn status_of(client: &Client, workflow_id: &str) -> Result<Status, Error> {
    let handle = client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
    let query = UntypedQuery::new("status");
    let answer = handle.query(query, RawValue::new(vec![]), WorkflowQueryOptions::default()).await;
    let answer = answer.map_err(|error| match error {
        WorkflowQueryError::NotFound(_) => Error::NotFound(workflow_id.to_owned()),
        WorkflowQueryError::Rpc(status) if status.code() == tonic::Code::InvalidArgument => {
            Error::NotFound(format!("with the id `{workflow_id}`"))
        }
        // For example a run of another release that this one cannot continue. The message says so.
        other => Error::Unreachable(other.to_string()),
    })?;
    let payload = answer.payloads.first().map_or(&[][..], |payload| &payload.data);
    serde_json::from_slice(payload).map_err(|_| Error::NotFound(format!("{workflow_id} with a status")))
}

fn ended(workflow_id: &str, error: WorkflowGetResultError) -> Error {
    match error {
        WorkflowGetResultError::Failed(failed) => {
            let failure = failed.failure();
            let kind = match &failure.failure_info {
                Some(FailureInfo::ApplicationFailureInfo(info)) => info.r#type.clone(),
                _ => "WorkflowFailed".to_owned(),
            };
            Error::Failed { kind, message: failure.message.clone() }
        }
        WorkflowGetResultError::NotFound(_) => Error::NotFound(workflow_id.to_owned()),
        outcome if outcome.is_workflow_outcome() => {
            Error::Failed { kind: "WorkflowEnded".to_owned(), message: outcome.to_string() }
        }
        other => Error::Unreachable(other.to_string()),
    }
}
