//! The history of a run, in the form that the replay tests of a later release read.

use temporalio_client::{
    UntypedWorkflow, WorkflowFetchHistoryOptions, WorkflowHandle, errors::WorkflowInteractionError, tonic,
};
use temporalio_common::protos::temporal::api::history::v1::{History, history_event::Attributes};

use super::{Error, Orchestrator};

/// A recorded run.
#[derive(Clone, Debug)]
pub struct RecordedRun {
    /// Its id.
    pub run_id: String,
    /// Number of events so far.
    pub events: usize,
    /// The events in the SDK's own JSON. `temporal workflow show --output json` has another form.
    pub json: Vec<u8>,
}

impl Orchestrator {
    /// Reads the history of a run; without a run id of the newest one.
    ///
    /// The run may still be running.
    pub async fn history(&self, workflow_id: &str, run_id: Option<&str>) -> Result<RecordedRun, Error> {
        let client = self.client().await?;
        let mut info = client.get_workflow_handle::<UntypedWorkflow>(workflow_id).info().clone();
        info.run_id = run_id.map(str::to_owned);
        let handle = WorkflowHandle::<_, UntypedWorkflow>::new(client, info);
        let missing = || match run_id {
            Some(run) => Error::NotFound(format!("`{workflow_id}` with the run `{run}`")),
            None => Error::NotFound(format!("`{workflow_id}`")),
        };
        let events = handle.fetch_history(WorkflowFetchHistoryOptions::default()).into_events().await;
        let events = events.map_err(|error| match error {
            WorkflowInteractionError::NotFound(_) => missing(),
            // The id is not valid: a run id that is not a UUID, for example.
            WorkflowInteractionError::Rpc(status) if status.code() == tonic::Code::InvalidArgument => missing(),
            other => Error::Unreachable(other.to_string()),
        })?;
        let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) =
            events.first().and_then(|event| event.attributes.as_ref())
        else {
            return Err(missing());
        };
        let (run_id, count) = (started.original_execution_run_id.clone(), events.len());
        let json = serde_json::to_vec(&History { events }).expect("events are plain data");
        Ok(RecordedRun { run_id, events: count, json })
    }
}
