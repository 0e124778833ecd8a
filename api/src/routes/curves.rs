//! Versions on held-out commenters: curves, and sentences on which two versions decide differently.

use std::sync::Arc;

use model::{
    corpus::split,
    evaluation::{ByLabel, calibration_curve, pr_curve},
};
use poem::http::StatusCode;
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use super::{Tag, answers};
use crate::{
    blocking::blocking,
    caller::{By, Read, Review},
    context::Context,
    held_out::{Busy, HeldOutVerdicts},
    kind::Kind,
    problem::Problem,
    serving::Live,
};

/// Most points of a curve: a screen shows no more.
const POINTS: usize = 200;
/// Rows of an answer by default.
const SHOWN: u32 = 100;
const MOST_SHOWN: u32 = 1000;

pub(crate) struct Curves(pub(crate) Context);

/// Curves of a version, by sentence, over the held-out commenters.
#[derive(Debug, Object)]
struct CurvesOfModel {
    version: String,
    /// The digest of the rows: the dataset, or its sample.
    dataset: String,
    /// Number of sentences.
    sentences: u64,
    /// Of these, the threats.
    threats: u64,
    /// From the highest threshold to the lowest.
    precision_recall: Vec<PrecisionRecall>,
    /// Predicted and actual share of threats, in fifteen bins of equal width.
    /// Empty bins are left out.
    calibration: Vec<Calibration>,
    probability: ProbabilityByLabel,
}

/// Precision and recall at a threshold.
#[derive(Debug, Object)]
struct PrecisionRecall {
    /// Sentences at or above it are flagged.
    threshold: f64,
    /// Share of the flagged sentences that are threats.
    precision: f64,
    /// Share of the threats that are flagged.
    recall: f64,
}

/// A calibration bin: sentences with similar probabilities.
#[derive(Debug, Object)]
struct Calibration {
    /// Mean predicted probability.
    said: f64,
    /// Actual share of threats.
    seen: f64,
    /// Number of sentences.
    n: u64,
}

/// Histogram of probabilities by label, in bins of equal width.
#[derive(Debug, Object)]
struct ProbabilityByLabel {
    /// The bounds between the bins.
    edges: Vec<f64>,
    /// Number of threats in each bin.
    threats: Vec<u64>,
    /// Number of harmless sentences in each bin.
    harmless: Vec<u64>,
}

/// Sentences on which two versions decide differently, of commenters held out from both.
#[derive(Debug, Object)]
struct Flips {
    a: String,
    b: String,
    /// Number of sentences compared.
    sentences: u64,
    /// Sentences that only one of them labels a threat.
    flips: u64,
    /// Of these, those that `b` labels correctly.
    better: u64,
    /// Of these, those that `a` labels correctly.
    worse: u64,
    /// Largest difference in probability first.
    items: Vec<Flip>,
}

/// A sentence on which two versions decide differently.
#[derive(Debug, Object)]
struct Flip {
    /// Its number in the dataset, from 0.
    row: u64,
    text: String,
    /// Whether the dataset labels it a threat.
    is_threat: bool,
    /// The probability from `a`.
    a: f64,
    /// The probability from `b`.
    b: f64,
}

answers! {
    /// Answers of `GET /models/{version}/curves`.
    CurvesAnswer {
        /// The curves.
        #[oai(status = 200)]
        Ok(Json<CurvesOfModel>),
    }
}
answers! {
    /// Answers of `GET /models/flips`.
    FlipsAnswer {
        /// The differences.
        #[oai(status = 200)]
        Ok(Json<Flips>),
    }
}

#[OpenApi(prefix_path = "/models", tag = "Tag::Models")]
impl Curves {
    /// Show a version's precision, recall and calibration curves on the held-out commenters.
    #[oai(path = "/:version/curves", method = "get")]
    async fn curves(
        &self,
        _by: By<Read>,
        /// The version, e.g. `20261123T021009Z-3f9c2a1b`.
        version: Path<String>,
    ) -> CurvesAnswer {
        let drawn = async {
            let live = self.0.model(Some(&version.0)).await?;
            let said = self.judged(&live, &live).await?;
            Ok::<_, Problem>(blocking(move || curves(&live, &said)).await)
        };
        match drawn.await {
            Ok(curves) => CurvesAnswer::Ok(Json(curves)),
            Err(problem) => problem.into(),
        }
    }

