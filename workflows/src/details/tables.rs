//! The tables of a run's details: data, figures, the gate's checks.

use model::evaluation::{Evaluation, bootstrap::Interval};

use super::plain;
use crate::{
    search::verdict,
    steps::{Candidate, Gated, Ingested, Trained},
};

/// What a run trains on, in counts.
pub(crate) fn data(found: &Ingested) -> String {
    let Ingested { dataset, source, sentences, threats, comments, commenters, quarantined, held_out, .. } = found;
    let mut text = String::from("| data | |\n|---|---|\n");
    let mut row = |name: &str, value: String| text += &format!("| {name} | {value} |\n");
    row("dataset", format!("`{}`, source `{source}`", dataset.short()));
    row("sentences", format!("{sentences}, of these {threats} threats"));
    row("comments", format!("{comments} of {commenters} commenters"));
    row("quarantined", format!("{quarantined} malformed rows, set aside"));
    let duplicates = found.duplicates.map_or_else(
        || "not counted".to_owned(),
        |duplicates| format!("{duplicates} sentences that stand there more than once, apart from the first"),
    );
    row("duplicates", duplicates);
    if found.sample.is_some() {
        row("sample in memory", format!("{} sentences", found.sampled));
    }
    row("held out", format!("{held_out} sentences, for judging"));
    text
}

/// What each trainer is worth by cross-validation, before the held-out rows are looked at.
pub(crate) fn of_training(trained: &[&Trained]) -> String {
    let mut text = head("trainer", &[]);
    for Trained { trainer, cross_validation, .. } in trained {
        text += &line(&format!("`{trainer}`"), &[&cross_validation.sentence]);
    }
    text
}

/// What each version is worth, best first.
pub(crate) fn figures(candidates: &[Candidate]) -> String {
    let mut text = head("version", &[" held out"]);
    for c in candidates {
        let name = format!("`{}` {}", c.version, c.trainer);
        text += &line(&name, &[&c.cross_validation.sentence, &c.held_out.sentence]);
    }
    text
}

fn head(of: &str, others: &[&str]) -> String {
    let names = |on: &str| format!(" PR-AUC{on} | F1{on} | recall at 5% false alarms{on} |");
    let rule = "---|".repeat(3 * (1 + others.len()));
    let others: String = others.iter().map(|on| names(on)).collect();
    format!("Figures by sentence, in brackets where they lie with 95%:\n\n| {of} |{}{others}\n|---|{rule}\n", names(""))
}

fn line(name: &str, evaluations: &[&Evaluation]) -> String {
    let figures = |e: &&Evaluation| {
        let intervals = e.intervals.as_ref();
        let [pr_auc, f1, recall] = [
            figure(e.pr_auc, intervals.map(|i| i.pr_auc)),
            figure(e.f1, intervals.map(|i| i.f1)),
            figure(e.recall_at_fpr_5, intervals.map(|i| i.recall_at_fpr_5)),
        ];
        format!(" {pr_auc} | {f1} | {recall} |")
    };
    format!("| {name} |{}\n", evaluations.iter().map(figures).collect::<String>())
}

/// A figure with its interval, where there is one.
fn figure(value: f64, interval: Option<Interval>) -> String {
    interval.map_or_else(|| format!("{value:.3}"), |[low, high]| format!("{value:.3} ({low:.3} to {high:.3})"))
}

/// The gate's report.
pub(crate) fn gate(gate: &Gated) -> String {
    let against = gate.against.as_ref().map_or_else(
        || "nothing is in production to compare with".to_owned(),
        |version| format!("compared with `{version}`, which is in production"),
    );
    let mut text = format!(
        "The gate **{}**; {against}.\n\n| check | result | value | bound | meaning |\n|---|---|---|---|---|\n",
        verdict(gate.passed)
    );
    for f in &gate.checks {
        text += &format!(
            "| {} | {} | {:.3} | {} | {} |\n",
            f.check,
            verdict(f.passed),
            f.value,
            f.bound(),
            plain(&f.meaning)
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_its_interval_where_there_is_one() {
        assert_eq!(figure(0.61234, Some([0.5, 0.7])), "0.612 (0.500 to 0.700)");
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
        assert_eq!(cells, [8, 8, 8, 8], "{table}");
    }
}
