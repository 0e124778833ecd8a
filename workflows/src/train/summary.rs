//! What the Temporal Web UI shows for a run that has ended.

use super::{Context, approval::APPROVED};
use crate::{
    details::{Section, tables},
    progress::{enter, tell},
    steps::TrainReport,
};

pub(super) fn finish(ctx: &Context, report: &TrainReport) {
    let outcome = match (&report.approval, report.generation) {
        (_, Some(generation)) => format!("{} is in production, generation {generation}", report.version),
        (Some(approval), None) if approval.outcome != APPROVED => {
            format!("{} is registered; its promotion is {}: {}", report.version, approval.outcome, approval.reason)
        }
        _ if report.gate.passed => format!("{} is registered and may be promoted", report.version),
        _ => format!("{} is registered; the gate refuses it: {}", report.version, report.gate.failures()),
    };
    tell(ctx, Section::Gate, tables::gate(&report.gate));
    enter(ctx, "done", outcome);
}
