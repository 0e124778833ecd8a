//! `/predict`: one comment in, one verdict out.

use std::time::Instant;

use model::{Verdict, explanation::Token, linear::with_scratch};
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};

use super::{Tag, answers};
use crate::{
    body::Body,
    caller::{self, By},
    context::Context,
    metrics::DecisionLabels,
    problem::Problem,
    serving::Live,
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
}

/// What the model says of the comment.
#[derive(Debug, Object)]
struct Prediction {
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
    /// Its place in the history of production.
    generation: u64,
    /// The trainer that made it.
    trainer: String,
    /// Each sentence, in order.
    sentences: Vec<Sentence>,
    /// Share of the comment's features (words, pairs and what else the model has) that it does not know, from 0 to 1.
    unknown_share: f64,
}

/// A sentence of the comment.
#[derive(Debug, Object)]
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
    /// The score's log-odds before context and calibration: `bias` and the tokens' contributions add up to it.
    logit: Option<f64>,
    /// The log-odds before a word is read.
    bias: Option<f64>,
    /// What each word adds; given when `explain` is asked for.
    tokens: Option<Vec<TokenPart>>,
}

/// What a run of characters without white space adds to a sentence's score.
#[derive(Debug, Object)]
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
            Json<Prediction>,
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
        self.judge(&body.0.text, body.0.explain)
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
    ) -> Predicted {
        self.judge(&text.0, explain.0)
    }
}

impl Predict {
    fn judge(&self, text: &str, explain: bool) -> Predicted {
        if text.trim().is_empty() {
            return Problem::invalid("`text` is empty.").into();
        }
        let most = self.0.longest_text;
        if text.chars().nth(most).is_some() {
            return Problem::invalid(format!("`text` has more than {most} characters.")).into();
        }
        let Some(live) = self.0.serving.live() else { return self.0.serving.missing().into() };
        let started = Instant::now();
        let verdict = live.model.judge(text);
        self.count(&live, &verdict, started);
        let prediction = prediction(text, verdict, &live, explain);
        let timing = format!("model;dur={:.3}", started.elapsed().as_secs_f64() * 1000.0);
        Predicted::Ok(Json(prediction), live.manifest.version.to_string(), timing)
    }

    fn count(&self, live: &Live, verdict: &Verdict, started: Instant) {
        let metrics = &self.0.metrics;
        metrics.inference.observe(started.elapsed().as_secs_f64());
        metrics.probability.observe(verdict.probability);
        metrics.unknown_share.observe(verdict.unknown_share);
        let labels =
            DecisionLabels { decision: label(verdict.is_threat), model_version: live.manifest.version.to_string() };
        metrics.predictions.get_or_create(&labels).inc();
    }
}

fn prediction(text: &str, verdict: Verdict, live: &Live, explain: bool) -> Prediction {
    let mut position = CodePoints { text, byte: 0, chars: 0 };
    let sentences = verdict.sentences.into_iter().map(|sentence| {
        let from = sentence.bytes.start;
        let start = position.of(from);
        let explained =
            explain.then(|| with_scratch(|scratch| live.model.explain(&text[sentence.bytes.clone()], scratch)));
        let tokens = explained.as_ref().map(|explanation| {
            let part = |token: &Token| TokenPart {
                start: position.of(from + token.bytes.start),
                end: position.of(from + token.bytes.end),
                contribution: token.contribution,
            };
            explanation.tokens.iter().map(part).collect()
        });
        Sentence {
            start,
            end: position.of(sentence.bytes.end),
            probability: sentence.probability,
            label: label(sentence.probability >= verdict.threshold).to_owned(),
            decision: verdict.band.decide(sentence.probability).name().to_owned(),
            logit: explained.as_ref().map(|explanation| explanation.score.logit),
            bias: explained.as_ref().map(|explanation| explanation.bias),
            tokens,
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
    }
}

fn label(is_threat: bool) -> &'static str {
    if is_threat { "threat" } else { "harmless" }
}

/// From ascending byte positions to code points, in one pass over the text.
struct CodePoints<'a> {
    text: &'a str,
    byte: usize,
    chars: u32,
}

impl CodePoints<'_> {
    fn of(&mut self, byte: usize) -> u32 {
        self.chars += self.text[self.byte..byte].chars().count() as u32;
        self.byte = byte;
        self.chars
    }
}
