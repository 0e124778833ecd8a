//! Judges one comment, by the fast part and if needed by the encoder.
//!
//! Every route that gives verdicts uses this module.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use encoder::Encoder;
use model::{
    Verdict, Version,
    explanation::{self, Token},
    linear::JudgedBy,
};
use poem::http::StatusCode;

use crate::{
    cascade::{EncoderThreads, Fallback, Purpose},
    context::Context,
    kind::Kind,
    problem::Problem,
    serving::Live,
};

/// Most sentences of one comment for the encoder. The most suspicious ones are kept.
const MOST_PASSED: usize = 32;

/// How to judge a comment.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// Whether to explain what each word adds.
    pub(crate) explain: bool,
    /// Whether the request waits for this comment alone, or for many.
    pub(crate) purpose: Purpose,
}

impl Asked {
    /// For a request that waits for one verdict.
    pub(crate) const ALONE: Self = Self { explain: false, purpose: Purpose::Verdict };
}

/// A judged comment.
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    /// The encoder's log-odds of the sentences that it judged, by each sentence's first byte.
    pub(crate) by_encoder: BTreeMap<usize, f32>,
    /// How much these fall when a word is left out, by the sentence's first byte.
    pub(crate) occlusions: BTreeMap<usize, Vec<Token>>,
    /// Why the encoder did not judge, although it should have.
    pub(crate) fallback: Option<Fallback>,
    /// Time from the text to the verdict, explanations included.
    pub(crate) took: Duration,
}

/// A verdict, and the encoder's scores of the sentences that were passed to it.
pub(crate) struct Heard {
    pub(crate) verdict: Verdict,
    passed: Vec<Range<usize>>,
    scores: Vec<f32>,
    pub(crate) fallback: Option<Fallback>,
}

impl EncoderThreads {
    /// A model's verdict on a text, by its fast part and its encoder. Not counted.
    pub(crate) async fn hear(&self, live: &Live, text: &str, purpose: Purpose) -> Heard {
        let mut reading = live.model.read(text);
        reading.keep_most_suspicious(MOST_PASSED);
        let passed: Vec<Range<usize>> = reading.passed.iter().map(|&i| reading.places[i].clone()).collect();
        let (scores, fallback) = match live.model.cascade() {
            None => (None, None),
            Some((_, encoder)) => {
                let sentences = passed.iter().map(|place| text[place.clone()].to_owned()).collect();
                match self.judge(encoder, sentences, purpose).await {
                    Ok(scores) => (Some(scores), None),
                    Err(fallback) => (None, Some(fallback)),
                }
            }
        };
        let verdict = live.model.conclude(reading, scores.as_deref());
        Heard { verdict, passed, scores: scores.unwrap_or_default(), fallback }
    }
}

impl Context {
    /// Refuses a text that is empty or too long.
    pub(crate) fn check_text(&self, text: &str) -> Result<(), Problem> {
        if text.trim().is_empty() {
            return Err(Problem::invalid("`text` is empty."));
        }
        let most = self.longest_text;
        if text.chars().nth(most).is_some() {
            return Err(Problem::invalid(format!("`text` has more than {most} characters.")));
        }
        Ok(())
    }

    /// Refuses texts if one is empty or too long, and names its position.
    pub(crate) fn check_texts(&self, texts: &[String]) -> Result<(), Problem> {
        for (place, text) in (1..).zip(texts) {
            self.check_text(text).map_err(|problem| {
                Problem::invalid(format!("The text at position {place} is wrong: {}", problem.detail))
            })?;
        }
        Ok(())
    }

    /// The model that judges: the requested version, else the one in production.
    pub(crate) async fn model(&self, version: Option<&str>) -> Result<Arc<Live>, Problem> {
        let live = self.serving.live();
        let Some(version) = version else { return live.ok_or_else(|| self.serving.missing()) };
        let version = version_of(version)?;
        match live {
            Some(live) if live.manifest.version == version => Ok(live),
            // A version in memory needs no store.
            _ => match self.pinned.kept(&version) {
                Some(live) => Ok(live),
                None => self.load_pinned(&version).await,
            },
        }
    }

