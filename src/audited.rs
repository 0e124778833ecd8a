//! Puts a command's change on the audit trail: an entry before the change, and its outcome afterwards.

use registry::{AuditOutcome, Deed, Registry};

use workflows::orchestrator;

use crate::settings::Settings;

/// A change that a command is about to make.
pub(crate) struct Act<'a> {
    /// The action: `promote`, `keys_new`, ...
    pub(crate) action: &'static str,
    /// Its subject: a version, a workflow's id, a key's name.
    pub(crate) subject: Option<String>,
    /// The user's reason.
    pub(crate) reason: Option<&'a str>,
}

impl Act<'_> {
    /// Makes the change and records it. `words` describes the result for the audit trail.
    pub(crate) fn on_record<T>(
        self,
        settings: &Settings,
        doing: impl Future<Output = anyhow::Result<T>>,
        words: impl FnOnce(&T) -> String,
    ) -> impl Future<Output = anyhow::Result<T>> {
        // Futures of Temporal requests are large.
        self.record(settings, Box::pin(doing), words)
    }

    async fn record<T>(
        self,
        settings: &Settings,
        doing: impl Future<Output = anyhow::Result<T>>,
        words: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<T> {
        let registry = Registry::new(std::sync::Arc::new(settings.store()?));
        let deed = Deed {
            actor: actor(),
            key: None,
            action: self.action.to_owned(),
            subject: self.subject,
            reason: self.reason.map(str::to_owned),
            request_id: None,
        };
        let sequence = registry.audit(&deed).await?;
        let done = doing.await;
        let outcome = match &done {
            Ok(result) => AuditOutcome { outcome: "done".to_owned(), detail: words(result) },
            Err(error) => {
                // Temporal may have accepted the request although it did not answer.
                let is_unknown = matches!(error.downcast_ref(), Some(orchestrator::Error::Unreachable(_)));
                let outcome = if is_unknown { "unknown" } else { "refused" };
                AuditOutcome { outcome: outcome.to_owned(), detail: error.to_string() }
            }
        };
        // The result stands even if the audit trail cannot be written.
        if let Err(error) = registry.audit_outcome(sequence, &outcome).await {
            eprintln!("! the outcome is not on the audit trail: {error}");
        }
        done
    }
}

/// The user who runs the command, if known.
pub(crate) fn current_user() -> Option<String> {
    std::env::var("USER").ok().filter(|name| !name.is_empty())
}

/// The user who runs the command, where a name is required.
pub(crate) fn actor() -> String {
    current_user().unwrap_or_else(|| "unknown".to_owned())
}
