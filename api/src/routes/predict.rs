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
    /// The comment, of at most 20000 characters unless the service is set otherwise.
    text: String,
    /// Say what each word adds.
    #[oai(default)]
    explain: bool,
    /// A registered version that is to judge in place of the one in production.
    version: Option<String>,
}

/// What the model says of the comment.
#[derive(Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct Prediction {
    /// `threat` or `harmless`.
    label: String,
    /// Probability that the comment has a threat: that of its most threatening sentence.
    probability: f64,
    /// At or above this probability the label is `threat`.
    threshold: f64,
    /// What to do: `flag` it, let a person `review` it, or let it `pass`. The decision on its most threatening sentence.
    decision: String,
    /// From this probability on the decision is `review`: in training 5% of the sentences that are no threats reached it, or
    /// fewer.
    review_from: f64,
    /// From this probability on the decision is `flag`: in training four of five sentences from there on were threats, or
    /// more.
    flag_from: f64,
    /// The model that said so.
    model_version: String,
    /// Its place in the history of production; 0 for a version that was asked for by name and is not in production.
    generation: u64,
    /// The trainer that made it.
    trainer: String,
    /// Each sentence, in order.
    sentences: Vec<Sentence>,
    /// Share of the comment's features (words, pairs and what else the model has) that it does not know, from 0 to 1.
    unknown_share: f64,
    /// `encoder` where the encoder judged any of its sentences, else `fast`.
    judged_by: String,
    /// Why the encoder did not judge although it should have: `queue_full` or `deadline`. The verdict is then that of the
    /// fast part, with thresholds of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
}

/// A sentence of the comment.
#[derive(Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
struct Sentence {
    /// First character, in Unicode code points from 0.
    start: u32,
    /// One past the last character.
    end: u32,
    /// Probability that it is a threat.
    probability: f64,
    /// `threat` or `harmless`.
    label: String,
    /// `flag`, `review` or `pass`.
    decision: String,
    /// `fast` or `encoder`.
    judged_by: String,
    /// The fast part's log-odds before context and calibration: `bias` and the tokens' contributions add up to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    logit: Option<f64>,
    /// The log-odds before a word is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    bias: Option<f64>,
    /// What each word adds to the fast part's log-odds, exactly; given when `explain` is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<TokenPart>>,
    /// The encoder's log-odds, where it judged and `explain` is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoder_logit: Option<f64>,
    /// By how much the encoder's log-odds fall when a word is left out: an approximation, which adds up to nothing. Given
    /// with `encoder_logit`, unless the encoder has no time for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoder_tokens: Option<Vec<TokenPart>>,
}

/// What a run of characters without white space adds to a sentence's score.
#[derive(Clone, Copy, Debug, Object, Serialize)]
struct TokenPart {
    /// First character, in Unicode code points of the comment.
    start: u32,
    /// One past the last character.
    end: u32,
    /// Log-odds: above 0 it speaks for a threat, below 0 against.
    contribution: f64,
}

answers! {
    /// Answers of `/predict`.
    Predicted {
        /// The verdict.
        #[oai(status = 200)]
        Ok(
            Written<Prediction>,
            /// The model that said so.
            #[oai(header = "X-Model-Version")] String,
            /// Milliseconds that the model took, as `model;dur=0.123`.
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

    /// Judge a comment given in the address.
    ///
    /// For a quick look. Addresses are logged by proxies: send people's comments with POST.
    #[oai(path = "/predict", method = "get", tag = "Tag::Predict")]
    async fn get(
        &self,
        _by: By<caller::Predict>,
        /// The comment, of at most 20000 characters unless the service is set otherwise.
        text: Query<String>,
        /// Say what each word adds.
        #[oai(default)]
        explain: Query<bool>,
        /// A registered version that is to judge in place of the one in production.
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

/// A verdict as `/predict` gives it.
pub(super) fn prediction(text: &str, judged: Judged, live: &Live, explain: bool) -> Prediction {
    let mut position = Positions::code_points(text);
    let Judged { verdict, by_encoder, occlusions, fallback, .. } = judged;
    let sentences = verdict.sentences.into_iter().map(|sentence| {
        let from = sentence.bytes.start;
        let start = position.of(from);
        let explained =
            explain.then(|| with_scratch(|scratch| live.model.explain(&text[sentence.bytes.clone()], scratch)));
        // Both have the same words: one walk through the text finds the positions of both.
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
