//! The state when everything is idle, read directly from the stores and not through the tested parts.

use futures_util::StreamExt;
use model::Digest;
use registry::{AuditEntry, Key, ModelManifest, Promotion, Verification};
use temporalio_client::{WorkflowExecutionStatus, WorkflowListOptions};
use workflows::{
    orchestrator::{Error, Started},
    steps::{Outcome, PromoteReport},
};

use crate::{ledger::Ledger, load::Load, stack::Stack, witness::Seen};

/// The runs that may write a generation or a version.
const QUERY: &str = "WorkflowType IN ('TrainWorkflow', 'PromoteWorkflow', 'RollbackWorkflow')";

/// Everything that the invariants are checked against.
pub(crate) struct Evidence {
    /// The result of the registry's own check.
    pub(crate) verified: Verification,
    pub(crate) history: Vec<Promotion>,
    /// Names of records, as the store lists them.
    pub(crate) records: Vec<String>,
    pub(crate) made: Vec<Made>,
    pub(crate) runs: Vec<Run>,
    /// The audit trail: each entry and the digest of its bytes.
    pub(crate) audit: Vec<(AuditEntry, Digest)>,
    pub(crate) ledger: Ledger,
    pub(crate) seen: Seen,
    /// I5: objects that changed.
    pub(crate) changed: Vec<String>,
    pub(crate) load: Load,
}

/// Where a version came from.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) version: String,
    pub(crate) workflow_id: String,
    pub(crate) run_id: String,
    pub(crate) trainer: String,
    pub(crate) started: i64,
}

impl From<ModelManifest> for Made {
    fn from(manifest: ModelManifest) -> Self {
        let ModelManifest { version, workflow_id, run_id, trainer, started, .. } = manifest;
        Self { version: version.to_string(), workflow_id, run_id, trainer, started }
    }
}

/// A workflow and its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) workflow_id: String,
    pub(crate) run_id: String,
    /// Why a training run failed: the kind of failure and the message.
    pub(crate) failure: Option<(String, String)>,
    /// The generation that it reports as written.
    pub(crate) generation: Option<u64>,
    /// The versions that it reports as made, with their trainers.
    pub(crate) versions: Vec<(String, String)>,
}

impl Run {
    pub(crate) fn change_id(&self) -> String {
        format!("{}/{}", self.workflow_id, self.run_id)
    }
}

impl Evidence {
    pub(crate) fn gather(stack: &Stack, ledger: Ledger, seen: Seen, load: Load) -> Self {
        let Stack { registry, store, .. } = stack;
        stack.runtime.block_on(async {
            let audit = async {
                let mut audit = Vec::new();
                for path in store.list(Key::AUDIT).await.unwrap() {
                    let bytes = store.get(&path).await.unwrap().unwrap();
                    audit.push((serde_json::from_slice(&bytes).unwrap(), Digest::of(&bytes)));
                }
                audit
            };
            Self {
                verified: registry.verify().await.unwrap(),
                history: registry.history().await.unwrap(),
                records: store.list(Key::HISTORY).await.unwrap(),
                made: registry.manifests().await.unwrap().into_iter().map(Made::from).collect(),
                runs: runs(stack).await,
                audit: audit.await,
                changed: seen.changed(stack, &ledger.deleted).await,
                ledger,
                seen,
                load,
            }
        })
    }
}

async fn runs(stack: &Stack) -> Vec<Run> {
    let client = stack.orchestrator.client().await.unwrap();
    let mut listed = client.list_workflows(QUERY, WorkflowListOptions::builder().build());
    let mut runs = Vec::new();
    while let Some(listed) = listed.next().await {
        let listed = listed.unwrap();
        let started = Started { workflow_id: listed.id().to_owned(), run_id: listed.run_id().to_owned() };
        let is_complete = listed.status() == WorkflowExecutionStatus::Completed;
        let mut run = Run::default();
        if listed.workflow_type() == "TrainWorkflow" {
            match stack.orchestrator.trained(&started).await {
                Ok(report) => {
                    run.generation = report.generation.filter(|_| report.promoted).map(|generation| generation.0);
                    run.versions = report.candidates.into_iter().map(|c| (c.version.to_string(), c.trainer)).collect();
                }
                Err(Error::Failed { kind, message }) => run.failure = Some((kind, message)),
                Err(error) => panic!("{started}: {error}"),
            }
        } else if is_complete {
            let report: PromoteReport = match listed.workflow_type() {
                "PromoteWorkflow" => stack.orchestrator.promoted(&started).await.unwrap(),
                _ => stack.orchestrator.rolled_back(&started).await.unwrap(),
            };
            let is_written = report.outcome == Outcome::Promoted;
            run.generation = report.generation.filter(|_| is_written).map(|generation| generation.0);
        }
        let Started { workflow_id, run_id } = started;
        runs.push(Run { workflow_id, run_id, ..run });
    }
    runs
}
