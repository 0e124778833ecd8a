//! The gate: a table of checks that a candidate must pass before promotion.
//!
//! - **In**: [`Evidence`]: a candidate, its artifact's digest, its speed, held-out rows, and the model in production.
//! - **Out**: a [`Finding`] for each check, and the [`Flips`]: rows with a worse decision.
//! - **Callers**: the activity `gate`; the rollback, which checks the golden examples.

mod artifact;
mod calibration;
mod comparison;
mod discrimination;
mod golden;
mod mcnemar;
mod report;
mod speed;

use serde::{Deserialize, Serialize};

pub(crate) use self::mcnemar::chance_of_as_many;
pub use self::report::Gated;
use crate::{
    Digest, Model, Row,
    evaluation::{
        Scores,
        bootstrap::{Differences, Judgement},
    },
    experiment,
};

/// The input of the checks.
pub struct Evidence<'a> {
    /// The candidate.
    pub candidate: Judged<'a>,
    /// The registered digest of the candidate's artifact.
    pub artifact: &'a Digest,
    /// The candidate's speed on one thread, measured now, in sentences per second.
    pub sentences_per_second: f64,
    /// The held-out rows that both models judge.
    pub rows: &'a [Row],
    /// The model in production on the same rows; `None` before the first promotion.
    pub production: Option<Incumbent<'a>>,
}

/// A model with its probabilities and figures of the held-out rows.
pub struct Judged<'a> {
    /// The model.
    pub model: &'a Model,
    /// The probability of each row.
    pub probabilities: Vec<f64>,
    /// The figures.
    pub scores: Scores,
}

/// The model in production, compared with the candidate.
pub struct Incumbent<'a> {
    /// Its probabilities and figures.
    pub judged: Judged<'a>,
    /// How much better the candidate is, for each resample.
    pub differences: Differences,
}

impl<'a> Judged<'a> {
    /// Judges held-out rows.
    #[must_use]
    pub fn of(model: &'a Model, rows: &[Row]) -> Self {
        let probabilities = experiment::probabilities(model, rows);
        let scores = Scores::of(rows, &probabilities, model.threshold());
        Self { model, probabilities, scores }
    }

    fn flags(&self, row: usize) -> bool {
        self.probabilities[row] >= self.model.threshold()
    }

    fn judgements(&self, rows: &'a [Row]) -> Vec<Judgement<'a>> {
        let judge = |(row, &probability): (&'a Row, &f64)| Judgement {
            commenter: &row.commenter,
            probability,
            is_threat: row.is_threat(),
        };
        rows.iter().zip(&self.probabilities).map(judge).collect()
    }
}

impl<'a> Evidence<'a> {
    /// Judges the held-out rows by both models.
    #[must_use]
    pub fn gather(
        candidate: &'a Model,
        artifact: &'a Digest,
        production: Option<&'a Model>,
        rows: &'a [Row],
        sentences_per_second: f64,
    ) -> Self {
        let candidate = Judged::of(candidate, rows);
        let production = production.map(|model| {
            let judged = Judged::of(model, rows);
            let differences =
                Differences::of(&candidate.judgements(rows), &judged.judgements(rows), experiment::DEFAULT_SEED);
            Incumbent { judged, differences }
        });
        Self { candidate, artifact, sentences_per_second, rows, production }
    }
}

/// One check of a candidate.
///
/// Moderators see the answer's value, bound and meaning, and the history keeps them forever. A check without a model to
/// compare with passes and says so.
pub trait Check: Send + Sync {
    /// Its name in reports; never changed once released.
    fn name(&self) -> &'static str;
    /// The answer. Pure and deterministic.
    fn judge(&self, evidence: &Evidence<'_>) -> Answer;
}

/// Every check of this crate, by name.
pub const CHECKS: &[&dyn Check] = &[
    &artifact::ArtifactVerifies,
    &calibration::Calibrated,
    &discrimination::FindsThreats,
    &golden::GoldenExamples,
    &mcnemar::HARMLESS,
    &comparison::PrAucNotWorse,
    &comparison::RecallNotWorse,
    &speed::ScoringSpeed,
    &mcnemar::THREATS,
];

/// The result of a check.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The measured value.
    pub value: f64,
    /// The values that pass.
    pub bound: Bound,
    /// The meaning in plain words, for a moderator.
    pub meaning: String,
}

/// The bound of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// The least value that passes.
    AtLeast(f64),
    /// The largest value that passes.
    AtMost(f64),
}

/// A check's answer in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The name of the check.
    pub check: String,
    /// Whether the value is within the bound.
    pub passed: bool,
    /// The measured value.
    pub value: f64,
    /// The least value that passes, if there is a lower bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// The largest value that passes, if there is an upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// The meaning in plain words, for a moderator.
    pub meaning: String,
}

impl Finding {
    /// The bound in words: `at least 0.75`.
    #[must_use]
    pub fn bound(&self) -> String {
        match (self.at_least, self.at_most) {
            (Some(least), _) => format!("at least {least:.4}"),
            (None, Some(most)) => format!("at most {most:.4}"),
            (None, None) => "any".to_owned(),
        }
    }
}

