//! Models and their figures as the API shows them.

use model::evaluation::{Evaluation, Scores};
use poem_openapi::Object;
use registry::{ModelManifest, PromotionRecord};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::problem::Problem;

/// Figures of one set of judged rows.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct Figures {
    /// Threats among what is flagged.
    precision: f64,
    /// Flagged among the threats.
    recall: f64,
    /// Harmonic mean of the two.
    f1: f64,
    /// Chance that a threat is ranked above another row.
    roc_auc: f64,
    /// Average precision.
    pr_auc: f64,
    /// Recall at the threshold that flags 5% of the rows that are no threat.
    recall_at_fpr_5: f64,
    /// Mean squared error of the probability.
    brier: f64,
    /// Expected calibration error over 15 bins.
    ece: f64,
    /// At or above this probability a row is flagged.
    threshold: f64,
    /// Rows.
    n: u64,
    /// Threats among them.
    positives: u64,
    /// 95% intervals by resampled commenters.
    intervals: Option<Intervals>,
}

/// 95% intervals, lowest then highest.
#[derive(Clone, Debug, Object)]
pub(crate) struct Intervals {
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    roc_auc: Vec<f64>,
    pr_auc: Vec<f64>,
    recall_at_fpr_5: Vec<f64>,
    brier: Vec<f64>,
    ece: Vec<f64>,
}

/// Figures by sentence and by comment.
#[derive(Clone, Debug, Object)]
pub(crate) struct FiguresByUnit {
    sentence: Figures,
    comment: Figures,
}

/// A registered version.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct ModelSummary {
    /// The version.
    version: String,
    /// The trainer that made it.
    trainer: String,
    /// Its parameters.
    preset: String,
    /// Start of the training run (UTC).
    started: String,
    /// Digest of the dataset.
    dataset: String,
    /// Digest of the artifact.
    artifact: String,
    /// Length of the artifact.
    artifact_bytes: u64,
    /// Features with a weight.
    features: u64,
    /// Digest of the sample in memory, where the dataset was too large for it; the figures are of its rows.
    sample: Option<String>,
    /// The operating point that decides.
    operating_point: String,
    /// Release of threatwatch that trained it.
    code_version: String,
    /// The workflow that trained it.
    workflow_id: String,
    /// The workflow's run.
    run_id: String,
    /// Whether it is in production.
    in_production: bool,
    /// Five-fold cross-validation by commenter on the training rows.
    cross_validation: FiguresByUnit,
    /// The held-out commenters.
    held_out: FiguresByUnit,
}

/// A promotion.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct PromotionSummary {
    /// In production from then on.
    version: String,
    /// The place in the history, from 1.
    generation: u64,
    /// In production before.
    previous: Option<String>,
    /// Who asked.
    actor: String,
    /// Why.
    reason: String,
    /// Whether it was promoted although the gate refused it.
    forced: bool,
    /// When (UTC).
    at: String,
}

impl ModelSummary {
    pub(crate) fn new(manifest: ModelManifest, in_production: bool) -> Self {
        Self {
            version: manifest.version.to_string(),
            trainer: manifest.trainer,
            preset: format!("{:?}", manifest.preset).to_lowercase(),
            started: rfc3339(manifest.started * 1000),
            dataset: manifest.dataset.to_string(),
            artifact: manifest.artifact.to_string(),
            artifact_bytes: manifest.artifact_bytes,
            features: manifest.features,
            sample: manifest.sample.map(|sample| sample.to_string()),
            operating_point: manifest.operation.point,
            code_version: manifest.code_version,
            workflow_id: manifest.workflow_id,
            run_id: manifest.run_id,
            in_production,
            cross_validation: manifest.cross_validation.into(),
            held_out: manifest.held_out.into(),
        }
    }
}

impl From<PromotionRecord> for PromotionSummary {
    fn from(record: PromotionRecord) -> Self {
        Self {
            version: record.version.to_string(),
            generation: record.generation.0,
            previous: record.previous.map(|version| version.to_string()),
            actor: record.actor,
            reason: record.reason,
            forced: record.forced,
            at: rfc3339(record.at),
        }
    }
}

impl From<Scores> for FiguresByUnit {
    fn from(scores: Scores) -> Self {
        Self { sentence: scores.sentence.into(), comment: scores.comment.into() }
    }
}

impl From<Evaluation> for Figures {
    fn from(e: Evaluation) -> Self {
        Self {
            precision: e.precision,
            recall: e.recall,
            f1: e.f1,
            roc_auc: e.roc_auc,
            pr_auc: e.pr_auc,
            recall_at_fpr_5: e.recall_at_fpr_5,
            brier: e.brier,
            ece: e.ece,
            threshold: e.threshold,
            n: e.n as u64,
            positives: e.positives as u64,
            intervals: e.intervals.map(|i| Intervals {
                precision: i.precision.to_vec(),
                recall: i.recall.to_vec(),
                f1: i.f1.to_vec(),
                roc_auc: i.roc_auc.to_vec(),
                pr_auc: i.pr_auc.to_vec(),
                recall_at_fpr_5: i.recall_at_fpr_5.to_vec(),
                brier: i.brier.to_vec(),
                ece: i.ece.to_vec(),
            }),
        }
    }
}

/// A time of RFC 3339 in milliseconds since 1970, UTC, that a parameter of this name gives.
pub(crate) fn millis(name: &str, text: &str) -> Result<i64, Problem> {
    let at = OffsetDateTime::parse(text, &Rfc3339);
    let at = at.map_err(|_| Problem::invalid(format!("`{name}` is no time such as 2026-11-23T10:00:00Z.")))?;
    Ok((at.unix_timestamp_nanos() / 1_000_000) as i64)
}

/// Milliseconds since 1970 as `2026-11-23T02:10:09.25Z`.
pub(crate) fn rfc3339(millis: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).expect("years of four digits")
}
