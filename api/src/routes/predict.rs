//! `/predict`: one comment in, one verdict out.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Instant};

use encoder::Encoder;
use model::{
    Verdict,
    explanation::{self, Token},
    linear::{JudgedBy, with_scratch},
};
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};

use super::{Tag, answers};
use crate::{
    body::Body,
    caller::{self, By},
    cascade::Fallback,
    context::Context,
    metrics::{DecisionLabels, JudgeLabels},
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
#[oai(skip_serializing_if_is_none)]
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
    /// `encoder` where the encoder judged any of its sentences, else `fast`.
    judged_by: String,
    /// Why the encoder did not judge although it should have: `queue_full` or `deadline`. The verdict is then that of the
    /// fast part, with thresholds of its own.
    fallback: Option<String>,
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
    /// `fast` or `encoder`.
    judged_by: String,
    /// The fast part's log-odds before context and calibration: `bias` and the tokens' contributions add up to it.
    logit: Option<f64>,
    /// The log-odds before a word is read.
    bias: Option<f64>,
    /// What each word adds to the fast part's log-odds, exactly; given when `explain` is asked for.
    tokens: Option<Vec<TokenPart>>,
    /// The encoder's log-odds, where it judged and `explain` is asked for.
    encoder_logit: Option<f64>,
    /// By how much the encoder's log-odds fall when a word is left out: an approximation, which adds up to nothing. Given
    /// with `encoder_logit`, unless the encoder has no time for it.
    encoder_tokens: Option<Vec<TokenPart>>,
}

/// What a run of characters without white space adds to a sentence's score.
#[derive(Clone, Copy, Debug, Object)]
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
        self.judge(&body.0.text, body.0.explain).await
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
        self.judge(&text.0, explain.0).await
    }
}

impl Predict {
    async fn judge(&self, text: &str, explain: bool) -> Predicted {
        if text.trim().is_empty() {
            return Problem::invalid("`text` is empty.").into();
        }
        let most = self.0.longest_text;
        if text.chars().nth(most).is_some() {
            return Problem::invalid(format!("`text` has more than {most} characters.")).into();
        }
        let Some(live) = self.0.serving.live() else { return self.0.serving.missing().into() };
        let started = Instant::now();
        let mut reading = live.model.read(text);
        reading.keep_most_suspicious(MOST_PASSED);
        let passed: Vec<Range<usize>> = reading.passed.iter().map(|&i| reading.places[i].clone()).collect();
        let (by_encoder, fallback) = match live.model.cascade() {
            None => (None, None),
            Some((_, encoder)) => {
                let sentences = passed.iter().map(|place| text[place.clone()].to_owned()).collect();
                match self.0.encoder.judge(encoder, sentences).await {
                    Ok(scores) => (Some(scores), None),
                    Err(fallback) => (None, Some(fallback)),
                }
            }
        };
        let verdict = live.model.conclude(reading, by_encoder.as_deref());
        self.count(&live, &verdict, started);
        let by_encoder = by_encoder.unwrap_or_default();
        let occlusions = match live.model.cascade() {
            Some((_, encoder)) if explain && !by_encoder.is_empty() => {
                self.leave_out_words(encoder, text, &passed, &by_encoder).await
            }
            _ => BTreeMap::new(),
        };
        let heard = passed.into_iter().map(|place| place.start).zip(by_encoder);
        let heard = Heard { scores: heard.collect(), occlusions, fallback };
        let prediction = prediction(text, verdict, &live, explain, &heard);
        let timing = format!("model;dur={:.3}", started.elapsed().as_secs_f64() * 1000.0);
        Predicted::Ok(Json(prediction), live.manifest.version.to_string(), timing)
    }

    /// By how much the encoder's scores fall when a word is left out, by the sentence's first byte: for the sentences that
    /// it thinks worst of, as far as it has room and time.
    async fn leave_out_words(
        &self,
        encoder: &Arc<Encoder>,
        text: &str,
        judged: &[Range<usize>],
        scores: &[f32],
    ) -> BTreeMap<usize, Vec<Token>> {
        let mut worst: Vec<(&Range<usize>, f32)> = judged.iter().zip(scores.iter().copied()).collect();
        worst.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (mut room, mut without, mut explained) = (self.0.encoder.room_to_explain(), Vec::new(), Vec::new());
        for (place, score) in worst {
            let sentence = &text[place.clone()];
            let words = explanation::tokens(sentence);
            let Some(left) = room.checked_sub(words.len()) else { continue };
            room = left;
            without.extend(words.iter().map(|word| format!("{}{}", &sentence[..word.start], &sentence[word.end..])));
            explained.push((place.start, score, words));
        }
        let Ok(scores) = self.0.encoder.explain(encoder, without).await else { return BTreeMap::new() };
        let mut scores = scores.into_iter();
        let falls = |(start, score, words): (usize, f32, Vec<Range<usize>>)| {
            let token = |(bytes, without): (Range<usize>, f32)| Token {
                bytes,
                contribution: f64::from(score) - f64::from(without),
            };
            (start, words.into_iter().zip(&mut scores).map(token).collect())
        };
        explained.into_iter().map(falls).collect()
    }

    fn count(&self, live: &Live, verdict: &Verdict, started: Instant) {
        let metrics = &self.0.metrics;
        metrics.inference.observe(started.elapsed().as_secs_f64());
        metrics.probability.observe(verdict.probability);
        metrics.unknown_share.observe(verdict.unknown_share);
        let labels =
            DecisionLabels { decision: label(verdict.is_threat), model_version: live.manifest.version.to_string() };
        metrics.predictions.get_or_create(&labels).inc();
        for judged_by in JudgedBy::ALL {
            let sentences = verdict.sentences.iter().filter(|sentence| sentence.judged_by == judged_by).count();
            metrics.sentences.get_or_create(&JudgeLabels { judged_by: judged_by.name() }).inc_by(sentences as u64);
        }
    }
}

/// Sentences of one comment that the encoder is asked about: a long comment must not be a way around it.
const MOST_PASSED: usize = 32;

/// What the encoder said of a comment's sentences, by their first byte.
struct Heard {
    scores: BTreeMap<usize, f32>,
    occlusions: BTreeMap<usize, Vec<Token>>,
    fallback: Option<Fallback>,
}

fn prediction(text: &str, verdict: Verdict, live: &Live, explain: bool, heard: &Heard) -> Prediction {
    let mut position = CodePoints { text, byte: 0, chars: 0 };
    let sentences = verdict.sentences.into_iter().map(|sentence| {
        let from = sentence.bytes.start;
        let start = position.of(from);
        let explained =
            explain.then(|| with_scratch(|scratch| live.model.explain(&text[sentence.bytes.clone()], scratch)));
        // Both have the same words: one walk through the text finds the positions of both.
        let occluded = heard.occlusions.get(&from);
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
            encoder_logit: heard.scores.get(&from).filter(|_| explain).map(|&score| f64::from(score)),
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
        fallback: heard.fallback.map(|fallback| fallback.name().to_owned()),
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
