//! `/models/{version}/backtests`: comments on which a version decides differently from another one.

use model::{
    Version,
    backtest::{Backtest, Labelled, Report},
};
use poem_openapi::{Object, OpenApi, param::Path, payload::Json};

use super::{Tag, answers};
use crate::{
    caller::{By, Read},
    context::Context,
    figures::rfc3339,
    judging::version_of,
};

pub(crate) struct Backtests(pub(crate) Context);

/// The backtests of a version.
#[derive(Debug, Object)]
struct BacktestList {
    /// Newest first.
    items: Vec<BacktestSummary>,
}

/// A backtest: two versions judge the same comments.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct BacktestSummary {
    /// Its id.
    id: String,
    /// When it was run: RFC 3339, UTC.
    at: String,
    /// The version under test.
    candidate: String,
    /// The version that it was compared with.
    incumbent: String,
    /// Where the comments come from: `feedback`, `dataset` or `file`.
    source: String,
    /// Comments that both versions judged.
    comments: u64,
    /// Comments that the candidate labels differently.
    changed: u64,
    /// Of these, the comments that only the candidate labels a threat.
    to_threat: u64,
    /// Of these, the comments that only the incumbent labels a threat.
    to_harmless: u64,
    /// Comments with a different decision (`flag`, `review` or `pass`).
    handled_otherwise: u64,
    /// Share of the comments that the candidate labels differently.
    changed_share: f64,
    /// Its 95% interval: lower bound, upper bound.
    changed_interval: Vec<f64>,
    /// Labelled comments that neither version was trained on. The fields below are about these.
    labelled: u64,
    /// Comments that only the candidate labels correctly.
    corrected: Option<u64>,
    /// Comments that only the incumbent labels correctly.
    broken: Option<u64>,
    /// Probability that chance alone makes `corrected` and `broken` differ this much: McNemar's exact test, two-sided.
    p_value: Option<f64>,
    /// The candidate's accuracy minus the incumbent's.
    accuracy_difference: Option<f64>,
    /// Its 95% interval: lower bound, upper bound.
    accuracy_interval: Option<Vec<f64>>,
    /// The candidate's recall minus the incumbent's.
    recall_difference: Option<f64>,
    /// Its 95% interval: lower bound, upper bound.
    recall_interval: Option<Vec<f64>>,
    /// The candidate's false alarm rate (flagged share of the harmless comments) minus the incumbent's.
    false_alarm_difference: Option<f64>,
    /// Its 95% interval: lower bound, upper bound.
    false_alarm_interval: Option<Vec<f64>>,
}

impl From<Backtest> for BacktestSummary {
    fn from(done: Backtest) -> Self {
        let handled_otherwise = done.report.handled_otherwise();
        let Report { comments, changed, to_threat, to_harmless, changed_share, changed_interval, labelled, .. } =
            done.report;
        let of = |figure: fn(&Labelled) -> u64| labelled.as_ref().map(figure);
        let accuracy = labelled.as_ref().map(|labelled| labelled.accuracy);
        let recall = labelled.as_ref().and_then(|labelled| labelled.recall);
        let false_alarms = labelled.as_ref().and_then(|labelled| labelled.false_alarm_rate);
        Self {
            id: done.id.to_string(),
            at: rfc3339(done.at),
            candidate: done.candidate.to_string(),
            incumbent: done.incumbent.to_string(),
            source: done.source.kind().to_owned(),
            comments,
            changed,
            to_threat,
            to_harmless,
            handled_otherwise,
            changed_share,
            changed_interval: changed_interval.to_vec(),
            labelled: of(|labelled| labelled.comments).unwrap_or(0),
            corrected: of(|labelled| labelled.corrected),
            broken: of(|labelled| labelled.broken),
            p_value: labelled.as_ref().map(|labelled| labelled.p_value),
            accuracy_difference: accuracy.map(|figure| figure.difference),
            accuracy_interval: accuracy.map(|figure| figure.interval.to_vec()),
            recall_difference: recall.map(|figure| figure.difference),
            recall_interval: recall.map(|figure| figure.interval.to_vec()),
            false_alarm_difference: false_alarms.map(|figure| figure.difference),
            false_alarm_interval: false_alarms.map(|figure| figure.interval.to_vec()),
        }
    }
}

answers! {
    /// Answers of `GET /models/{version}/backtests`.
    BacktestsAnswer {
        /// The backtests.
        #[oai(status = 200)]
        Ok(Json<BacktestList>),
    }
}

#[OpenApi(prefix_path = "/models", tag = "Tag::Models")]
impl Backtests {
    /// List the backtests of a version: where it decides differently from another version.
    #[oai(path = "/:version/backtests", method = "get")]
    async fn list(
        &self,
        _by: By<Read>,
        /// The version, e.g. `20261123T021009Z-3f9c2a1b`.
        version: Path<String>,
    ) -> BacktestsAnswer {
        let version = match version_of(&version.0) {
            Ok(version) => version,
            Err(problem) => return problem.into(),
        };
        match self.0.ask_store(self.read(&version)).await {
            Ok(list) => BacktestsAnswer::Ok(Json(list)),
            Err(error) => error.into(),
        }
    }
}

impl Backtests {
    async fn read(&self, version: &Version) -> Result<BacktestList, registry::Error> {
        self.0.registry.manifest(version).await?;
        let items = self.0.registry.backtests(version).await?.into_iter().map(Into::into).collect();
        Ok(BacktestList { items })
    }
}
