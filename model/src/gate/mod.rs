//! The gate: a table of checks that a candidate must pass before it serves.

mod comparison;
mod discrimination;
mod golden;

use serde::{Deserialize, Serialize};

use crate::{Model, evaluation::Scores};

/// What the checks look at. Both models were judged on the same held-out rows.
pub struct Evidence<'a> {
    /// The candidate.
    pub candidate: &'a Model,
    /// Its figures on the held-out rows.
    pub scores: &'a Scores,
    /// The figures of the model in production on the same rows; none before the first promotion.
    pub production: Option<&'a Scores>,
}

/// One question about a candidate.
pub trait Check: Send + Sync {
    /// Its name in reports; never changed once released.
    fn name(&self) -> &'static str;
    /// The answer. Pure and deterministic.
    fn judge(&self, evidence: &Evidence<'_>) -> Answer;
}

/// Every check, by name.
pub const CHECKS: &[&dyn Check] =
    &[&discrimination::FindsThreats, &golden::GoldenExamples, &comparison::PrAucNotWorse, &comparison::RecallNotWorse];

/// What a check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Measured.
    pub value: f64,
    /// The least that passes.
    pub at_least: f64,
    /// What that means, for a moderator.
    pub meaning: String,
}

/// A check's answer in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The check.
    pub check: String,
    /// Whether the value reaches the bound.
    pub passed: bool,
    /// Measured.
    pub value: f64,
    /// The least that passes.
    pub at_least: f64,
    /// What that means, for a moderator.
    pub meaning: String,
}

/// Asks every check.
#[must_use]
pub fn judge(evidence: &Evidence<'_>) -> Vec<Finding> {
    let ask = |check: &&dyn Check| {
        let Answer { value, at_least, meaning } = check.judge(evidence);
        Finding { check: check.name().to_owned(), passed: value >= at_least, value, at_least, meaning }
    };
    CHECKS.iter().map(ask).collect()
}

/// Whether a model ranks obvious threats above harmless sentences: the least that any model in production must do.
#[must_use]
pub fn ranks_golden_examples(model: &Model) -> bool {
    golden::share_ranked_rightly(model) >= golden::LEAST
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        corpus,
        experiment::{self, Config},
        split,
        trainers::{self, Preset},
    };

    #[test]
    fn the_table_is_sorted() {
        let names: Vec<&str> = CHECKS.iter().map(|c| c.name()).collect();
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn a_good_model_passes_and_a_worse_one_is_refused_by_name() {
        let (train, test) = split::held_out(experiment::DEFAULT_SEED, corpus::sample().rows);
        let trainer = trainers::find("multinomial_nb").unwrap();
        let fit = |rows: &[crate::Row], preset| {
            let config = Config { preset, ..Config::default() };
            experiment::train(trainer, rows, &config, &|_, _| {}).unwrap().model
        };
        let good = fit(&train, Preset::Default);
        let good_scores = experiment::evaluate(&good, &test);
        let findings = judge(&Evidence { candidate: &good, scores: &good_scores, production: None });
        assert!(findings.iter().all(|f| f.passed), "{findings:#?}");

        // The same recipe on labels that are turned round.
        let turned: Vec<crate::Row> =
            train.iter().map(|r| crate::Row { label: u8::from(!r.is_threat()), ..r.clone() }).collect();
        let bad = fit(&turned, Preset::Sklearn);
        let bad_scores = experiment::evaluate(&bad, &test);
        let findings = judge(&Evidence { candidate: &bad, scores: &bad_scores, production: Some(&good_scores) });
        let failed: Vec<&str> = findings.iter().filter(|f| !f.passed).map(|f| f.check.as_str()).collect();
        assert_eq!(failed, ["finds_threats", "golden_examples", "pr_auc_not_worse", "recall_not_worse"]);
    }
}
