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

/// Entries of an answer, unless told otherwise.
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

/// What somebody did.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Entry {
    /// From 1, without gaps.
    sequence: u64,
    /// When it was asked for: RFC 3339, UTC.
    at: String,
    /// Who: the name of the API key, where one was used.
    actor: String,
    /// The id of that key.
    key: Option<String>,
    /// `train`, `promote`, `promote_by_force`, `promote_dry_run`, `roll_back`, `approve`, `reject`, `keys_new`, ...
    action: String,
    /// A version, a workflow's id, a key's name.
    subject: Option<String>,
    /// Why, in the actor's words.
    reason: Option<String>,
    /// The request, as the log has it.
    request_id: Option<String>,
    /// `done`, `started`, `refused`, `unknown` where Temporal did not answer, or `corrupt` where the entry cannot be read;
    /// none if the service ended first.
    outcome: Option<String>,
    /// The workflow and its run, or why it was refused.
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
        /// Some of the trail.
        #[oai(status = 200)]
        Ok(Json<Trail>),
    }
}

#[OpenApi(tag = "Tag::Operations")]
impl Audit {
    /// Show who did what, newest first.
    #[oai(path = "/audit", method = "get")]
    async fn trail(
        &self,
        _by: By<Operate>,
        /// Only entries before this number.
        before: Query<Option<u64>>,
        /// How many entries, from 1 to 500; 50 unless told.
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
