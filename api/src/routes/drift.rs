//! `/drift`: compares the last 24 hours' comments with those that the model was evaluated on.

use model::evaluation::drift::{Measure, Shift};
use poem_openapi::{Object, OpenApi, payload::Json};

use super::{Tag, answers};
use crate::{
    caller::{By, Read},
    context::Context,
    drift::{ENOUGH, Found, HOURS},
    figures::rfc3339,
};

pub(crate) struct DriftRoutes(pub(crate) Context);

/// The last 24 hours' comments, compared with those that the model was evaluated on.
/// Figures only, no texts.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct DriftState {
    /// The version that serves.
    version: String,
    /// The hours that are compared.
    hours: u64,
    /// Comments judged in these hours.
    comments: u64,
    /// Comments of the held-out commenters: the reference of the comparison.
    reference_comments: u64,
    /// Why there are no figures yet.
    reason: Option<String>,
    /// One entry per measure. Empty until there are enough comments.
    measures: Vec<DriftMeasure>,
    /// By hour, oldest first.
    history: Vec<DriftHour>,
}

/// A measure of comments.
#[derive(Debug, Object)]
struct DriftMeasure {
    /// `probability`, `unknown_share` (share of unknown words and other features) or `length` (in characters).
    measure: String,
    /// The bounds between the bins.
    edges: Vec<f64>,
    /// Share of the reference in each bin.
    reference: Vec<f64>,
    /// Share of the last day's comments in each bin.
    seen: Vec<f64>,
    /// Population stability index. Below 0.1: no change. From 0.25 on: check the comments.
    psi: f64,
    /// Probability that chance alone makes a difference this large.
    p_value: f64,
    /// Whether the shift is large enough to be checked.
    drifted: bool,
}

/// The comments of an hour.
#[derive(Debug, Object)]
struct DriftHour {
    /// Start of the hour: RFC 3339, UTC.
    from: String,
    comments: u64,
    /// Population stability index of each measure. None for an hour with few comments.
    psi: DriftPsi,
}

/// Population stability index by measure.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct DriftPsi {
    probability: Option<f64>,
    unknown_share: Option<f64>,
    length: Option<f64>,
}

answers! {
    /// Answers of `GET /drift`.
    DriftAnswer {
        /// The comparison.
        #[oai(status = 200)]
        Ok(Json<DriftState>),
    }
}

#[OpenApi(tag = "Tag::Models")]
impl DriftRoutes {
    /// Compare the last 24 hours' comments with those that the model was evaluated on.
    #[oai(path = "/drift", method = "get")]
    async fn show(&self, _by: By<Read>) -> DriftAnswer {
        let Some(live) = self.0.serving.live() else { return self.0.serving.missing().into() };
        let state = match self.0.drift.found(&live) {
            Some(found) => state(&found),
            None => DriftState {
                version: live.manifest.version.to_string(),
                hours: HOURS,
                comments: 0,
                reference_comments: 0,
                reason: Some(
                    "This version has no reference: too few comments were held out, or an older release \
                              trained it. Train a new version."
                        .to_owned(),
                ),
                measures: Vec::new(),
                history: Vec::new(),
            },
        };
        DriftAnswer::Ok(Json(state))
    }
}

fn state(found: &Found) -> DriftState {
    let comments = found.seen.comments();
    let measure = |measure: Measure| {
        let Shift { psi, p_value } = found.shift(measure)?;
        let (reference, seen) = (found.reference.histogram(measure), found.seen.histogram(measure));
        Some(DriftMeasure {
            measure: measure.name().to_owned(),
            edges: reference.edges().to_vec(),
            reference: reference.shares(),
            seen: seen.shares(),
            psi,
            p_value,
            drifted: Shift { psi, p_value }.is_drift(),
        })
    };
    let history = found.hours.iter().map(|(hour, seen)| {
        let psi = |measure| Some(found.reference.histogram(measure).shift(seen.histogram(measure))?.psi);
        DriftHour {
            from: rfc3339(*hour as i64 * 3_600_000),
            comments: seen.comments(),
            psi: DriftPsi {
                probability: psi(Measure::Probability),
                unknown_share: psi(Measure::UnknownShare),
                length: psi(Measure::Length),
            },
        }
    });
    let reason = || format!("{comments} comments were judged in the last {HOURS} hours; a comparison needs {ENOUGH}.");
    DriftState {
        version: found.version.to_string(),
        hours: HOURS,
        comments,
        reference_comments: found.reference.comments(),
        reason: (comments < ENOUGH).then(reason),
        measures: Measure::ALL.into_iter().filter_map(measure).collect(),
        history: history.collect(),
    }
}
