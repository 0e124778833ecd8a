//! Waiting for somebody's word, durably.

use std::time::Duration;

use temporalio_sdk::{TimerOptions, WorkflowTermination, workflows::select};

use super::{Context, TrainWorkflow};
use crate::{
    Lenient,
    asked::span,
    details::{Section, when},
    progress::{enter, hide, seconds, tell},
    steps::{Approval, Candidate, Say, TrainRequest},
};

pub(super) const APPROVED: &str = "approved";
pub(super) const REJECTED: &str = "rejected";
const EXPIRED: &str = "expired";
/// The stage in which somebody is waited for.
const APPROVAL: &str = "approval";

/// Why an update is refused; nothing of it is kept in the run's history.
pub(super) type Refusal = Box<dyn std::error::Error + Send + Sync>;

impl TrainWorkflow {
    pub(super) fn may_be_said(&self, say: &Lenient<Say>) -> Result<(), Refusal> {
        say.0.as_ref().map_err(Clone::clone)?.check()?;
        match &self.approval {
            Some(approval) if approval.actor.is_empty() => {
                Err("nobody answered in time: the run goes on without".into())
            }
            Some(approval) => Err(format!("{} has {} it already", approval.actor, approval.outcome).into()),
            None if self.progress.status.stage == APPROVAL => Ok(()),
            None => {
                Err(format!("the run does not wait for approval: it is in the stage `{}`", self.progress.status.stage)
                    .into())
            }
        }
    }

    pub(super) fn hear(&mut self, outcome: &str, say: Lenient<Say>) -> String {
        // Two updates may be let in together: the first counts.
        if let Ok(Say { actor, reason }) = say.0 {
            self.approval.get_or_insert(Approval { outcome: outcome.to_owned(), actor, reason });
        }
        self.approval.as_ref().map_or_else(String::new, |approval| approval.outcome.clone())
    }
}

/// Waits until somebody approves or rejects, or the time is up.
pub(super) async fn await_approval(
    ctx: &Context,
    request: &TrainRequest,
    best: &Candidate,
) -> Result<Approval, WorkflowTermination> {
    let time = span(request.approval_seconds);
    let until = seconds(ctx) + i64::from(request.approval_seconds);
    tell(ctx, Section::Waiting, how_to_answer(ctx.workflow_id(), until));
    let timer = TimerOptions::builder(Duration::from_secs(u64::from(request.approval_seconds)))
        .summary(format!("{time} for somebody to approve or reject {}", best.version))
        .build();
    enter(ctx, APPROVAL, format!("waiting up to {time} for somebody to approve or reject {}", best.version));
    select! {
        said = ctx.wait_condition(|w| w.approval.is_some()) => said?,
        _ = ctx.timer(timer) => {}
    };
    hide(ctx, Section::Waiting);
    let expired = || Approval {
        outcome: EXPIRED.to_owned(),
        actor: String::new(),
        reason: format!("nobody answered within {time}"),
    };
    Ok(ctx.state_mut(|w| w.approval.get_or_insert_with(expired).clone()))
}

/// What the details say while somebody is waited for. Lines are short: the Web UI cuts off what is wider than its half.
fn how_to_answer(id: &str, until: i64) -> String {
    let until = when(until);
    let decide = format!(
        "**Somebody has to decide, until {until}**; after that the run ends and nothing is promoted. On the web page under \
         *Training*"
    );
    // Whoever starts a run chooses its id, and people copy this into their shells.
    if !id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':')) {
        return format!("{decide}, or with `threatwatch approve` or `threatwatch reject`.");
    }
    let commands = [
        &format!("threatwatch approve \\\n    {id} \\\n    --reason \"WHY\""),
        &format!("threatwatch reject \\\n    {id} \\\n    --reason \"WHY\""),
        &format!("temporal workflow update execute \\\n    --name approve \\\n    -w {id} \\"),
        "    --input '{\"actor\":\"YOU\",\"reason\":\"WHY\"}'",
    ];
    format!("{decide}, or by one of these:\n\n```\n{}\n```", commands.join("\n"))
}