    /// Show sentences of the dataset on which two versions decide differently.
    ///
    /// Only sentences of commenters held out from both versions.
    #[oai(path = "/flips", method = "get")]
    async fn flips(
        &self,
        _by: By<Review>,
        /// One version.
        a: Query<String>,
        /// The other version. The sentences are from its dataset.
        b: Query<String>,
        /// Most sentences to return, from 1 to 1000. The default is 100.
        limit: Query<Option<u32>>,
    ) -> FlipsAnswer {
        let limit = limit.0.unwrap_or(SHOWN);
        if !(1..=MOST_SHOWN).contains(&limit) {
            return Problem::invalid(format!("`limit` must be from 1 to {MOST_SHOWN}.")).into();
        }
        let compared = async {
            let (one, other) = (self.0.model(Some(&a.0)).await?, self.0.model(Some(&b.0)).await?);
            let (by_one, by_other) = (self.judged(&one, &other).await?, self.judged(&other, &other).await?);
            let compare = move || flips((&one, &by_one), (&other, &by_other), limit as usize);
            Ok::<_, Problem>(blocking(compare).await)
        };
        match compared.await {
            Ok(flips) => FlipsAnswer::Ok(Json(flips)),
            Err(problem) => problem.into(),
        }
    }
}

impl Curves {
    async fn judged(&self, live: &Arc<Live>, of: &Arc<Live>) -> Result<Arc<HeldOutVerdicts>, Problem> {
        let judging = self.0.held_out.judged(live, of).await;
        let judging = judging.map_err(|Busy| {
            let detail = "Too many requests wait for the held-out commenters to be judged.";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, Kind::TooManyRequests, detail)
        })?;
        judging?.ok_or_else(|| Problem::invalid("There are too many held-out sentences to judge on request."))
    }
}

fn curves(live: &Live, said: &HeldOutVerdicts) -> CurvesOfModel {
    let judged = said.judged();
    let ByLabel { threats, harmless } = ByLabel::of(&judged);
    CurvesOfModel {
        version: live.manifest.version.to_string(),
        dataset: live.manifest.rows().to_string(),
        sentences: judged.len() as u64,
        threats: judged.iter().filter(|(_, is_threat)| *is_threat).count() as u64,
        precision_recall: pr_curve(&judged, POINTS)
            .into_iter()
            .map(|point| PrecisionRecall {
                threshold: point.threshold,
                precision: point.precision,
                recall: point.recall,
            })
            .collect(),
        calibration: calibration_curve(&judged)
            .into_iter()
            .map(|bin| Calibration { said: bin.said, seen: bin.seen, n: bin.n as u64 })
            .collect(),
        probability: ProbabilityByLabel { edges: ByLabel::edges(), threats, harmless },
    }
}

fn flips(
    (one, by_one): (&Live, &HeldOutVerdicts),
    (other, by_other): (&Live, &HeldOutVerdicts),
    limit: usize,
) -> Flips {
    let rows = &by_other.rows;
    let [from_one, from_other] = [one, other].map(|live| live.model.threshold());
    let (mut sentences, mut better) = (0, 0);
    let mut found = Vec::new();
    for (at, row) in rows.rows.iter().enumerate() {
        // Rows that the other version was trained on would favour it.
        if !split::is_held_out(one.manifest.seed, &row.commenter) {
            continue;
        }
        sentences += 1;
        let (a, b) = (by_one.probabilities[at], by_other.probabilities[at]);
        let says = (a >= from_one, b >= from_other);
        if says.0 != says.1 {
            better += u64::from(says.1 == row.is_threat());
            found.push((at, a, b));
        }
    }
    found.sort_by(|x, y| (y.1 - y.2).abs().total_cmp(&(x.1 - x.2).abs()).then(x.0.cmp(&y.0)));
    let flips = found.len() as u64;
    let item = |(at, a, b): (usize, f64, f64)| Flip {
        row: rows.numbers[at],
        text: rows.rows[at].text.clone(),
        is_threat: rows.rows[at].is_threat(),
        a,
        b,
    };
    Flips {
        a: one.manifest.version.to_string(),
        b: other.manifest.version.to_string(),
        sentences,
        flips,
        better,
        worse: flips - better,
        items: found.into_iter().take(limit).map(item).collect(),
    }
}