/// Runs every check of this crate.
///
/// ```
/// use model::{Digest, artifact, corpus::{sample, split}, experiment::{self, Config}, gate, trainers};
///
/// let config = Config::default();
/// let (rows, held_out) = split::held_out(config.seed, sample().rows);
/// let candidate = experiment::train(trainers::find("multinomial_nb")?, &rows, &config, &|_, _| {})?.model;
/// let digest = Digest::of(&artifact::encode(&candidate));
/// let evidence = gate::Evidence::gather(&candidate, &digest, None, &held_out, 50_000.0);
/// let findings = gate::judge(&evidence);
/// assert!(findings.iter().all(|finding| finding.passed));
/// # Ok::<(), trainers::Error>(())
/// ```
#[must_use]
pub fn judge(evidence: &Evidence<'_>) -> Vec<Finding> {
    ask(CHECKS, evidence)
}

/// Runs some checks, in their order.
#[must_use]
pub fn ask(checks: &[&dyn Check], evidence: &Evidence<'_>) -> Vec<Finding> {
    let ask = |check: &&dyn Check| {
        let Answer { value, bound, meaning } = check.judge(evidence);
        let (passed, at_least, at_most) = match bound {
            Bound::AtLeast(least) => (value >= least, Some(least), None),
            Bound::AtMost(most) => (value <= most, None, Some(most)),
        };
        Finding { check: check.name().to_owned(), passed, value, at_least, at_most, meaning }
    };
    checks.iter().map(ask).collect()
}

/// Held-out rows that the candidate decides worse than production: numbers, never text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flips {
    /// The number of threats that production flags and the candidate would miss.
    pub missed: u64,
    /// The row numbers of the first of these threats, from 0 in the dataset.
    pub missed_rows: Vec<u64>,
    /// The number of other sentences that only the candidate would flag.
    pub flagged: u64,
    /// The row numbers of the first of these sentences.
    pub flagged_rows: Vec<u64>,
}

/// The most row numbers of each kind in a report.
const NAMED_ROWS: usize = 50;

impl Flips {
    /// Compares the decisions. `numbers` are the held-out rows' numbers in the dataset.
    #[must_use]
    pub fn of(evidence: &Evidence<'_>, numbers: &[u64]) -> Self {
        let Some(production) = &evidence.production else { return Self::default() };
        let mut flips = Self::default();
        for (at, (row, &number)) in evidence.rows.iter().zip(numbers).enumerate() {
            let (count, rows) = match (row.is_threat(), production.judged.flags(at), evidence.candidate.flags(at)) {
                (true, true, false) => (&mut flips.missed, &mut flips.missed_rows),
                (false, false, true) => (&mut flips.flagged, &mut flips.flagged_rows),
                _ => continue,
            };
            *count += 1;
            if rows.len() < NAMED_ROWS {
                rows.push(number);
            }
        }
        flips
    }
}

/// Whether a model ranks obvious threats above harmless sentences.
///
/// Every model in production must pass this.
#[must_use]
pub fn ranks_golden_examples(model: &Model) -> bool {
    golden::share_ranked_rightly(model) >= golden::LEAST
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        artifact as bytes,
        corpus::{self, split},
        experiment::Config,
        trainers::{self, Preset},
    };

    fn fit(rows: &[Row], preset: Preset) -> Model {
        let trainer = trainers::find("multinomial_nb").unwrap();
        experiment::train(trainer, rows, &Config { preset, ..Config::default() }, &|_, _| {}).unwrap().model
    }

    fn failed(findings: &[Finding]) -> Vec<&str> {
        findings.iter().filter(|f| !f.passed).map(|f| f.check.as_str()).collect()
    }

    fn digest(model: &Model) -> Digest {
        Digest::of(&bytes::encode(model))
    }

    #[test]
    fn the_table_is_sorted() {
        let names: Vec<&str> = CHECKS.iter().map(|c| c.name()).collect();
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn a_good_model_passes_and_a_worse_one_is_refused_by_name() {
        let (train, test) = split::held_out(experiment::DEFAULT_SEED, corpus::sample().rows);
        let good = fit(&train, Preset::Default);
        let of_good = digest(&good);
        let first = Evidence::gather(&good, &of_good, None, &test, 1e6);
        assert_eq!(failed(&judge(&first)), [""; 0]);
        let again = Evidence::gather(&good, &of_good, Some(&good), &test, 1e6);
        assert_eq!(failed(&judge(&again)), [""; 0], "a model is not worse than itself");
        assert_eq!(Flips::of(&again, &[0; 2000]), Flips::default());

        // The same recipe on inverted labels.
        let turned: Vec<Row> = train.iter().map(|r| Row { label: u8::from(!r.is_threat()), ..r.clone() }).collect();
        let bad = fit(&turned, Preset::Sklearn);
        let evidence = Evidence::gather(&bad, &of_good, Some(&good), &test, 10.0);
        let findings = judge(&evidence);
        // It flags nearly everything: that is the one thing it cannot be blamed for.
        let others = CHECKS.iter().map(|check| check.name()).filter(|name| *name != "threats_not_missed");
        assert_eq!(failed(&findings), others.collect::<Vec<_>>(), "{findings:#?}");
        let numbers: Vec<u64> = (1000..).take(test.len()).collect();
        let flips = Flips::of(&evidence, &numbers);
        assert!(flips.missed > 0 && flips.flagged > 0 && flips.flagged_rows.len() <= NAMED_ROWS, "{flips:?}");
        assert!(flips.missed_rows.iter().all(|&n| test[n as usize - 1000].is_threat()));
        assert!(flips.flagged_rows.iter().all(|&n| !test[n as usize - 1000].is_threat()));
    }
}
