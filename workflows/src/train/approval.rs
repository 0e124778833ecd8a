//! Waits durably for an approval or a rejection.

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
/// The stage in which the run waits for approval.
const APPROVAL: &str = "approval";

/// Why an update is refused. A refused update does not appear in the run's history.
pub(super) type Refusal = Box<dyn std::error::Error + Send + Sync>;

impl TrainWorkflow {
    pub(super) fn may_be_said(&self, say: &Lenient<Say>) -> Result<(), Refusal> {
        say.0.as_ref().map_err(Clone::clone)?.check()?;
        match &self.approval {
            Some(approval) if approval.actor.is_empty() => {
                Err("the approval came too late: the run continues without it".into())
            }
            Some(approval) => Err(format!("{} has already {} it", approval.actor, approval.outcome).into()),
            None if self.progress.status.stage == APPROVAL => Ok(()),
            None => {
                Err(format!("the run does not wait for approval: it is in the stage `{}`", self.progress.status.stage)
                    .into())
            }
        }
    }

    pub(super) fn hear(&mut self, outcome: &str, say: Lenient<Say>) -> String {
        // Two updates may be accepted at the same time: the first one counts.
        if let Ok(Say { actor, reason }) = say.0 {
            self.approval.get_or_insert(Approval { outcome: outcome.to_owned(), actor, reason });
        }
        self.approval.as_ref().map_or_else(String::new, |approval| approval.outcome.clone())
    }
}

/// Waits for an approval or a rejection until the time is up.
pub(super) async fn await_approval(
    ctx: &Context,
    request: &TrainRequest,
    best: &Candidate,
) -> Result<Approval, WorkflowTermination> {
    let time = span(request.approval_seconds);
    let until = seconds(ctx) + i64::from(request.approval_seconds);
    tell(ctx, Section::Waiting, how_to_answer(ctx.workflow_id(), until));
    let timer = TimerOptions::builder(Duration::from_secs(u64::from(request.approval_seconds)))
        .summary(format!("{time} for an approval or a rejection of {}", best.version))
        .build();
    enter(ctx, APPROVAL, format!("waiting up to {time} for an approval or a rejection of {}", best.version));
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

/// The details while the run waits. Lines are short: the Web UI cuts off long lines.
fn how_to_answer(id: &str, until: i64) -> String {
    let until = when(until);
    let decide = format!(
        "**Somebody has to decide, until {until}**; after that the run ends and nothing is promoted. On the web page under \
         *Training*"
    );
    // The caller chooses the id of a run, and people copy these lines into their shells.
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
