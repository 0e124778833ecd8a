//! Builds datasets from another dataset and from reviewers' decisions.
//!
//! - Rows of held-out commenters stay as they are, so that models before and after are judged by the same sentences. A
//!   reviewed sentence that nearly repeats one of them is left out.
//! - A sentence of the other commenters gets the reviewer's label, if that is another one.
//! - Every other reviewed sentence is added, under a commenter of its own that is never held out.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Digest, Row,
    corpus::{
        THREAT,
        near::{Near, plain},
        split::{FEEDBACK, is_held_out},
    },
    protocol::Resolve,
    text,
};
use serde::{Deserialize, Serialize};

use super::{
    DatasetManifest,
    builder::Builder,
    shard::{SHARD_ROWS, ShardText},
};
use crate::{Error, FeedbackId, FeedbackItem, FeedbackList, Key, Label, Registry, blocking};

/// Which decisions go into a dataset, and how.
///
/// ```
/// use std::sync::Arc;
///
/// use model::protocol::Resolve;
/// use registry::{Choice, Feedback, Label, MemoryStore, Registry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new(Arc::new(MemoryStore::default()));
/// let base = registry.put_dataset("sample.txt", model::SAMPLE_CORPUS).await?;
/// let decision = Feedback {
///     text: "I am going to burn your barn down tonight.".to_owned(),
///     label: Label::Threat,
///     sentences: [0].into(),
///     reviewer: "anna".parse()?,
///     note: None,
///     model: None,
///     request_id: None,
/// };
/// registry.put_feedback(decision).await?;
///
/// let choice = Choice { since: None, resolve: Resolve::Majority, seed: 42 };
/// let built = registry.build_dataset(&base.digest, &choice).await?;
/// assert_eq!((built.added, built.threats, built.corrected), (1, 1, 0));
/// assert_eq!(built.dataset.sentences, base.sentences + 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Only decisions from this moment on: milliseconds since 1970, UTC.
    pub since: Option<i64>,
    /// Which label counts if reviewers differ.
    pub resolve: Resolve,
    /// The seed, which decides the held-out commenters, as in training.
    pub seed: u64,
}

/// What became of a reviewed comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Its sentences were added to the dataset.
    Added,
    /// A sentence of the base has the reviewer's label now.
    Corrected,
    /// The base has the same sentence with the same label already.
    Known,
    /// It nearly repeats a held-out sentence.
    NearHeldOut,
    /// Reviewers differ about it.
    Disputed,
    /// It is a threat, but nobody named the sentences that are.
    NoSentence,
}

impl Fate {
    /// The name, as reports have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Corrected => "corrected",
            Self::Known => "known",
            Self::NearHeldOut => "near_held_out",
            Self::Disputed => "disputed",
            Self::NoSentence => "no_sentence",
        }
    }
}

/// What a dataset was built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The dataset that it was built on.
    pub base: Digest,
    /// Which decisions were used, and how.
    pub choice: Choice,
    /// The reviewers.
    pub reviewers: BTreeSet<String>,
    /// For each decision its revision and the fate of its comment.
    pub items: BTreeMap<FeedbackId, (u32, Fate)>,
}

/// The result of building a dataset.
#[derive(Clone, Debug)]
pub struct Built {
    /// The dataset; the base itself if no decision changes it.
    pub dataset: DatasetManifest,
    /// What it was built from.
    pub provenance: Provenance,
    /// Number of comments by fate.
    pub fates: BTreeMap<Fate, u64>,
    /// Number of sentences that the base does not have.
    pub added: u64,
    /// Number of threats among them.
    pub threats: u64,
    /// Number of rows of the base that have another label now.
    pub corrected: u64,
}

/// A reviewed comment: its decisions and its sentences with their labels.
struct Reviewed {
    items: Vec<(FeedbackId, u32)>,
    /// What its reviewers say together: whether it is a threat.
    is_threat: bool,
    /// Why it cannot be used, if it cannot.
    refused: Option<Fate>,
    sentences: Vec<Sentence>,
}

struct Sentence {
    text: String,
    is_threat: bool,
    fate: Fate,
}

