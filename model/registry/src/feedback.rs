//! What reviewers decide about comments: each decision an object of its own, written once.
//!
//! A decision belongs to a comment and a reviewer, so reviewers may differ and none overwrites another. Who decides anew
//! writes the next revision, and the last one counts. Nothing of a comment is stored but what somebody sent here on purpose,
//! and it can be deleted for good.

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
/// The same reviewer's decisions about the same comment at the same moment take a revision each; so many in a row are not
/// waited for.
const TRIES: u32 = 20;

/// What a comment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// It threatens somebody with violence, or supports that.
    Threat,
    /// It does not.
    Harmless,
}

impl Label {
    /// Its word.
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// The comment.
    pub text: String,
    /// What it is.
    pub label: Label,
    /// Which of its sentences are threats, from 0. None where the reviewer named none. Once there was one at most, `sentence`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", alias = "sentence", deserialize_with = "one_or_many")]
    pub sentences: BTreeSet<u32>,
    /// Who decided: the name of the key.
    pub reviewer: KeyName,
    /// Why, in the reviewer's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What the model in production said of the comment at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Said>,
    /// The request that judged the comment before, if the reviewer told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Feedback {
    /// Which sentences of a threat are learnt as threats: those that the reviewer named, else those that the model in
    /// production found.
    #[must_use]
    pub fn threats(&self) -> BTreeSet<u32> {
        match (self.label, &self.model) {
            (Label::Harmless, _) => BTreeSet::new(),
            (Label::Threat, Some(said)) if self.sentences.is_empty() => said.sentences.clone(),
            (Label::Threat, _) => self.sentences.clone(),
        }
    }

    /// Whether both say the same of one comment.
    fn says(&self, other: &Self) -> bool {
        (self.label, &self.sentences, &self.note) == (other.label, &other.sentences, &other.note)
    }
}

/// What a model said of a comment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// The model.
    pub version: Version,
    /// The probability that the comment is a threat.
    pub probability: f64,
    /// Its verdict.
    pub label: Label,
    /// The sentences that reach its threshold, else the most threatening one, from 0. Once it was one, `sentence`.
    #[serde(alias = "sentence", deserialize_with = "one_or_many")]
    pub sentences: BTreeSet<u32>,
}

/// Numbers, or a single one as it was written once.
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

/// The name of a reviewer's decision about a comment: 32 hex digits of the comment's SHA-256, `-`, the reviewer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FeedbackId {
    comment: String,
    reviewer: KeyName,
}

impl FeedbackId {
    /// Of a comment and a reviewer.
    #[must_use]
    pub fn new(text: &str, reviewer: &KeyName) -> Self {
        let comment = Digest::of(text.as_bytes()).as_str()[..COMMENT].to_owned();
        Self { comment, reviewer: reviewer.clone() }
    }

    /// The comment's part of it: the same for all reviewers.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Who decided.
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
        found.ok_or_else(|| format!("a feedback's id is {COMMENT} hex digits, `-` and a reviewer's name"))
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

/// A decision that is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedbackItem {
    /// Its name.
    pub id: FeedbackId,
    /// From 1; each time that the reviewer decides otherwise, one more.
    pub revision: u32,
    /// When: milliseconds since 1970, UTC.
    pub at: i64,
    /// What was decided.
    #[serde(flatten)]
    pub feedback: Feedback,
}

/// Every decision that counts, by id.
pub type FeedbackList = BTreeMap<FeedbackId, Arc<FeedbackItem>>;

impl Registry {
    /// Stores a decision, and says whether it is new: saying the same again changes nothing.
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
                // Ours, if the reply of an earlier try was lost.
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
        let reason = format!("others took {TRIES} revisions in a row");
        let name = item.id.path(revision);
        Err(StoreError { operation: "write", name, reason, is_transient: true, source: None }.into())
    }

    /// Brings a list of the decisions that count up to date. What it has already is not read again: a revision never changes,
    /// and its number is never given again.
    ///
    /// What was read before the future was dropped stays in the list. A decision that cannot be read is an error that names
    /// it: a dataset must not miss it unseen.
    pub async fn follow_feedback(&self, known: &mut FeedbackList) -> Result<(), Error> {
        self.follow_part(known, "").await
    }

    /// As [`Self::follow_feedback`], of the comments whose names begin with `digits`.
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
            // What was deleted since it was listed is not there.
            known.extend(item?);
        }
        Ok(())
    }

    /// The decisions that count.
    pub async fn feedback(&self) -> Result<FeedbackList, Error> {
        self.feedback_part("").await
    }

    /// The decisions that count about the comments whose names begin with these hex digits.
    pub async fn feedback_part(&self, digits: &str) -> Result<FeedbackList, Error> {
        let mut list = FeedbackList::new();
        self.follow_part(&mut list, digits).await?;
        Ok(list)
    }

    async fn feedback_item(&self, id: &FeedbackId, revision: u32) -> Result<Option<FeedbackItem>, Error> {
        let key = Key::Feedback(&id.comment, id.reviewer.as_str(), revision);
        let Some((item, _)) = self.read_json::<FeedbackItem>(key).await? else { return Ok(None) };
        let is_its_own = item.id == *id && FeedbackId::new(&item.feedback.text, &item.feedback.reviewer) == *id;
        if is_its_own { Ok(Some(item)) } else { Err(key.corrupt("it is of another comment or reviewer")) }
    }

    /// Deletes a decision with all its revisions, for good; answers whether it was there.
    ///
    /// An empty object keeps the number of the last revision, so that none is given again. From then on the decision counts
    /// no more, also where the deletion is cut short; it can be done again.
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
    /// Those that are in the store: after a deletion that was cut short also some that were deleted.
    there: Vec<u32>,
    /// Those up to this number were deleted; 0 for none.
    deleted: u32,
    /// The last number that was given; 0 for none.
    last: u32,
}
