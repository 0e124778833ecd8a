//! Reviewers' decisions about comments. Each decision is an object of its own, written once.
//!
//! A decision belongs to a comment and a reviewer, so reviewers may differ and none overwrites another. A new decision
//! by the same reviewer is the next revision, and the last revision counts. A comment is stored only if a reviewer
//! sends it on purpose, and it can be deleted for good.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use model::{Digest, Version};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Created, Error, Key, KeyName, REQUESTS_AT_ONCE, Registry, StoreError, now_millis};

/// Hex digits of a comment's digest that name it: 128 bits.
const COMMENT: usize = 32;
/// Attempts to get a revision number.
///
/// Other writers may take some: the same reviewer decides about the same comment at the same moment.
const TRIES: u32 = 20;

/// Whether a comment is a threat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// It threatens somebody with violence, or supports violence.
    Threat,
    /// It does not.
    Harmless,
}

impl Label {
    /// The label's name: `threat` or `harmless`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Threat => "threat",
            Self::Harmless => "harmless",
        }
    }
}

impl From<bool> for Label {
    fn from(is_threat: bool) -> Self {
        if is_threat { Self::Threat } else { Self::Harmless }
    }
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Threat, Self::Harmless].into_iter().find(|label| label.name() == text);
        found.ok_or_else(|| "a label is `threat` or `harmless`".to_owned())
    }
}

/// What a reviewer decides about a comment.
///
/// ```
/// use std::sync::Arc;
///
/// use registry::{Feedback, Label, MemoryStore, Registry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new(Arc::new(MemoryStore::default()));
/// let decision = Feedback {
///     text: "Nice barn you have. I will burn it down.".to_owned(),
///     label: Label::Threat,
///     sentences: [1].into(),
///     reviewer: "anna".parse()?,
///     note: None,
///     model: None,
///     request_id: None,
/// };
/// let (item, is_new) = registry.put_feedback(decision.clone()).await?;
/// assert!(is_new && item.revision == 1);
/// // The same decision again changes nothing.
/// assert!(!registry.put_feedback(decision.clone()).await?.1);
///
/// // Another decision by the same reviewer is the next revision, and it counts.
/// let changed = Feedback { label: Label::Harmless, sentences: [].into(), ..decision };
/// assert_eq!(registry.put_feedback(changed).await?.0.revision, 2);
/// assert_eq!(registry.feedback().await?[&item.id].feedback.label, Label::Harmless);
///
/// assert!(registry.delete_feedback(&item.id).await?);
/// assert!(registry.feedback().await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// The comment.
    pub text: String,
    /// The reviewer's label.
    pub label: Label,
    /// The numbers of the threatening sentences, from 0; empty if the reviewer named none.
    ///
    /// Old decisions have one number at most, under the name `sentence`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", alias = "sentence", deserialize_with = "one_or_many")]
    pub sentences: BTreeSet<u32>,
    /// The reviewer: the name of the API key.
    pub reviewer: KeyName,
    /// The reviewer's note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What the model in production said about the comment at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Said>,
    /// The id of the request that judged the comment before, if the reviewer sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Feedback {
    /// The sentences that training learns as threats, from 0; none if the comment is harmless.
    ///
    /// These are the sentences that the reviewer named, else those that the model in production found.
    #[must_use]
    pub fn threats(&self) -> BTreeSet<u32> {
        match (self.label, &self.model) {
            (Label::Harmless, _) => BTreeSet::new(),
            (Label::Threat, Some(said)) if self.sentences.is_empty() => said.sentences.clone(),
            (Label::Threat, _) => self.sentences.clone(),
        }
    }

    /// Whether both decisions say the same about one comment.
    fn says(&self, other: &Self) -> bool {
        (self.label, &self.sentences, &self.note) == (other.label, &other.sentences, &other.note)
    }
}

/// What a model said about a comment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// The model.
    pub version: Version,
    /// The probability that the comment is a threat.
    pub probability: f64,
    /// The model's verdict.
    pub label: Label,
    /// The sentences that reach the model's threshold, else the most threatening one; numbers from 0.
    ///
    /// Old decisions have one number, under the name `sentence`.
    #[serde(alias = "sentence", deserialize_with = "one_or_many")]
    pub sentences: BTreeSet<u32>,
}