/// The reviewed comments, while they are merged with the rows of the base.
#[derive(Default)]
struct Merge {
    seed: u64,
    comments: Vec<Reviewed>,
    near: Near,
    /// Comment and sentence, by number in `near`.
    places: Vec<(usize, usize)>,
    /// The same, by the sentence's [`plain`] text.
    by_text: BTreeMap<String, Vec<(usize, usize)>>,
    /// Comments of several sentences by their [`plain`] text: some bases have whole comments as rows.
    whole: BTreeMap<String, usize>,
    /// Rows of the base that equal a reviewed sentence: number and sentence.
    equal: Vec<(u64, (usize, usize))>,
    /// Rows that equal a whole comment: number and comment.
    equal_wholes: Vec<(u64, usize)>,
    row: u64,
    last_comment: Option<u32>,
}

impl Merge {
    fn new(feedback: &FeedbackList, choice: &Choice) -> Self {
        let mut by_comment: BTreeMap<&str, Vec<&FeedbackItem>> = BTreeMap::new();
        for (id, item) in feedback.iter().filter(|(_, item)| choice.since.is_none_or(|since| item.at >= since)) {
            by_comment.entry(id.comment()).or_default().push(item);
        }
        let mut this = Self { seed: choice.seed, ..Self::default() };
        for (at, items) in by_comment.into_values().enumerate() {
            let comment = resolved(&items, choice.resolve);
            let text = &items[0].feedback.text;
            if comment.refused.is_none() && text::sentences(text).len() > 1 {
                this.whole.insert(plain(text), at);
            }
            this.comments.push(comment);
        }
        this.settle_among_themselves();
        for (at, comment) in this.comments.iter().enumerate() {
            for (number, sentence) in comment.sentences.iter().enumerate() {
                this.places.push((at, number));
                this.by_text.entry(plain(&sentence.text)).or_default().push((at, number));
            }
        }
        let of = |&(at, number): &(usize, usize)| this.comments[at].sentences[number].text.as_str();
        this.near = Near::new(this.places.iter().map(of));
        this
    }

    /// A sentence of two comments is used once.
    ///
    /// If its labels differ, it is not used.
    fn settle_among_themselves(&mut self) {
        let mut labels: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
        for sentence in self.comments.iter().flat_map(|comment| &comment.sentences) {
            labels.entry(plain(&sentence.text)).or_default().insert(sentence.is_threat);
        }
        let mut seen = BTreeSet::new();
        for sentence in self.comments.iter_mut().flat_map(|comment| &mut comment.sentences) {
            let text = plain(&sentence.text);
            if labels[&text].len() > 1 {
                sentence.fate = Fate::Disputed;
            } else if !seen.insert(text) {
                sentence.fate = Fate::Known;
            }
        }
    }

    /// Compares a row of the base with the reviewed sentences.
    fn see(&mut self, row: &Row) {
        if is_held_out(self.seed, &row.commenter) {
            // A row may have several sentences, and reviewed comments are learnt by sentence.
            let parts = text::sentences(&row.text).into_iter().map(|place| &row.text[place]);
            for number in parts.chain([row.text.as_str()]).flat_map(|part| self.near.find(part)) {
                let (at, number) = self.places[number as usize];
                self.comments[at].sentences[number].fate = Fate::NearHeldOut;
            }
        } else {
            let text = plain(&row.text);
            let places = self.by_text.get(&text).into_iter().flatten();
            self.equal.extend(places.map(|&place| (self.row, place)));
            self.equal_wholes.extend(self.whole.get(&text).map(|&at| (self.row, at)));
        }
        self.row += 1;
        self.last_comment = self.last_comment.max(Some(row.comment));
    }

    /// The new labels of the base, by row: whether it is a threat.
    fn corrections(&mut self, base: &BTreeMap<u64, bool>) -> BTreeMap<u64, bool> {
        let mut corrections = BTreeMap::new();
        for &(row, (at, number)) in &self.equal {
            let sentence = &mut self.comments[at].sentences[number];
            if matches!(sentence.fate, Fate::Added | Fate::Corrected | Fate::Known) {
                let is_same = base[&row] == sentence.is_threat;
                if !is_same {
                    corrections.insert(row, sentence.is_threat);
                    sentence.fate = Fate::Corrected;
                } else if sentence.fate == Fate::Added {
                    sentence.fate = Fate::Known;
                }
            }
        }
        for &(row, at) in &self.equal_wholes {
            let comment = &mut self.comments[at];
            if comment.sentences.iter().any(|sentence| matches!(sentence.fate, Fate::NearHeldOut | Fate::Disputed)) {
                continue;
            }
            let is_same = base[&row] == comment.is_threat;
            if !is_same {
                corrections.insert(row, comment.is_threat);
            }
            for sentence in &mut comment.sentences {
                sentence.fate = if is_same { Fate::Known } else { Fate::Corrected };
            }
        }
        corrections
    }

