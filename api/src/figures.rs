//! Models and their figures as the API shows them.

use model::evaluation::{Evaluation, Scores};
use poem_openapi::Object;
use registry::{ModelManifest, PromotionRecord};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::problem::Problem;

/// Figures of one set of evaluated rows.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct Figures {
    /// Share of the flagged rows that are threats.
    precision: f64,
    /// Share of the threats that are flagged.
    recall: f64,
    /// Harmonic mean of precision and recall.
    f1: f64,
    /// Area under the ROC curve: the chance that a threat ranks above another row.
    roc_auc: f64,
    /// Area under the precision-recall curve, as average precision.
    pr_auc: f64,
    /// Recall at the threshold that flags 5% of the rows that are not threats.
    recall_at_fpr_5: f64,
    /// Brier score: mean squared error of the probability.
    brier: f64,
    /// Expected calibration error, in 15 bins.
    ece: f64,
    /// A row is flagged at or above this probability.
    threshold: f64,
    /// Number of rows.
    n: u64,
    /// Number of threats among the rows.
    positives: u64,
    /// 95% intervals, by a bootstrap over commenters.
    intervals: Option<Intervals>,
}

/// 95% intervals, each as lower bound, upper bound.
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
    /// The preset of its training parameters.
    preset: String,
    /// Start of the training run (UTC).
    started: String,
    /// SHA-256 digest of the dataset.
    dataset: String,
    /// SHA-256 digest of the artifact.
    artifact: String,
    /// Length of the artifact in bytes.
    artifact_bytes: u64,
    /// Number of features with a weight.
    features: u64,
    /// Digest of the sample, if the dataset was too large for memory.
    /// The figures are of the sample's rows.
    sample: Option<String>,
    /// The operating point, which sets the threshold.
    operating_point: String,
    /// Release of threatwatch that trained it.
    code_version: String,
    /// The id of the workflow that trained it.
    workflow_id: String,
    /// The run id of that workflow.
    run_id: String,
    /// Whether it is in production.
    in_production: bool,
    /// Five-fold cross-validation on the training rows, split by commenter.
    cross_validation: FiguresByUnit,
    /// Figures on the held-out commenters.
    held_out: FiguresByUnit,
}

/// A promotion.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct PromotionSummary {
    /// The version that was promoted.
    version: String,
    /// The position in the history, from 1.
    generation: u64,
    /// The version that was in production before.
    previous: Option<String>,
    /// Who requested it.
    actor: String,
    /// Why.
    reason: String,
    /// Whether it was promoted by force, although the gate refused it.
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

/// Parses an RFC 3339 time into milliseconds since 1970.
/// `name` is the parameter for the error.
pub(crate) fn millis(name: &str, text: &str) -> Result<i64, Problem> {
    let at = OffsetDateTime::parse(text, &Rfc3339);
    let at = at.map_err(|_| Problem::invalid(format!("`{name}` is not a time like 2026-11-23T10:00:00Z.")))?;
    Ok((at.unix_timestamp_nanos() / 1_000_000) as i64)
}

/// Milliseconds since 1970 as `2026-11-23T02:10:09.25Z`.
pub(crate) fn rfc3339(millis: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).expect("years of four digits")
}