/// A list of numbers, or a single number as old decisions have it.
fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(u32),
        Many(BTreeSet<u32>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(number) => BTreeSet::from([number]),
        OneOrMany::Many(numbers) => numbers,
    })
}

/// The id of a decision: 32 hex digits of the comment's SHA-256, `-`, the reviewer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FeedbackId {
    comment: String,
    reviewer: KeyName,
}

impl FeedbackId {
    /// The id for a comment and a reviewer.
    #[must_use]
    pub fn new(text: &str, reviewer: &KeyName) -> Self {
        let comment = Digest::of(text.as_bytes()).as_str()[..COMMENT].to_owned();
        Self { comment, reviewer: reviewer.clone() }
    }

    /// The comment's part of the id: the same for all reviewers.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// The reviewer.
    #[must_use]
    pub fn reviewer(&self) -> &str {
        self.reviewer.as_str()
    }

    fn path(&self, revision: u32) -> String {
        Key::Feedback(&self.comment, self.reviewer.as_str(), revision).path()
    }

    fn of(comment: &str, reviewer: &str) -> Option<Self> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_comment = comment.len() == COMMENT && comment.bytes().all(is_hex);
        Some(Self { comment: comment.to_owned(), reviewer: reviewer.parse().ok().filter(|_| is_comment)? })
    }
}

impl FromStr for FeedbackId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = text.split_once('-').and_then(|(comment, reviewer)| Self::of(comment, reviewer));
        found.ok_or_else(|| format!("a feedback id is {COMMENT} hex digits, `-` and a reviewer's name"))
    }
}

impl TryFrom<String> for FeedbackId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<FeedbackId> for String {
    fn from(id: FeedbackId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for FeedbackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.comment, self.reviewer)
    }
}

/// A stored decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedbackItem {
    /// Its id.
    pub id: FeedbackId,
    /// From 1; one more each time that the reviewer changes the decision.
    pub revision: u32,
    /// When: milliseconds since 1970, UTC.
    pub at: i64,
    /// The decision.
    #[serde(flatten)]
    pub feedback: Feedback,
}

/// The last revision of every decision, by id.
pub type FeedbackList = BTreeMap<FeedbackId, Arc<FeedbackItem>>;

impl Registry {
    /// Stores a decision and returns it, and whether it is new.
    ///
    /// Storing the same again changes nothing.
    pub async fn put_feedback(&self, feedback: Feedback) -> Result<(FeedbackItem, bool), Error> {
        let id = FeedbackId::new(&feedback.text, &feedback.reviewer);
        let Revisions { last: mut revision, deleted, .. } = self.revisions(&id).await?;
        let mut item = FeedbackItem { id, revision, at: now_millis(), feedback };
        for tried in 0..TRIES {
            let key = |revision| Key::Feedback(&item.id.comment, item.id.reviewer.as_str(), revision);
            if revision > deleted
                && let Some((there, _)) = self.read_json::<FeedbackItem>(key(revision)).await?
                && there.feedback.says(&item.feedback)
            {
                // It is ours if the reply of an earlier try was lost.
                let is_new = tried > 0 && there == item;
                return Ok((there, is_new));
            }
            revision += 1;
            item.revision = revision;
            let key = Key::Feedback(&item.id.comment, item.id.reviewer.as_str(), revision);
            if matches!(self.create_json(key, &item).await?, Created::New) {
                return Ok((item, true));
            }
        }
        let reason = format!("other writers took {TRIES} revisions in a row");
        let name = item.id.path(revision);
        Err(StoreError { operation: "write", name, reason, is_transient: true, source: None }.into())
    }

    /// Brings a list of the current decisions up to date.
    ///
    /// Known revisions are not read again: a revision never changes, and its number is never used again. If the future
    /// is dropped, the list keeps what was read. An unreadable decision is an error that names it, because a dataset
    /// must not miss a decision silently.
    pub async fn follow_feedback(&self, known: &mut FeedbackList) -> Result<(), Error> {
        self.follow_part(known, "").await
    }

