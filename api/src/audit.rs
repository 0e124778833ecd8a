//! Writes each action of a caller to the audit trail, before the action is done.

use std::time::Duration;

use registry::{AuditOutcome, Deed};

use crate::{caller::Caller, context::Context, kind::Kind, problem::Problem, request_id};

/// Time limit for writing the outcome.
///
/// After it the outcome is left out; the action itself is on record.
const PATIENCE: Duration = Duration::from_secs(2);

/// An action that is on record and has not ended yet.
pub(crate) struct Recorded<'a> {
    context: &'a Context,
    sequence: u64,
}

/// An action that is about to be done.
pub(crate) struct Request<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) actor: Option<&'a str>,
    pub(crate) action: &'static str,
    pub(crate) subject: Option<String>,
    pub(crate) reason: Option<&'a str>,
}

impl Context {
    /// Records an action. An action that cannot be recorded must not be done.
    pub(crate) async fn record(&self, request: Request<'_>) -> Result<Recorded<'_>, Problem> {
        let key = match request.caller {
            Caller::Holder(holder) => Some(holder.id.clone()),
            _ => None,
        };
        let deed = Deed {
            actor: request.actor.unwrap_or("unknown").to_owned(),
            key,
            action: request.action.to_owned(),
            subject: request.subject,
            reason: request.reason.map(str::to_owned),
            request_id: request_id::current(),
        };
        let sequence = self.ask_store(self.registry.audit(&deed)).await?;
        Ok(Recorded { context: self, sequence })
    }
}

impl Recorded<'_> {
    /// Records the outcome: `started`, `done`, `refused` or `unknown`.
    pub(crate) async fn ended(self, outcome: &str, detail: String) {
        let outcome = AuditOutcome { outcome: outcome.to_owned(), detail };
        let writing = self.context.registry.audit_outcome(self.sequence, &outcome);
        let written = tokio::time::timeout(PATIENCE, self.context.ask_store(writing)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::warn!(
                request.id = request_id::current(),
                sequence = self.sequence,
                "the outcome of an action could not be written to the audit trail"
            );
        }
    }

    /// Records why nothing was done, or that this is unknown. Returns the problem.
    pub(crate) async fn refused(self, problem: Problem) -> Problem {
        // Temporal may have accepted a request that it did not answer.
        let outcome = if problem.kind == Kind::OrchestratorUnavailable.path() { "unknown" } else { "refused" };
        self.ended(outcome, problem.title.clone()).await;
        problem
    }
}
