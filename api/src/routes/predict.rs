//! `/predict`: one comment in, one verdict out.

use model::{explanation::Token, linear::with_scratch};
use poem_openapi::{Object, OpenApi, param::Query};
use serde::Serialize;

use super::{Tag, answers};
use crate::{
    body::Body,
    caller::{self, By},
    context::Context,
    judging::{Asked, Judged, Positions, label},
    serving::Live,
    written::Written,
};

pub(crate) struct Predict(pub(crate) Context);

/// A comment to judge.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct PredictRequest {
    /// The comment. At most 20000 characters by default.
    text: String,
    /// Explain what each word adds.
    #[oai(default)]
    explain: bool,
    /// A registered version to judge with, instead of the one in production.
    version: Option<String>,
}

/// The verdict on a comment.
#[derive(Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct Prediction {
    /// `threat` or `harmless`.
    label: String,
    /// Probability that the comment contains a threat: the highest probability of its sentences.
    probability: f64,
    /// The label is `threat` at or above this probability.
    threshold: f64,
    /// `flag`, `review` or `pass`: the decision on the sentence with the highest probability.
    /// A person should look at comments with `flag` and `review`.
    decision: String,
    /// The decision is `review` from this probability on.
    /// In training, at most 5% of the harmless sentences reached it.
    review_from: f64,
    /// The decision is `flag` from this probability on.
    /// In training, at least 80% of the sentences from here on were threats.
    flag_from: f64,
    /// The version that judged.
    model_version: String,
    /// Its position in the history of production.
    /// 0 for a version that was requested by name and is not in production.
    generation: u64,
    /// The trainer that made the version.
    trainer: String,
    /// Each sentence, in order.
    sentences: Vec<Sentence>,
    /// Share of the comment's features that the model does not know, from 0 to 1.
    /// Features are words, word pairs and others.
    unknown_share: f64,
    /// `encoder` if the encoder judged at least one sentence, else `fast`.
    judged_by: String,
    /// Why the encoder did not judge, although it should have: `queue_full` or `deadline`.
    /// The verdict is then the fast part's, with the fast part's thresholds.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
}

/// A sentence of the comment.
#[derive(Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
struct Sentence {
    /// Start, in Unicode code points from 0.
    start: u32,
    /// End (exclusive), in Unicode code points.
    end: u32,
    /// Probability that it is a threat.
    probability: f64,
    /// `threat` or `harmless`.
    label: String,
    /// `flag`, `review` or `pass`.
    decision: String,
    /// `fast` or `encoder`.
    judged_by: String,
    /// The fast part's log-odds before context and calibration.
    /// `bias` plus the contributions of `tokens` equals it.
    #[serde(skip_serializing_if = "Option::is_none")]
    logit: Option<f64>,
    /// The fast part's log-odds without any word.
    #[serde(skip_serializing_if = "Option::is_none")]
    bias: Option<f64>,
    /// What each word adds to the fast part's log-odds, exactly. Only with `explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<TokenPart>>,
    /// The encoder's log-odds. Only with `explain`, and if the encoder judged the sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoder_logit: Option<f64>,
    /// How much the encoder's log-odds fall when a word is left out.
    /// An approximation: these values do not add up to `encoder_logit`. Given with `encoder_logit`, unless the encoder
    /// has no time for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoder_tokens: Option<Vec<TokenPart>>,
}

/// What a word (characters without white space) adds to a sentence's score.
#[derive(Clone, Copy, Debug, Object, Serialize)]
struct TokenPart {
    /// Start, in Unicode code points of the comment.
    start: u32,
    /// End (exclusive), in Unicode code points of the comment.
    end: u32,
    /// In log-odds: above 0 for a threat, below 0 against.
    contribution: f64,
}

answers! {
    /// Answers of `/predict`.
    Predicted {
        /// The verdict.
        #[oai(status = 200)]
        Ok(
            Written<Prediction>,
            /// The version that judged.
            #[oai(header = "X-Model-Version")] String,
            /// Milliseconds that the model took, e.g. `model;dur=0.123`.
            #[oai(header = "Server-Timing")] String,
        ),
    }
}

#[OpenApi]
impl Predict {
    /// Judge a comment.
    #[oai(path = "/predict", method = "post", tag = "Tag::Predict")]
    async fn post(&self, _by: By<caller::Predict>, body: Body<PredictRequest>) -> Predicted {
        let PredictRequest { text, explain, version } = body.0;
        self.judge(&text, explain, version.as_deref()).await
    }

    /// Judge a comment given in the URL.
    ///
    /// For a quick test only. Proxies log URLs, so send real comments with POST.
    #[oai(path = "/predict", method = "get", tag = "Tag::Predict")]
    async fn get(
        &self,
        _by: By<caller::Predict>,
        /// The comment. At most 20000 characters by default.
        text: Query<String>,
        /// Explain what each word adds.
        #[oai(default)]
        explain: Query<bool>,
        /// A registered version to judge with, instead of the one in production.
        version: Query<Option<String>>,
    ) -> Predicted {
        self.judge(&text.0, explain.0, version.0.as_deref()).await
    }
}

