//! Approves or rejects a run that waits for approval.

use model::Digest;
use temporalio_client::{WorkflowExecuteUpdateOptions, errors::WorkflowUpdateError};

use super::{Error, Orchestrator};
use crate::{TrainWorkflow, failure, steps::Say};

impl Orchestrator {
    /// Approves a waiting run: it promotes its best version. A repeated call changes nothing.
    pub async fn approve(&self, workflow_id: &str, say: Say) -> Result<String, Error> {
        let handle = self.client().await?.get_workflow_handle::<TrainWorkflow>(workflow_id);
        let said = handle.execute_update(TrainWorkflow::approve, say.clone().into(), once("approve", &say)).await;
        said.map_err(|error| not_said(workflow_id, error))
    }

    /// Rejects a waiting run: it ends without a promotion. A repeated call changes nothing.
    pub async fn reject(&self, workflow_id: &str, say: Say) -> Result<String, Error> {
        let handle = self.client().await?.get_workflow_handle::<TrainWorkflow>(workflow_id);
        let said = handle.execute_update(TrainWorkflow::reject, say.clone().into(), once("reject", &say)).await;
        said.map_err(|error| not_said(workflow_id, error))
    }
}

/// The same actor and reason give the same update id, so a caller without an answer can repeat the call.
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
