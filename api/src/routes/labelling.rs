//! `/label`: which comments teach the next model the most.

use std::time::{Duration, Instant};

use model::labelling;
use poem_openapi::{Object, OpenApi, payload::Json};

use super::{Tag, answers};
use crate::{
    blocking::blocking,
    body::Body,
    caller::{By, Review},
    cascade::Purpose,
    context::Context,
    problem::Problem,
};

/// What the encoder has not judged by then is chosen by the fast model.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Labelling(pub(crate) Context);

/// A comment that somebody could label.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct LabelCandidate {
    /// What the caller calls it.
    #[oai(validator(max_length = 200))]
    id: String,
    text: String,
}

/// Comments to choose from.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct LabelRequest {
    /// From 1 to 2000: the most uncertain ones of a larger collection.
    #[oai(validator(min_items = 1, max_items = 2000))]
    comments: Vec<LabelCandidate>,
    /// How many to choose.
    #[oai(validator(minimum(value = "1"), maximum(value = "2000")))]
    take: u32,
}

/// A comment that should be labelled.
#[derive(Debug, Object)]
struct LabelChoice {
    id: String,
    /// The probability that it is a threat.
    probability: f64,
    /// How unsure the model is: 1 at its threshold, towards 0 far from it.
    uncertainty: f64,
}

/// The choice, in the order in which to label.
#[derive(Debug, Object)]
struct LabelChoices {
    chosen: Vec<LabelChoice>,
}

answers! {
    /// Answers of `POST /label`.
    LabelAnswer {
        /// The choice.
        #[oai(status = 200)]
        Ok(Json<LabelChoices>),
    }
}

#[OpenApi(tag = "Tag::Feedback")]
impl Labelling {
    /// Choose the comments whose labels teach the most: those that the model is unsure of, and that differ from each other.
    ///
    /// A choice by the model never sees what the model is wrongly sure of: label some at random, too. Nothing is stored.
    #[oai(path = "/label", method = "post")]
    async fn choose(&self, _by: By<Review>, body: Body<LabelRequest>) -> LabelAnswer {
        let LabelRequest { comments, take } = body.0;
        for (place, comment) in (1..).zip(&comments) {
            if let Err(problem) = self.0.check_text(&comment.text) {
                let detail = format!("The comment at place {place} is wrong: {}", problem.detail);
                return Problem::invalid(detail).into();
            }
        }
        let live = match self.0.model(None).await {
            Ok(live) => live,
            Err(problem) => return problem.into(),
        };
        // Uncounted: this is no traffic, and what is uncertain says nothing of the comments that come.
        let until = Instant::now() + PATIENCE;
        let mut judged = Vec::with_capacity(comments.len());
        for comment in comments {
            let verdict = self.0.encoder.hear(&live, &comment.text, Purpose::Batch { until }).await.verdict;
            judged.push((comment, verdict.probability, verdict.threshold));
            tokio::task::yield_now().await;
        }
        let choosing = blocking(move || {
            let texts: Vec<&str> = judged.iter().map(|(comment, ..)| comment.text.as_str()).collect();
            let unsure: Vec<f64> =
                judged.iter().map(|(_, p, threshold)| labelling::uncertainty(*p, *threshold)).collect();
            let chosen = labelling::different(&texts, &unsure, take as usize);
            let choice = |at: usize| LabelChoice {
                id: judged[at].0.id.clone(),
                probability: judged[at].1,
                uncertainty: unsure[at],
            };
            chosen.into_iter().map(choice).collect()
        });
        LabelAnswer::Ok(Json(LabelChoices { chosen: choosing.await }))
    }
}
