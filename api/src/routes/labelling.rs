//! `/label`: chooses the comments whose labels are most useful for the next model.

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

/// The encoder's time limit.
/// Comments that it has not judged by then are ranked by the fast part.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Labelling(pub(crate) Context);

/// A comment that could be labelled.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct LabelCandidate {
    /// The caller's id for the comment.
    #[oai(validator(max_length = 200))]
    id: String,
    text: String,
}

/// Comments to choose from.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct LabelRequest {
    /// 1 to 2000 comments. Of a larger collection, send the most uncertain ones.
    #[oai(validator(min_items = 1, max_items = 2000))]
    comments: Vec<LabelCandidate>,
    /// How many to choose.
    #[oai(validator(minimum(value = "1"), maximum(value = "2000")))]
    take: u32,
}

/// A chosen comment.
#[derive(Debug, Object)]
struct LabelChoice {
    id: String,
    /// The probability that it is a threat.
    probability: f64,
    /// How uncertain the model is: 1 at its threshold, towards 0 far from it.
    uncertainty: f64,
}

/// The chosen comments, in the order in which to label them.
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
    /// Choose the comments whose labels are most useful for the next model.
    ///
    /// These are comments that the model is uncertain about and that differ from each other. The choice misses comments
    /// about which the model is certain but wrong, so label some random comments too. Nothing is stored.
    #[oai(path = "/label", method = "post")]
    async fn choose(&self, _by: By<Review>, body: Body<LabelRequest>) -> LabelAnswer {
        let LabelRequest { comments, take } = body.0;
        for (place, comment) in (1..).zip(&comments) {
            if let Err(problem) = self.0.check_text(&comment.text) {
                let detail = format!("The comment at position {place} is wrong: {}", problem.detail);
                return Problem::invalid(detail).into();
            }
        }
        let live = match self.0.model(None).await {
            Ok(live) => live,
            Err(problem) => return problem.into(),
        };
        // Not counted: these comments are not traffic, and uncertain ones would distort drift.
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
