//! The way into Temporal: starts workflows, asks for their status, waits for their results.
//!
//! The connection is made when it is first needed, so a service starts and goes on while Temporal is away.

use std::{sync::OnceLock, time::Duration};

use model::{
    Digest,
    steps::{
        AutoPromote, PromoteReport, PromoteRequest, Pruned, ReproduceReport, ReproduceRequest, RetentionRequest,
        RollbackRequest, Say, Status, TrainReport, TrainRequest,
    },
};
use temporalio_client::{
    Client, ClientOptions, Connection, NamespacedClient, UntypedQuery, UntypedWorkflow, WorkflowDescribeOptions,
    WorkflowExecuteUpdateOptions, WorkflowExecutionStatus, WorkflowGetResultOptions, WorkflowHandle,
    WorkflowIdConflictPolicy, WorkflowQueryOptions, WorkflowStartOptions,
    envconfig::{DataSource, LoadClientConfigProfileOptions},
    errors::{WorkflowGetResultError, WorkflowQueryError, WorkflowStartError, WorkflowUpdateError},
    tonic,
};
use temporalio_common::{
    data_converters::RawValue,
    protos::temporal::api::{
        failure::v1::failure::FailureInfo,
        operatorservice::v1::{AddSearchAttributesRequest, ListSearchAttributesRequest},
    },
    telemetry::metrics::TemporalMeter,
};

use crate::{
    ATTRIBUTES, PROMOTE_WORKFLOW_ID, PromoteWorkflow, RETENTION_WORKFLOW_ID, ReproduceWorkflow, RetentionWorkflow,
    RollbackWorkflow, TASK_QUEUE, TrainWorkflow, failure,
};

/// A server on the same network answers within this time or not at all.
const CONNECT: Duration = Duration::from_secs(2);
/// A training run that lasts a day is stuck.
const TRAIN_TIMEOUT: Duration = Duration::from_hours(24);
/// Promotion and rollback block each other: after an hour the next may try.
const PROMOTE_TIMEOUT: Duration = Duration::from_hours(1);

/// A connection to Temporal that is made on demand.
pub struct Orchestrator {
    address: Option<String>,
    identity: String,
    meter: Option<TemporalMeter>,
    reads_settings: bool,
    client: OnceLock<Client>,
}

/// A workflow that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub workflow_id: String,
    /// Its run.
    pub run_id: String,
}

/// What Temporal, or a workflow, answered instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings for Temporal make no sense.
    #[error("the settings for Temporal are wrong: {0}")]
    Settings(String),
    /// Temporal does not answer.
    #[error("Temporal does not answer: {0}")]
    Unreachable(String),
    /// A workflow of this id is running already.
    #[error("{workflow_id} is running already{what}")]
    AlreadyRunning {
        /// The id.
        workflow_id: String,
        /// Its run, if known.
        run_id: Option<String>,
        /// What it does and for whom, as `: ...`; empty where it does not say.
        what: String,
    },
    /// There is no such workflow.
    #[error("there is no workflow {0}")]
    NotFound(String),
    /// The workflow ended without a result.
    #[error("{message}")]
    Failed {
        /// One of [`crate::failure`], or another word.
        kind: String,
        /// What the workflow said.
        message: String,
    },
}

impl Orchestrator {
    /// A connection to `address` (`host:port`), else to what the `TEMPORAL_*` variables or Temporal's own
    /// configuration file say. `identity` is how Temporal shows this process.
    #[must_use]
    pub fn new(address: Option<String>, identity: String, meter: Option<TemporalMeter>) -> Self {
        Self { address, identity, meter, reads_settings: true, client: OnceLock::new() }
    }

    /// Whether the `TEMPORAL_*` variables and Temporal's own configuration file count; they do unless told otherwise.
    #[must_use]
    pub fn with_settings_of_others(self, reads_settings: bool) -> Self {
        Self { reads_settings, ..self }
    }

