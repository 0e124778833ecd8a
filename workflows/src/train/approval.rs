//! Waiting for somebody's word, durably.

use std::time::Duration;

use temporalio_sdk::{WorkflowTermination, workflows::select};

use super::{Context, TrainWorkflow};
use crate::{
    Lenient,
    progress::enter,
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
            None if self.status.stage == APPROVAL => Ok(()),
            None => {
                Err(format!("the run does not wait for approval: it is in the stage `{}`", self.status.stage).into())
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
    enter(ctx, APPROVAL, format!("waiting up to {time} for somebody to approve or reject {}", best.version));
    select! {
        said = ctx.wait_condition(|w| w.approval.is_some()) => said?,
        _ = ctx.timer(Duration::from_secs(u64::from(request.approval_seconds))) => {}
    };
    let expired = || Approval {
        outcome: EXPIRED.to_owned(),
        actor: String::new(),
        reason: format!("nobody answered within {time}"),
    };
    Ok(ctx.state_mut(|w| w.approval.get_or_insert_with(expired).clone()))
}

/// Seconds in words, in the largest unit that fits: `3 s`, `5 h`, `2.5 d`.
fn span(seconds: u32) -> String {
    let units = [("d", 86_400_u32), ("h", 3_600), ("min", 60), ("s", 1)];
    let (unit, length) = units.into_iter().find(|&(_, length)| seconds >= length).unwrap_or(("s", 1));
    format!("{} {unit}", (f64::from(seconds) / f64::from(length) * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_largest_unit_that_fits() {
        let told = [3, 90, 18_000, 259_200, 216_000].map(span);
        assert_eq!(told, ["3 s", "1.5 min", "5 h", "3 d", "2.5 d"]);
    }
}
