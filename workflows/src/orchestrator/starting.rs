//! Starting workflows: their ids, their limits, what happens when one of the id is running.

use std::time::Duration;

use temporalio_client::{WorkflowIdConflictPolicy, WorkflowStartOptions, errors::WorkflowStartError};

use super::{Error, Orchestrator, Started};
use crate::{
    BacktestWorkflow, PROMOTE_WORKFLOW_ID, PromoteWorkflow, RETENTION_WORKFLOW_ID, ReproduceWorkflow,
    RetentionWorkflow, RollbackWorkflow, TASK_QUEUE, TrainWorkflow,
    steps::{
        AutoPromote, BacktestRequest, PromoteRequest, Pruned, ReproduceReport, ReproduceRequest, RetentionRequest,
        RollbackRequest, TrainRequest,
    },
};

/// A training run that lasts a day is stuck.
const TRAIN_TIMEOUT: Duration = Duration::from_hours(24);
/// What a backtest has judged is kept for a day until its report is there.
const BACKTEST_TIMEOUT: Duration = Duration::from_hours(24);
/// Promotion and rollback block each other: after an hour the next may try.
const PROMOTE_TIMEOUT: Duration = Duration::from_hours(1);

impl Orchestrator {
    /// Starts a training run under an id of the caller's; the same id again is the same run.
    pub async fn train(&self, request: TrainRequest, workflow_id: &str) -> Result<Started, Error> {
        let options = WorkflowStartOptions::new(TASK_QUEUE, workflow_id)
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .execution_timeout(longest(&request))
            .static_summary(format!("train {}", request.trainers.join(", ")))
            .build();
        let handle = self.client().await?.start_workflow(TrainWorkflow::run, request.into(), options).await;
        handle.map(|h| started(workflow_id, h.run_id())).map_err(|error| not_started(workflow_id, error))
    }

    /// Starts a backtest under an id of the caller's; the same id again is the same run.
    pub async fn backtest(&self, request: BacktestRequest, workflow_id: &str) -> Result<Started, Error> {
        let options = WorkflowStartOptions::new(TASK_QUEUE, workflow_id)
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .execution_timeout(BACKTEST_TIMEOUT)
            .static_summary(format!("backtest {}", request.candidate))
            .build();
        let handle = self.client().await?.start_workflow(BacktestWorkflow::run, request.into(), options).await;
        handle.map(|h| started(workflow_id, h.run_id())).map_err(|error| not_started(workflow_id, error))
    }

    /// Starts a promotion; one promotion or rollback runs at a time.
    pub async fn promote(&self, request: PromoteRequest) -> Result<Started, Error> {
        let options = production_options(format!("promote {}", request.version));
        let handle = self.client().await?.start_workflow(PromoteWorkflow::run, request.into(), options).await;
        handle
            .map(|h| started(PROMOTE_WORKFLOW_ID, h.run_id()))
            .map_err(|error| not_started(PROMOTE_WORKFLOW_ID, error))
    }

    /// Starts a rollback; one promotion or rollback runs at a time.
    pub async fn roll_back(&self, request: RollbackRequest) -> Result<Started, Error> {
        let options = production_options("roll back".to_owned());
        let handle = self.client().await?.start_workflow(RollbackWorkflow::run, request.into(), options).await;
        handle
            .map(|h| started(PROMOTE_WORKFLOW_ID, h.run_id()))
            .map_err(|error| not_started(PROMOTE_WORKFLOW_ID, error))
    }

    /// Deletes what nothing needs, or says what that would be; waits for the result.
    pub async fn prune(&self, request: RetentionRequest) -> Result<Pruned, Error> {
        let options = WorkflowStartOptions::new(TASK_QUEUE, RETENTION_WORKFLOW_ID)
            .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
            .execution_timeout(PROMOTE_TIMEOUT)
            .static_summary("delete what nothing needs".to_owned())
            .build();
        let handle = self.client().await?.start_workflow(RetentionWorkflow::run, request.into(), options).await;
        let handle = handle.map_err(|error| not_started(RETENTION_WORKFLOW_ID, error))?;
        self.result::<RetentionWorkflow>(&started(RETENTION_WORKFLOW_ID, handle.run_id())).await
    }

    /// Trains a version again and compares the bytes; waits for the result.
    pub async fn reproduce(&self, request: ReproduceRequest) -> Result<ReproduceReport, Error> {
        let id = format!("reproduce-{}", request.version);
        let options = WorkflowStartOptions::new(TASK_QUEUE, id.as_str())
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .execution_timeout(TRAIN_TIMEOUT)
            .static_summary(format!("train {} again", request.version))
            .build();
        let handle = self.client().await?.start_workflow(ReproduceWorkflow::run, request.into(), options).await;
        let handle = handle.map_err(|error| not_started(&id, error))?;
        self.result::<ReproduceWorkflow>(&started(&id, handle.run_id())).await
    }
}

/// How long a training run may take, with the time that it may wait for somebody.
fn longest(request: &TrainRequest) -> Duration {
    match request.auto_promote {
        AutoPromote::AfterApproval => TRAIN_TIMEOUT + Duration::from_secs(u64::from(request.approval_seconds)),
        AutoPromote::Never | AutoPromote::IfGatePasses => TRAIN_TIMEOUT,
    }
}

fn production_options(summary: String) -> WorkflowStartOptions {
    WorkflowStartOptions::new(TASK_QUEUE, PROMOTE_WORKFLOW_ID)
        .id_conflict_policy(WorkflowIdConflictPolicy::Fail)
        .execution_timeout(PROMOTE_TIMEOUT)
        .static_summary(summary)
        .build()
}

fn started(workflow_id: &str, run_id: Option<&str>) -> Started {
    Started { workflow_id: workflow_id.to_owned(), run_id: run_id.unwrap_or_default().to_owned() }
}

fn not_started(workflow_id: &str, error: WorkflowStartError) -> Error {
    match error {
        WorkflowStartError::AlreadyStarted { run_id, .. } => {
            Error::AlreadyRunning { workflow_id: workflow_id.to_owned(), run_id, what: String::new() }
        }
        other => Error::Unreachable(other.to_string()),
    }
}
