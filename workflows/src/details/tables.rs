//! The tables of a run's details: data, figures, the gate's checks.

use model::{
    evaluation::{Evaluation, bootstrap::Interval},
    gate::Finding,
};

use super::plain;
use crate::{
    search::verdict,
    steps::{Candidate, Gated, Ingested, Trained},
};

// The details get half of the Web UI's width, and its tables have no gaps between columns. So there are few columns,
// and cells begin with a space that cannot break.
const GAP: char = '\u{a0}';

/// What a run trains on, in counts.
pub(crate) fn data(found: &Ingested) -> String {
    let Ingested { dataset, source, sentences, threats, comments, commenters, quarantined, held_out, .. } = found;
    let mut text = String::from("| data | |\n|---|---|\n");
    let mut row = |name: &str, value: String| text += &format!("| {name} | {GAP}{value} |\n");
    row("dataset", format!("`{}`, source `{source}`", dataset.short()));
    row("sentences", format!("{sentences}, of these {threats} threats"));
    row("comments", format!("{comments} of {commenters} commenters"));
    row("quarantined", format!("{quarantined} malformed rows"));
    let duplicates = found.duplicates.map_or_else(|| "not counted".to_owned(), |d| format!("{d} sentences once more"));
    row("duplicates", duplicates);
    if found.sample.is_some() {
        row("sample in memory", format!("{} sentences", found.sampled));
    }
    row("held out", format!("{held_out} sentences, for judging"));
    text
}

/// Each trainer's cross-validated figures, before the held-out rows are judged.
pub(crate) fn of_training(trained: &[&Trained]) -> String {
    let lines = trained.iter().map(|t| line(&t.trainer, "by cross-validation", &t.cross_validation.sentence));
    lines.fold(head(), |table, line| table + &line)
}

/// Each version's figures, best first.
pub(crate) fn figures(candidates: &[Candidate]) -> String {
    let names = candidates.iter().map(|c| format!("`{}` by {}", c.version, c.trainer));
    let mut text = format!("Versions, best first: {}.\n\n{}", names.collect::<Vec<_>>().join(", "), head());
    for Candidate { trainer, cross_validation, held_out, .. } in candidates {
        text += &line(trainer, "by cross-validation", &cross_validation.sentence);
        text += &line(trainer, "held out", &held_out.sentence);
    }
    text
}

fn head() -> String {
    let names = ["PR-AUC", "F1", "recall at 5% false alarms"].map(|name| format!(" {GAP}{name} |")).concat();
    format!("Figures by sentence, with 95% intervals:\n\n| |{names}\n|---|---|---|---|\n")
}

fn line(trainer: &str, on: &str, evaluation: &Evaluation) -> String {
    let intervals = evaluation.intervals.as_ref();
    let figures = [
        figure(evaluation.pr_auc, intervals.map(|i| i.pr_auc)),
        figure(evaluation.f1, intervals.map(|i| i.f1)),
        figure(evaluation.recall_at_fpr_5, intervals.map(|i| i.recall_at_fpr_5)),
    ];
    format!("| {trainer}, {on} |{}\n", figures.map(|figure| format!(" {GAP}{figure} |")).concat())
}

/// A figure with its interval, if there is one.
fn figure(value: f64, interval: Option<Interval>) -> String {
    interval.map_or_else(|| format!("{value:.3}"), |[low, high]| format!("{value:.3} ({low:.3}–{high:.3})"))
}

/// The gate's report. Meanings are shown only for checks that did not pass.
pub(crate) fn gate(gate: &Gated) -> String {
    let against = gate.against.as_ref().map_or_else(
        || "nothing is in production to compare with".to_owned(),
        |version| format!("compared with `{version}`, which is in production"),
    );
    let mut text = format!("The gate **{}**; {against}.\n\n", verdict(gate.passed));
    for f in gate.checks.iter().filter(|f| !f.passed) {
        text += &format!("- **{}**: {}\n", f.check, plain(&f.meaning));
    }
    text += &format!("\n| check | {GAP}result | {GAP}value | {GAP}needed |\n|---|---|---|---|\n");
    for f in &gate.checks {
        let (result, value) = (verdict(f.passed), number(f.value));
        text += &format!("| {} | {GAP}{result} | {GAP}{value} | {GAP}{} |\n", f.check, bound(f));
    }
    let flips = &gate.flips;
    if flips.missed + flips.flagged > 0 {
        text += &format!(
            "\n{} threats would be newly missed (rows {:?}), {} other sentences newly flagged (rows {:?}).\n",
            flips.missed, flips.missed_rows, flips.flagged, flips.flagged_rows
        );
    }
    text
}

/// The bound of a check, as short as possible.
fn bound(finding: &Finding) -> String {
    match (finding.at_least, finding.at_most) {
        (Some(least), _) => format!("≥{GAP}{}", number(least)),
        (None, Some(most)) => format!("≤{GAP}{}", number(most)),
        (None, None) => "any".to_owned(),
    }
}

/// Three decimals are enough, and none for numbers in thousands.
fn number(value: f64) -> String {
    if value.abs() >= 1000.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let told = [1.0, 0.149_02, 103_894.88, -0.5, 0.0].map(number);
        assert_eq!(told, ["1", "0.149", "103895", "-0.500", "0"]);
    }

    #[test]
    fn a_figure_has_its_interval_where_there_is_one() {
        assert_eq!(figure(0.61234, Some([0.5, 0.7])), "0.612 (0.500–0.700)");
        assert_eq!(figure(0.61234, None), "0.612");
    }

    #[test]
    fn every_line_of_a_table_has_as_many_cells_as_its_head() {
        let evaluation = r#"{"precision":0.5,"recall":0.5,"f1":0.5,"roc_auc":0.5,"pr_auc":0.5,"recall_at_fpr_5":0.5,
            "brier":0.5,"ece":0.5,"threshold":0.5,"n":2,"positives":1,"confusion":{"true_positives":1,
            "false_positives":0,"false_negatives":0,"true_negatives":1},"intervals":null}"#;
        let scores = format!(r#"{{"sentence":{evaluation},"comment":{evaluation}}}"#);
        let scores: model::evaluation::Scores = serde_json::from_str(&scores).unwrap();
        let candidate = Candidate {
            version: model::Version::derive(0, "w", "r", "t"),
            trainer: "stacked".to_owned(),
            cross_validation: scores.clone(),
            held_out: scores,
        };
        let table = figures(&[candidate.clone(), candidate]);
        let cells: Vec<usize> = table.lines().filter(|l| l.starts_with('|')).map(|l| l.matches('|').count()).collect();
        assert_eq!(cells, [5; 6], "{table}");
    }
}