    /// The client; connects if it has not yet. Bounded: two seconds for the connection.
    pub async fn client(&self) -> Result<Client, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let profile = if self.reads_settings {
            LoadClientConfigProfileOptions::default()
        } else {
            // A configuration that says nothing, in place of the user's.
            let nothing = DataSource::Data(b"[profile.default]\n".to_vec());
            LoadClientConfigProfileOptions::builder().config_source(nothing).disable_env(true).build()
        };
        let (mut connection, options) =
            ClientOptions::load_from_config(profile).map_err(|error| Error::Settings(error.to_string()))?;
        if let Some(address) = &self.address {
            // As the SDK does: a bare address is encrypted if TLS or an API key is configured.
            let is_encrypted = connection.tls_options.is_some() || connection.api_key.is_some();
            let scheme = if is_encrypted { "https" } else { "http" };
            let url = if address.contains("://") { address.clone() } else { format!("{scheme}://{address}") };
            connection.target = url.parse().map_err(|_| Error::Settings(format!("`{address}` is no address")))?;
        }
        connection.identity.clone_from(&self.identity);
        connection.connect_timeout = Some(CONNECT);
        connection.metrics_meter.clone_from(&self.meter);
        let connection =
            Connection::connect(connection).await.map_err(|error| Error::Unreachable(error.to_string()))?;
        let client = Client::new(connection, options).map_err(|error| Error::Settings(error.to_string()))?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// Creates the search attributes unless they exist.
    pub async fn ensure_search_attributes(&self) -> Result<(), Error> {
        let client = self.client().await?;
        let namespace = client.namespace();
        let mut operator = client.connection().operator_service();
        let unreachable = |status: tonic::Status| Error::Unreachable(status.message().to_owned());
        let request = ListSearchAttributesRequest { namespace: namespace.clone() };
        let listed = operator.list_search_attributes(tonic::Request::new(request)).await.map_err(unreachable)?;
        let known = listed.into_inner().custom_attributes;
        let missing = ATTRIBUTES.iter().filter(|(name, _)| !known.contains_key(*name));
        let missing: Vec<(String, i32)> = missing.map(|(name, kind)| ((*name).to_owned(), *kind as i32)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let request = AddSearchAttributesRequest { search_attributes: missing.into_iter().collect(), namespace };
        match operator.add_search_attributes(tonic::Request::new(request)).await {
            // Another worker may have been quicker.
            Err(status) if status.code() != tonic::Code::AlreadyExists => Err(unreachable(status)),
            _ => Ok(()),
        }
    }

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

    /// What a promotion or rollback that is under way does and for whom, as `: ...`; empty where nobody says.
    ///
    /// Waits for a worker's answer: bound it.
    pub async fn who_is_there(&self, workflow_id: &str) -> String {
        let Ok(status) = self.status(workflow_id).await else { return String::new() };
        let version = status.versions.first().map_or_else(String::new, |version| format!(" {version}"));
        format!(": {}{version} for {} ({})", status.stage, status.actor, status.message)
    }

    /// Whether a run is still going: one that failed keeps the stage that it failed in.
    pub async fn is_running(&self, workflow_id: &str) -> Result<bool, Error> {
        let handle = self.client().await?.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        let described = handle.describe(WorkflowDescribeOptions::builder().build()).await;
        let described = described.map_err(|error| Error::Unreachable(error.to_string()))?;
        Ok(described.status() == WorkflowExecutionStatus::Running)
    }

    /// Waits for a training run's result, as long as it takes.
    pub async fn trained(&self, run: &Started) -> Result<TrainReport, Error> {
        self.result::<TrainWorkflow>(run).await
    }

    /// Waits for the result of a promotion, as long as it takes.
    pub async fn promoted(&self, run: &Started) -> Result<PromoteReport, Error> {
        self.result::<PromoteWorkflow>(run).await
    }

    /// Waits for the result of a rollback, as long as it takes.
    pub async fn rolled_back(&self, run: &Started) -> Result<PromoteReport, Error> {
        self.result::<RollbackWorkflow>(run).await
    }

    /// Where a run of any of our workflows stands.
    pub async fn status(&self, workflow_id: &str) -> Result<Status, Error> {
        status_of(&self.client().await?, workflow_id).await
    }

    /// Lets a run that waits for it promote its best version. Saying the same again changes nothing.
    pub async fn approve(&self, workflow_id: &str, say: Say) -> Result<String, Error> {
        let handle = self.client().await?.get_workflow_handle::<TrainWorkflow>(workflow_id);
        let said = handle.execute_update(TrainWorkflow::approve, say.clone().into(), once("approve", &say)).await;
        said.map_err(|error| not_said(workflow_id, error))
    }

    /// Ends a run that waits for approval without a promotion. Saying the same again changes nothing.
    pub async fn reject(&self, workflow_id: &str, say: Say) -> Result<String, Error> {
        let handle = self.client().await?.get_workflow_handle::<TrainWorkflow>(workflow_id);
        let said = handle.execute_update(TrainWorkflow::reject, say.clone().into(), once("reject", &say)).await;
        said.map_err(|error| not_said(workflow_id, error))
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

    async fn result<W>(&self, run: &Started) -> Result<W::Output, Error>
    where
        W: temporalio_common::HasWorkflowDefinition,
    {
        let client = self.client().await?;
        // By run: the next promotion has the same workflow id.
        let mut info = client.get_workflow_handle::<W>(&run.workflow_id).info().clone();
        info.run_id = Some(run.run_id.clone()).filter(|id| !id.is_empty());
        let handle = WorkflowHandle::<_, W>::new(client, info);
        handle.get_result(WorkflowGetResultOptions::default()).await.map_err(|error| ended(&run.workflow_id, error))
    }
}

/// Where a run of any of our workflows stands.
pub(crate) async fn status_of(client: &Client, workflow_id: &str) -> Result<Status, Error> {
    let handle = client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
    let query = UntypedQuery::new("status");
    let answer = handle.query(query, RawValue::new(vec![]), WorkflowQueryOptions::default()).await;
    let answer = answer.map_err(|error| match error {
        WorkflowQueryError::NotFound(_) => Error::NotFound(workflow_id.to_owned()),
        WorkflowQueryError::Rpc(status) if status.code() == tonic::Code::InvalidArgument => {
            Error::NotFound(format!("of the id `{workflow_id}`"))
        }
        // A run of another release that this one cannot continue, among others: the words say so.
        other => Error::Unreachable(other.to_string()),
    })?;
    let payload = answer.payloads.first().map_or(&[][..], |payload| &payload.data);
    serde_json::from_slice(payload).map_err(|_| Error::NotFound(format!("{workflow_id} with a status")))
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

/// The same words are the same update: a caller who heard nothing may say them again.
fn once(verb: &str, say: &Say) -> WorkflowExecuteUpdateOptions {
    let id = Digest::of(format!("{verb}\n{}\n{}", say.actor, say.reason).as_bytes());
    WorkflowExecuteUpdateOptions::builder().update_id(id.to_string()).build()
}

fn not_said(workflow_id: &str, error: WorkflowUpdateError) -> Error {
    match error {
        WorkflowUpdateError::NotFound(_) => Error::NotFound(format!("{workflow_id} that is still running")),
        WorkflowUpdateError::Failed(failed) => {
            Error::Failed { kind: failure::NOT_WAITING.to_owned(), message: failed.message }
        }
        other => Error::Unreachable(other.to_string()),
    }
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