    /// The rows to add. Their comment numbers follow those of the base.
    fn added(&self) -> Vec<Row> {
        let mut next = self.last_comment.map_or(0, |last| last.saturating_add(1));
        let mut rows = Vec::new();
        for comment in &self.comments {
            let Some((id, _)) = comment.items.first() else { continue };
            let added = comment.sentences.iter().filter(|sentence| sentence.fate == Fate::Added);
            let row = |sentence: &Sentence| Row {
                comment: next,
                commenter: format!("{FEEDBACK}{}", id.comment()),
                label: if sentence.is_threat { THREAT } else { 0 },
                text: sentence.text.clone(),
            };
            let before = rows.len();
            rows.extend(added.map(row));
            next = next.saturating_add(u32::from(rows.len() > before));
        }
        rows
    }

    fn fates(&self) -> impl Iterator<Item = (&Reviewed, Fate)> {
        self.comments.iter().map(|comment| {
            let of_sentences = comment.sentences.iter().map(|sentence| sentence.fate).min();
            (comment, comment.refused.or(of_sentences).unwrap_or(Fate::NoSentence))
        })
    }
}

/// What the reviewers of one comment say together.
fn resolved(items: &[&FeedbackItem], resolve: Resolve) -> Reviewed {
    let ids = items.iter().map(|item| (item.id.clone(), item.revision)).collect();
    let says = |label| items.iter().filter(|item| item.feedback.label == label).count();
    let (threats, harmless) = (says(Label::Threat), says(Label::Harmless));
    let label = match resolve {
        Resolve::Majority if threats == harmless => None,
        Resolve::Majority => Some(Label::from(threats > harmless)),
        Resolve::Latest => latest(items).map(|item| item.feedback.label),
        Resolve::Drop if threats > 0 && harmless > 0 => None,
        Resolve::Drop => Some(Label::from(threats > 0)),
    };
    let Some((label, text)) = label.zip(items.first().map(|item| item.feedback.text.as_str())) else {
        return Reviewed { items: ids, is_threat: false, refused: Some(Fate::Disputed), sentences: Vec::new() };
    };
    let places = text::sentences(text);
    let sentence = |number: usize, is_threat| Sentence {
        text: text[places[number].clone()].to_owned(),
        is_threat,
        fate: Fate::Added,
    };
    let sentences: Vec<Sentence> = match label {
        Label::Harmless => (0..places.len()).map(|number| sentence(number, false)).collect(),
        Label::Threat if places.len() == 1 => vec![sentence(0, true)],
        // The sentences that a reviewer named count, else those that the model in production found. The others are
        // learnt as harmless: a model that learns threats without the sentences around them takes every single sentence
        // for a threat.
        Label::Threat => {
            let mut who = if resolve == Resolve::Latest { latest(items).into_iter().collect() } else { items.to_vec() };
            let names =
                |item: &&FeedbackItem| item.feedback.label == Label::Threat && !item.feedback.sentences.is_empty();
            if who.iter().any(names) {
                who.retain(names);
            }
            let named: BTreeSet<usize> =
                who.iter().flat_map(|item| item.feedback.threats()).map(|number| number as usize).collect();
            if named.range(..places.len()).next().is_none() {
                Vec::new()
            } else {
                (0..places.len()).map(|number| sentence(number, named.contains(&number))).collect()
            }
        }
    };
    let refused = sentences.is_empty().then_some(Fate::NoSentence);
    Reviewed { items: ids, is_threat: label == Label::Threat, refused, sentences }
}

fn latest<'a>(items: &[&'a FeedbackItem]) -> Option<&'a FeedbackItem> {
    items.iter().copied().max_by_key(|item| (item.at, &item.id))
}

