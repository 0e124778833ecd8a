//! Starts workflows: their ids, their limits, and what happens if the id is already running.

use std::time::Duration;

use temporalio_client::{
    WorkflowIdConflictPolicy::{self, Fail, UseExisting},
    WorkflowStartOptions,
    errors::WorkflowStartError,
};
use temporalio_common::MemoValues;

use super::{Error, Orchestrator, Started};
use crate::{
    BacktestWorkflow, CODE_VERSION, CODE_VERSION_MEMO, PROMOTE_WORKFLOW_ID, PromoteWorkflow, RETENTION_WORKFLOW_ID,
    ReproduceWorkflow, RetentionWorkflow, RollbackWorkflow, TASK_QUEUE, TrainWorkflow,
    asked::Asked,
    steps::{
        AutoPromote, BacktestRequest, PromoteRequest, Pruned, ReproduceReport, ReproduceRequest, RetentionRequest,
        RollbackRequest, TrainRequest,
    },
};

/// A training run that takes longer than a day is stuck.
const TRAIN_TIMEOUT: Duration = Duration::from_hours(24);
/// Retention deletes the verdicts of a backtest without a report after a day: a longer run could not finish.
const BACKTEST_TIMEOUT: Duration = Duration::from_hours(24);
/// Promotion and rollback block each other: after an hour the next one may start.
const PROMOTE_TIMEOUT: Duration = Duration::from_hours(1);

impl Orchestrator {
    /// Starts a training run with the caller's id. The same id again returns the same run.
    pub async fn train(&self, request: TrainRequest, workflow_id: &str) -> Result<Started, Error> {
        let limits = Limits { id: workflow_id, at_most: longest(&request), if_running: UseExisting };
        let options = limits.options(&request);
        let handle = self.client().await?.start_workflow(TrainWorkflow::run, request.into(), options).await;
        handle.map(|h| started(workflow_id, h.run_id())).map_err(|error| not_started(workflow_id, error))
    }

    /// Starts a backtest with the caller's id. The same id again returns the same run.
    pub async fn backtest(&self, request: BacktestRequest, workflow_id: &str) -> Result<Started, Error> {
        let limits = Limits { id: workflow_id, at_most: BACKTEST_TIMEOUT, if_running: UseExisting };
        let options = limits.options(&request);
        let handle = self.client().await?.start_workflow(BacktestWorkflow::run, request.into(), options).await;
        handle.map(|h| started(workflow_id, h.run_id())).map_err(|error| not_started(workflow_id, error))
    }

    /// Starts a promotion; one promotion or rollback runs at a time.
    pub async fn promote(&self, request: PromoteRequest) -> Result<Started, Error> {
        let options = OF_PRODUCTION.options(&request);
        let handle = self.client().await?.start_workflow(PromoteWorkflow::run, request.into(), options).await;
        handle
            .map(|h| started(PROMOTE_WORKFLOW_ID, h.run_id()))
            .map_err(|error| not_started(PROMOTE_WORKFLOW_ID, error))
    }

    /// Starts a rollback; one promotion or rollback runs at a time.
    pub async fn roll_back(&self, request: RollbackRequest) -> Result<Started, Error> {
        let options = OF_PRODUCTION.options(&request);
        let handle = self.client().await?.start_workflow(RollbackWorkflow::run, request.into(), options).await;
        handle
            .map(|h| started(PROMOTE_WORKFLOW_ID, h.run_id()))
            .map_err(|error| not_started(PROMOTE_WORKFLOW_ID, error))
    }

    /// Runs retention, or its dry run, and waits for the result.
    pub async fn prune(&self, request: RetentionRequest) -> Result<Pruned, Error> {
        let limits = Limits { id: RETENTION_WORKFLOW_ID, at_most: PROMOTE_TIMEOUT, if_running: Fail };
        let options = limits.options(&request);
        let handle = self.client().await?.start_workflow(RetentionWorkflow::run, request.into(), options).await;
        let handle = handle.map_err(|error| not_started(RETENTION_WORKFLOW_ID, error))?;
        self.result::<RetentionWorkflow>(&started(RETENTION_WORKFLOW_ID, handle.run_id())).await
    }

    /// Trains a version again and compares the bytes; waits for the result.
    pub async fn reproduce(&self, request: ReproduceRequest) -> Result<ReproduceReport, Error> {
        let id = format!("reproduce-{}", request.version);
        let limits = Limits { id: &id, at_most: TRAIN_TIMEOUT, if_running: UseExisting };
        let options = limits.options(&request);
        let handle = self.client().await?.start_workflow(ReproduceWorkflow::run, request.into(), options).await;
        let handle = handle.map_err(|error| not_started(&id, error))?;
        self.result::<ReproduceWorkflow>(&started(&id, handle.run_id())).await
    }
}

/// The id of a run, its longest duration, and what happens if the id is already running.
struct Limits<'a> {
    id: &'a str,
    at_most: Duration,
    if_running: WorkflowIdConflictPolicy,
}

const OF_PRODUCTION: Limits<'static> = Limits { id: PROMOTE_WORKFLOW_ID, at_most: PROMOTE_TIMEOUT, if_running: Fail };

impl Limits<'_> {
    /// Includes what the Temporal Web UI shows before a worker takes the run: the request and the release.
    fn options(&self, request: &impl Asked) -> WorkflowStartOptions {
        let mut memo = MemoValues::new();
        memo.insert(CODE_VERSION_MEMO, CODE_VERSION.to_owned());
        WorkflowStartOptions::new(TASK_QUEUE, self.id)
            .id_conflict_policy(self.if_running)
            .execution_timeout(self.at_most)
            .static_summary(request.summary())
            .static_details(request.told_in_the_clear())
            .memo(memo)
            .build()
    }
}

/// How long a training run may take, including the wait for approval.
fn longest(request: &TrainRequest) -> Duration {
    match request.auto_promote {
        AutoPromote::AfterApproval => TRAIN_TIMEOUT + Duration::from_secs(u64::from(request.approval_seconds)),
        AutoPromote::Never | AutoPromote::IfGatePasses => TRAIN_TIMEOUT,
    }
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