    async fn load_pinned(&self, version: &Version) -> Result<Arc<Live>, Problem> {
        let _place = self.pinned.waiting.try_acquire().map_err(|_| {
            let detail = "Too many requests wait for a version to be loaded.";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, Kind::TooManyRequests, detail)
        })?;
        self.ask_store(self.pinned.load(version)).await
    }

    /// Judges a text that [`Self::check_text`] accepted.
    pub(crate) async fn judge(&self, live: &Live, text: &str, asked: Asked) -> Judged {
        let started = Instant::now();
        let Heard { verdict, passed, scores, fallback } = self.encoder.hear(live, text, asked.purpose).await;
        self.count(live, text, &verdict, started);
        if live.is_in_production() && fallback.is_none() {
            self.shadow.offer(text, &verdict);
        }
        let occlusions = match live.model.cascade() {
            Some((_, encoder)) if asked.explain && !scores.is_empty() => {
                self.leave_out_words(encoder, text, &passed, &scores).await
            }
            _ => BTreeMap::new(),
        };
        let by_encoder = passed.into_iter().map(|place| place.start).zip(scores).collect();
        Judged { verdict, by_encoder, occlusions, fallback, took: started.elapsed() }
    }

    /// How much scores fall when a word is left out, by the sentence's first byte.
    ///
    /// For the sentences with the highest scores, as far as there is room and time.
    async fn leave_out_words(
        &self,
        encoder: &Arc<Encoder>,
        text: &str,
        judged: &[Range<usize>],
        scores: &[f32],
    ) -> BTreeMap<usize, Vec<Token>> {
        let mut worst: Vec<(&Range<usize>, f32)> = judged.iter().zip(scores.iter().copied()).collect();
        worst.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (mut room, mut without, mut explained) = (self.encoder.room_to_explain(), Vec::new(), Vec::new());
        for (place, score) in worst {
            let sentence = &text[place.clone()];
            let words = explanation::tokens(sentence);
            let Some(left) = room.checked_sub(words.len()) else { continue };
            room = left;
            without.extend(words.iter().map(|word| format!("{}{}", &sentence[..word.start], &sentence[word.end..])));
            explained.push((place.start, score, words));
        }
        let Ok(scores) = self.encoder.explain(encoder, without).await else { return BTreeMap::new() };
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

    /// Counts a verdict.
    ///
    /// For a version requested by name, only the number: the distributions are production's.
    fn count(&self, live: &Live, text: &str, verdict: &Verdict, started: Instant) {
        let metrics = &self.metrics;
        metrics.inference.observe(started.elapsed().as_secs_f64());
        let make = || {
            let version = &live.manifest.version;
            metrics.verdicts_of(if live.is_in_production() { version.as_str() } else { "pinned" })
        };
        live.verdicts.get_or_init(make).count(verdict.is_threat);
        if !live.is_in_production() {
            return;
        }
        metrics.probability.observe(verdict.probability);
        metrics.unknown_share.observe(verdict.unknown_share);
        self.drift.count(live, text, verdict);
        for (judged_by, counter) in JudgedBy::ALL.into_iter().zip(&metrics.sentences_by) {
            let sentences = verdict.sentences.iter().filter(|sentence| sentence.judged_by == judged_by).count();
            counter.inc_by(sentences as u64);
        }
    }
}

/// Parses a version that a caller names.
pub(crate) fn version_of(text: &str) -> Result<Version, Problem> {
    let detail = "The version does not look like 20261123T021009Z-3f9c2a1b.";
    Version::parse(text).map_err(|_| Problem::invalid(detail))
}

/// The name of a verdict in answers and metrics.
pub(crate) fn label(is_threat: bool) -> &'static str {
    if is_threat { "threat" } else { "harmless" }
}

/// Converts ascending byte positions of a text to positions in another unit, in one pass.
pub(crate) struct Positions<'a> {
    text: &'a str,
    unit: fn(&str) -> usize,
    byte: usize,
    place: u32,
}

impl<'a> Positions<'a> {
    /// In Unicode code points.
    pub(crate) fn code_points(text: &'a str) -> Self {
        Self { text, unit: |part| part.chars().count(), byte: 0, place: 0 }
    }

    /// In UTF-16 code units, as in JavaScript.
    pub(crate) fn utf16(text: &'a str) -> Self {
        Self { text, unit: |part| part.encode_utf16().count(), byte: 0, place: 0 }
    }

    /// The position of a byte that is not before the last one.
    pub(crate) fn of(&mut self, byte: usize) -> u32 {
        self.place += (self.unit)(&self.text[self.byte..byte]) as u32;
        self.byte = byte;
        self.place
    }
}