impl Registry {
    /// Builds a dataset from `base` and from reviewers' decisions.
    ///
    /// The same input makes the same dataset. A few shards of the base are in memory at a time. They are read three
    /// times, because the dataset's name is known only at the end.
    pub async fn build_dataset(&self, base: &Digest, choice: &Choice) -> Result<Built, Error> {
        let base = self.claim_dataset(base).await?;
        let feedback = self.feedback().await?;
        let merge = {
            let (feedback, choice) = (feedback, choice.clone());
            blocking(move || Merge::new(&feedback, &choice)).await?
        };
        let see = |(merge, labels): &mut (Merge, BTreeMap<u64, bool>), rows: Vec<Row>| {
            for row in &rows {
                let before = (merge.equal.len(), merge.equal_wholes.len());
                merge.see(row);
                if (merge.equal.len(), merge.equal_wholes.len()) != before {
                    labels.insert(merge.row - 1, row.is_threat());
                }
            }
        };
        let shards = 0..base.shards.len();
        let (mut merge, labels) = self.fold_rows(&base, shards, (merge, BTreeMap::new()), see).await?;
        let corrections = merge.corrections(&labels);
        let added = merge.added();
        let mut fates: BTreeMap<Fate, u64> = BTreeMap::new();
        let mut provenance = Provenance {
            base: base.digest.clone(),
            choice: choice.clone(),
            reviewers: BTreeSet::new(),
            items: BTreeMap::new(),
        };
        for (comment, fate) in merge.fates() {
            *fates.entry(fate).or_default() += 1;
            for (id, revision) in &comment.items {
                provenance.reviewers.insert(id.reviewer().to_owned());
                provenance.items.insert(id.clone(), (*revision, fate));
            }
        }
        let (threats, corrected) =
            (added.iter().filter(|row| row.is_threat()).count() as u64, corrections.len() as u64);
        let sentences = added.len() as u64;
        let dataset = if added.is_empty() && corrections.is_empty() {
            base
        } else {
            self.put_built(&base, corrections, added, &provenance).await?
        };
        Ok(Built { dataset, provenance, fates, added: sentences, threats, corrected })
    }

    /// Writes the rows of the base, some with new labels, and then the added rows.
    async fn put_built(
        &self,
        base: &DatasetManifest,
        corrections: BTreeMap<u64, bool>,
        added: Vec<Row>,
        provenance: &Provenance,
    ) -> Result<DatasetManifest, Error> {
        let first = Writing { builder: Builder::default(), corrections, row: 0, texts: Vec::new() };
        let end = |mut writing: Writing| {
            for row in &added {
                writing.add(row);
            }
            writing.cut();
            writing
        };
        // The rows are read once for the name and once for the shards.
        let take = |writing: &mut Writing, rows: Vec<Row>| {
            writing.take_all(rows);
            writing.texts.clear();
        };
        let corrections = first.corrections.clone();
        let surveyed = end(self.fold_rows(base, 0..base.shards.len(), first, take).await?);
        let (manifest, tally) = surveyed.builder.finish(base.source.clone());
        tally.require_trainable()?;
        let manifest = DatasetManifest { built_on: Some(base.digest.clone()), ..manifest };
        match self.claim_dataset(&manifest.digest).await {
            Err(Error::NotFound { .. }) => {}
            known => return known,
        }
        let mut writing = Writing { builder: Builder::default(), corrections, row: 0, texts: Vec::new() };
        let mut number = 0;
        for shard in 0..base.shards.len() {
            writing = self.fold_rows(base, shard..shard + 1, writing, Writing::take_all).await?;
            number = self.put_texts(&manifest.digest, number, &mut writing).await?;
        }
        let mut writing = end(writing);
        self.put_texts(&manifest.digest, number, &mut writing).await?;
        self.create_json(Key::Provenance(&manifest.digest), provenance).await?;
        self.create_json(Key::Dataset(&manifest.digest), &manifest).await?;
        self.dataset(&manifest.digest).await
    }

    async fn put_texts(&self, dataset: &Digest, mut number: u32, writing: &mut Writing) -> Result<u32, Error> {
        for text in writing.texts.drain(..) {
            self.put_shard(dataset, number, text).await?;
            number += 1;
        }
        Ok(number)
    }

    /// What a dataset was built from; `None` if it was imported.
    pub async fn provenance(&self, dataset: &Digest) -> Result<Option<Provenance>, Error> {
        Ok(self.read_json(Key::Provenance(dataset)).await?.map(|(provenance, _)| provenance))
    }
}

/// Rows that are being written into shards.
struct Writing {
    builder: Builder,
    corrections: BTreeMap<u64, bool>,
    row: u64,
    texts: Vec<ShardText>,
}

impl Writing {
    /// Adds rows of the base, in order, with their new labels.
    fn take_all(&mut self, rows: Vec<Row>) {
        for mut row in rows {
            if let Some(&is_threat) = self.corrections.get(&self.row) {
                row.label = if is_threat { THREAT } else { 0 };
            }
            self.row += 1;
            self.add(&row);
        }
    }

    fn add(&mut self, row: &Row) {
        self.builder.add(row);
        if self.builder.rows == SHARD_ROWS as u64 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.texts.extend(self.builder.cut());
    }
}
