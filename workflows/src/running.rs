//! The workflow runs that are running now, and what they use.

use futures_util::StreamExt;
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowHandle, WorkflowListOptions,
};

use crate::{
    orchestrator::{Error, status_of},
    steps::Status,
};

/// A running run.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// Its type.
    pub workflow_type: String,
    /// Its status.
    pub status: Status,
}

impl Running {
    /// Whether it may soon use a blob or a dataset that no manifest names yet.
    #[must_use]
    pub fn makes_models(&self) -> bool {
        const REGISTERED: [&str; 5] = ["gate", "approval", "promote", "verify", "done"];
        match self.workflow_type.as_str() {
            "TrainWorkflow" => !REGISTERED.contains(&self.status.stage.as_str()),
            kind => kind == "ReproduceWorkflow",
        }
    }
}

/// Every running run that works with versions. Fails if one of them does not answer.
pub async fn running(client: &Client) -> Result<Vec<Running>, Error> {
    const QUERY: &str = "ExecutionStatus = 'Running' AND WorkflowType IN \
         ('TrainWorkflow', 'PromoteWorkflow', 'RollbackWorkflow', 'ReproduceWorkflow', 'BacktestWorkflow')";
    let mut listed = client.list_workflows(QUERY, WorkflowListOptions::builder().build());
    let mut found = Vec::new();
    while let Some(run) = listed.next().await {
        let run = run.map_err(|error| Error::Unreachable(error.to_string()))?;
        let status = status_of(client, run.id()).await?;
        found.push(Running { workflow_type: run.workflow_type().to_owned(), status });
    }
    Ok(found)
}

/// Whether a run is still running; also true if Temporal does not answer.
pub async fn goes_on(client: &Client, workflow_id: &str, run_id: Option<&str>) -> bool {
    let mut info = client.get_workflow_handle::<UntypedWorkflow>(workflow_id).info().clone();
    info.run_id = run_id.map(str::to_owned);
    let handle = WorkflowHandle::<_, UntypedWorkflow>::new(client.clone(), info);
    let described = handle.describe(WorkflowDescribeOptions::builder().build()).await;
    described.map_or(true, |described| described.status() == WorkflowExecutionStatus::Running)
}