impl Predict {
    async fn judge(&self, text: &str, explain: bool, version: Option<&str>) -> Predicted {
        let context = &self.0;
        let live = match context.check_text(text) {
            Ok(()) => context.model(version).await,
            Err(problem) => Err(problem),
        };
        let live = match live {
            Ok(live) => live,
            Err(problem) => return problem.into(),
        };
        let judged = context.judge(&live, text, Asked { explain, ..Asked::ALONE }).await;
        let timing = format!("model;dur={:.3}", judged.took.as_secs_f64() * 1000.0);
        Predicted::Ok(Written(prediction(text, judged, &live, explain)), live.manifest.version.to_string(), timing)
    }
}

/// The answer of `/predict`.
pub(super) fn prediction(text: &str, judged: Judged, live: &Live, explain: bool) -> Prediction {
    let mut position = Positions::code_points(text);
    let Judged { verdict, by_encoder, occlusions, fallback, .. } = judged;
    let sentences = verdict.sentences.into_iter().map(|sentence| {
        let from = sentence.bytes.start;
        let start = position.of(from);
        let explained =
            explain.then(|| with_scratch(|scratch| live.model.explain(&text[sentence.bytes.clone()], scratch)));
        // Both explanations have the same words, so one pass over the text finds the positions of both.
        let occluded = occlusions.get(&from);
        let parts = explained.as_ref().map(|explanation| {
            let place = |token: &Token| {
                let (start, end) = (position.of(from + token.bytes.start), position.of(from + token.bytes.end));
                TokenPart { start, end, contribution: token.contribution }
            };
            explanation.tokens.iter().map(place).collect::<Vec<TokenPart>>()
        });
        let encoder_tokens = parts.as_ref().zip(occluded).map(|(parts, occluded)| {
            let part = |(part, word): (&TokenPart, &Token)| TokenPart { contribution: word.contribution, ..*part };
            parts.iter().zip(occluded).map(part).collect()
        });
        Sentence {
            start,
            end: position.of(sentence.bytes.end),
            probability: sentence.probability,
            label: label(sentence.probability >= verdict.threshold).to_owned(),
            decision: verdict.band.decide(sentence.probability).name().to_owned(),
            judged_by: sentence.judged_by.name().to_owned(),
            logit: explained.as_ref().map(|explanation| explanation.score.logit),
            bias: explained.as_ref().map(|explanation| explanation.bias),
            tokens: parts,
            encoder_logit: by_encoder.get(&from).filter(|_| explain).map(|&score| f64::from(score)),
            encoder_tokens,
        }
    });
    Prediction {
        label: label(verdict.is_threat).to_owned(),
        probability: verdict.probability,
        threshold: verdict.threshold,
        decision: verdict.band.decide(verdict.probability).name().to_owned(),
        review_from: verdict.band.review_from,
        flag_from: verdict.band.flag_from,
        model_version: live.manifest.version.to_string(),
        generation: live.generation.0,
        trainer: live.manifest.trainer.clone(),
        sentences: sentences.collect(),
        unknown_share: verdict.unknown_share,
        judged_by: verdict.judged_by.name().to_owned(),
        fallback: fallback.map(|fallback| fallback.name().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ToJSON;

    use super::*;

    fn every_field(is_given: bool) -> Prediction {
        let part = TokenPart { start: 0, end: 4, contribution: -0.1 };
        let sentence = Sentence {
            start: 0,
            end: 9,
            probability: 1e-9,
            label: "harmless".to_owned(),
            decision: "pass".to_owned(),
            judged_by: "fast".to_owned(),
            logit: is_given.then_some(0.1 + 0.2),
            bias: is_given.then_some(-3.0),
            tokens: is_given.then(|| vec![part]),
            encoder_logit: is_given.then_some(f64::from(0.1_f32)),
            encoder_tokens: is_given.then(|| vec![part, part]),
        };
        Prediction {
            label: "harmless".to_owned(),
            probability: 0.279_638_299_729_031_5,
            threshold: 1.0,
            decision: "pass".to_owned(),
            review_from: 0.0,
            flag_from: 1e-12,
            model_version: "\u{1F600}\"\n".to_owned(),
            generation: u64::MAX,
            trainer: "stacked".to_owned(),
            sentences: vec![sentence],
            unknown_share: 0.5,
            judged_by: "fast".to_owned(),
            fallback: is_given.then(|| "deadline".to_owned()),
        }
    }

    #[test]
    fn what_is_written_is_what_the_schema_says() {
        for is_given in [true, false] {
            let answer = every_field(is_given);
            assert_eq!(Some(serde_json::to_value(&answer).unwrap()), answer.to_json());
        }
    }
}