    /// Like [`Self::follow_feedback`], for the comments whose ids begin with `digits`.
    async fn follow_part(&self, known: &mut FeedbackList, digits: &str) -> Result<(), Error> {
        let mut last: BTreeMap<FeedbackId, u32> = BTreeMap::new();
        let mut deleted: BTreeMap<FeedbackId, u32> = BTreeMap::new();
        for path in self.store.list(&format!("{}{digits}", Key::FEEDBACK)).await? {
            if let Some((comment, reviewer, revision, is_deleted)) = Key::feedback_of(&path)
                && let Some(id) = FeedbackId::of(comment, reviewer)
            {
                let newest = if is_deleted { &mut deleted } else { &mut last }.entry(id).or_default();
                *newest = revision.max(*newest);
            }
        }
        last.retain(|id, revision| deleted.get(id).is_none_or(|deleted| *revision > *deleted));
        known.retain(|id, item| last.get(id).is_some_and(|revision| *revision == item.revision));
        last.retain(|id, _| !known.contains_key(id));
        let read = |(id, revision): (FeedbackId, u32)| async move {
            let item = self.feedback_item(&id, revision).await?;
            Ok::<_, Error>(item.map(|item| (id, Arc::new(item))))
        };
        let mut reads = stream::iter(last).map(read).buffer_unordered(REQUESTS_AT_ONCE);
        while let Some(item) = reads.next().await {
            // None if it was deleted after the listing.
            known.extend(item?);
        }
        Ok(())
    }

    /// The last revision of every decision.
    pub async fn feedback(&self) -> Result<FeedbackList, Error> {
        self.feedback_part("").await
    }

    /// The last revision of every decision about comments whose ids begin with `digits`.
    pub async fn feedback_part(&self, digits: &str) -> Result<FeedbackList, Error> {
        let mut list = FeedbackList::new();
        self.follow_part(&mut list, digits).await?;
        Ok(list)
    }

    async fn feedback_item(&self, id: &FeedbackId, revision: u32) -> Result<Option<FeedbackItem>, Error> {
        let key = Key::Feedback(&id.comment, id.reviewer.as_str(), revision);
        let Some((item, _)) = self.read_json::<FeedbackItem>(key).await? else { return Ok(None) };
        let is_its_own = item.id == *id && FeedbackId::new(&item.feedback.text, &item.feedback.reviewer) == *id;
        if is_its_own { Ok(Some(item)) } else { Err(key.corrupt("it belongs to another comment or reviewer")) }
    }

    /// Deletes a decision with all its revisions, for good. Returns whether it was there.
    ///
    /// First an empty object is written. It keeps the number of the last revision, so that no number is used twice, and
    /// the decision does not count any more. If the deletion is interrupted after that, call it again.
    pub async fn delete_feedback(&self, id: &FeedbackId) -> Result<bool, Error> {
        let Revisions { there, last, .. } = self.revisions(id).await?;
        if there.is_empty() {
            return Ok(false);
        }
        let mark = Key::FeedbackDeleted(&id.comment, id.reviewer.as_str(), last);
        self.store.create(&mark.path(), Bytes::new()).await?;
        for revision in there {
            self.store.delete(&id.path(revision)).await?;
        }
        Ok(true)
    }

    async fn revisions(&self, id: &FeedbackId) -> Result<Revisions, Error> {
        let prefix = Key::feedback_by(&id.comment, id.reviewer.as_str());
        let mut found = Revisions::default();
        for path in self.store.list(&prefix).await? {
            match Key::feedback_of(&path) {
                Some((_, _, revision, true)) => found.deleted = revision.max(found.deleted),
                Some((_, _, revision, false)) => found.there.push(revision),
                None => {}
            }
        }
        found.last = found.there.iter().copied().fold(found.deleted, u32::max);
        Ok(found)
    }
}

/// The revisions of one decision.
#[derive(Default)]
struct Revisions {
    /// The revisions in the store. After an interrupted deletion some of them count as deleted.
    there: Vec<u32>,
    /// Revisions up to this number were deleted; 0 for none.
    deleted: u32,
    /// The last number that was used; 0 for none.
    last: u32,
}
