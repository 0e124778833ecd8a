//! Puts what a command changes on record, before it is done, and how it ended.

use registry::{AuditOutcome, Deed, Registry};

use workflows::orchestrator;

use crate::settings::Settings;

/// What a command is about to do.
pub(crate) struct Act<'a> {
    /// What: `promote`, `keys_new`, ...
    pub(crate) action: &'static str,
    /// With what: a version, a workflow's id, a key's name.
    pub(crate) subject: Option<String>,
    /// Why, in the user's words.
    pub(crate) reason: Option<&'a str>,
}

impl Act<'_> {
    /// Does it, on record; `words` says of the result how it ended.
    pub(crate) fn on_record<T>(
        self,
        settings: &Settings,
        doing: impl Future<Output = anyhow::Result<T>>,
        words: impl FnOnce(&T) -> String,
    ) -> impl Future<Output = anyhow::Result<T>> {
        // What asks Temporal is large.
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
                // Temporal may have taken what it did not answer.
                let is_unknown = matches!(error.downcast_ref(), Some(orchestrator::Error::Unreachable(_)));
                let outcome = if is_unknown { "unknown" } else { "refused" };
                AuditOutcome { outcome: outcome.to_owned(), detail: error.to_string() }
            }
        };
        // It is done, or not, whatever the trail says.
        if let Err(error) = registry.audit_outcome(sequence, &outcome).await {
            eprintln!("! the end of this is not on the audit trail: {error}");
        }
        done
    }
}

/// Who asks, where the command line does not say.
pub(crate) fn current_user() -> Option<String> {
    std::env::var("USER").ok().filter(|name| !name.is_empty())
}

/// Who asks, for what needs a name.
pub(crate) fn actor() -> String {
    current_user().unwrap_or_else(|| "unknown".to_owned())
}
