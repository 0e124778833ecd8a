//! `/audit`: who did what, when.

use poem_openapi::{Object, OpenApi, param::Query, payload::Json};
use registry::Audited;

use super::{Tag, answers};
use crate::{
    caller::{By, Operate},
    context::Context,
    figures::rfc3339,
    problem::Problem,
};

/// Entries of an answer by default.
const PAGE: u32 = 50;
/// Most entries of an answer.
const LARGEST_PAGE: u32 = 500;

pub(crate) struct Audit(pub(crate) Context);

/// A part of the audit trail.
#[derive(Debug, Object)]
struct Trail {
    /// Newest first.
    entries: Vec<Entry>,
}

/// An action of a caller.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Entry {
    /// Number of the entry, from 1, without gaps.
    sequence: u64,
    /// When it was requested: RFC 3339, UTC.
    at: String,
    /// Who did it. With an API key, the key's name.
    actor: String,
    /// The id of the API key, if one was used.
    key: Option<String>,
    /// `train`, `promote`, `promote_by_force`, `promote_dry_run`, `roll_back`, `approve`, `reject`, `keys_new`, ...
    action: String,
    /// The subject: a version, a workflow id or the name of a key.
    subject: Option<String>,
    /// Why, in the actor's words.
    reason: Option<String>,
    /// The request id, as in the log.
    request_id: Option<String>,
    /// `done`, `started`, `refused`, `unknown` (Temporal did not answer) or `corrupt` (the entry cannot be read).
    /// None if the service ended before it knew the outcome.
    outcome: Option<String>,
    /// The workflow id and run id, or why the action was refused.
    detail: Option<String>,
}

impl From<Audited> for Entry {
    fn from(audited: Audited) -> Self {
        let Audited { entry, outcome } = audited;
        let deed = entry.deed;
        Self {
            sequence: entry.sequence,
            at: rfc3339(entry.at),
            actor: deed.actor,
            key: deed.key,
            action: deed.action,
            subject: deed.subject,
            reason: deed.reason,
            request_id: deed.request_id,
            outcome: outcome.as_ref().map(|outcome| outcome.outcome.clone()),
            detail: outcome.map(|outcome| outcome.detail),
        }
    }
}

answers! {
    /// Answers of `GET /audit`.
    AuditAnswer {
        /// The entries.
        #[oai(status = 200)]
        Ok(Json<Trail>),
    }
}

#[OpenApi(tag = "Tag::Operations")]
impl Audit {
    /// Show the audit trail, newest entry first.
    #[oai(path = "/audit", method = "get")]
    async fn trail(
        &self,
        _by: By<Operate>,
        /// Only entries with a lower number.
        before: Query<Option<u64>>,
        /// Most entries to return, from 1 to 500. The default is 50.
        limit: Query<Option<u32>>,
    ) -> AuditAnswer {
        let limit = limit.0.unwrap_or(PAGE);
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return Problem::invalid(format!("`limit` must be from 1 to {LARGEST_PAGE}.")).into();
        }
        match self.0.ask_store(self.0.registry.audit_trail(before.0, u64::from(limit))).await {
            Ok(entries) => AuditAnswer::Ok(Json(Trail { entries: entries.into_iter().map(Into::into).collect() })),
            Err(problem) => problem.into(),
        }
    }
}
