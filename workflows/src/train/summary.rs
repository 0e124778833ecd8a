//! What the Temporal Web UI shows of a run that has ended.

use super::{Context, approval::APPROVED};
use crate::{
    progress::{details, enter},
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
    enter(ctx, "done", outcome);
    let summary = ctx.state(|w| details(&w.status)) + &table(report);
    ctx.set_current_details(summary);
}

/// The comparison of candidates and the gate's report, for the Temporal Web UI.
fn table(report: &TrainReport) -> String {
    let mut text =
        String::from("\n| trainer | version | PR-AUC (cv) | F1 (cv) | PR-AUC (held out) |\n|---|---|---|---|---|\n");
    for c in &report.candidates {
        let (cv, held_out) = (&c.cross_validation.sentence, &c.held_out.sentence);
        text += &format!(
            "| {} | `{}` | {:.3} | {:.3} | {:.3} |\n",
            c.trainer, c.version, cv.pr_auc, cv.f1, held_out.pr_auc
        );
    }
    text + &crate::promote::table(&report.gate)
}
