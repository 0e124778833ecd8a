//! `/feedback`: decisions of reviewers about comments, stored for the training of later models.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use model::evaluation::kappa;
use poem_openapi::{
    Enum, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use registry::{Feedback, FeedbackId, FeedbackItem, FeedbackList, KeyName, Label, Said};
use tokio::sync::Mutex;

use super::{Tag, answers};
use crate::{
    audit::Request,
    blocking::blocking,
    body::Body,
    caller::{By, Caller, Need as _, Operate, Read, Review},
    cascade::Purpose,
    context::Context,
    figures::{millis, rfc3339},
    metrics::FeedbackLabels,
    problem::Problem,
};

/// Items of a page.
const PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1000;
/// The name of a reviewer who gives none, where no key is required.
const ANONYMOUS: &str = "anonymous";

pub(crate) struct FeedbackRoutes {
    context: Context,
    /// The decisions that were read before, so that each is read once.
    known: Arc<Mutex<FeedbackList>>,
}

/// The label of a comment.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
#[oai(rename_all = "snake_case")]
enum FeedbackLabel {
    /// It threatens violence or supports a threat of violence.
    Threat,
    /// It does not.
    Harmless,
}

impl From<FeedbackLabel> for Label {
    fn from(label: FeedbackLabel) -> Self {
        match label {
            FeedbackLabel::Threat => Self::Threat,
            FeedbackLabel::Harmless => Self::Harmless,
        }
    }
}

impl From<Label> for FeedbackLabel {
    fn from(label: Label) -> Self {
        match label {
            Label::Threat => Self::Threat,
            Label::Harmless => Self::Harmless,
        }
    }
}

/// A decision about a comment.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct FeedbackRequest {
    /// The comment. It is stored until the decision is deleted.
    text: String,
    label: FeedbackLabel,
    /// Which of its sentences are threats, numbered from 0 in the order of `/predict`.
    /// The other sentences are learnt as harmless. By default, for a threat with several sentences: those that the
    /// model in production finds.
    #[oai(validator(max_items = 1000))]
    sentences: Option<Vec<u32>>,
    /// The same, for one sentence.
    sentence: Option<u32>,
    /// Why.
    #[oai(validator(max_length = 500))]
    note: Option<String>,
    /// Who decided. With an API key, the key's name.
    #[oai(validator(max_length = 63))]
    reviewer: Option<String>,
    /// The `X-Request-Id` of the verdict that the reviewer saw.
    #[oai(validator(max_length = 128))]
    request_id: Option<String>,
}

/// A stored decision.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct FeedbackEntry {
    /// Id of the comment and the reviewer.
    /// It stays the same when the reviewer decides again.
    id: String,
    /// Id of the comment, the same for all reviewers.
    comment: String,
    /// Number of the revision, from 1. It grows each time the reviewer changes the decision.
    revision: u32,
    /// When: RFC 3339, UTC.
    at: String,
    text: String,
    label: FeedbackLabel,
    /// Which sentences are threats, from 0: those that the reviewer named, else those that the model found.
    sentences: Vec<u32>,
    /// The first of these sentences.
    sentence: Option<u32>,
    reviewer: String,
    note: Option<String>,
    /// The verdict of the model in production at that time.
    model: Option<FeedbackModel>,
    request_id: Option<String>,
}

/// A model's verdict on a comment.
#[derive(Debug, Object)]
struct FeedbackModel {
    version: String,
    probability: f64,
    label: FeedbackLabel,
}

impl From<&FeedbackItem> for FeedbackEntry {
    fn from(item: &FeedbackItem) -> Self {
        let sentences: Vec<u32> = item.feedback.threats().into_iter().collect();
        let Feedback { text, label, reviewer, note, model, request_id, .. } = item.feedback.clone();
        let model = model.map(|Said { version, probability, label, .. }| FeedbackModel {
            version: version.to_string(),
            probability,
            label: label.into(),
        });
        Self {
            id: item.id.to_string(),
            comment: item.id.comment().to_owned(),
            revision: item.revision,
            at: rfc3339(item.at),
            text,
            label: label.into(),
            sentence: sentences.first().copied(),
            sentences,
            reviewer: reviewer.to_string(),
            note,
            model,
            request_id,
        }
    }
}

/// Decisions, newest first, with figures over all matching decisions.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct FeedbackPage {
    items: Vec<FeedbackEntry>,
    /// The value of `after` for the next page. None on the last page.
    next: Option<String>,
    /// Matching decisions, on all pages.
    total: u64,
    /// Of these, the threats.
    threats: u64,
    /// Comments that the decisions are about.
    comments: u64,
    /// Comments on which reviewers disagree.
    disputed: u64,
    /// Decisions that agree with the verdict of production at that time.
    production_agreed: u64,
    /// Decisions with a verdict of production.
    production_judged: u64,
    /// How far each pair of reviewers agrees.
    agreement: Vec<Agreement>,
}

/// How far two reviewers agree.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Agreement {
    reviewers: Vec<String>,
    /// Comments that both decided.
    comments: u64,
    /// Of these, comments with the same label from both.
    agreed: u64,
    /// Cohen's kappa: 1 if they always agree, 0 if they agree as often as by chance. None if both gave one label to all
    /// comments.
    kappa: Option<f64>,
}

answers! {
    /// Answers of `POST /feedback`.
    FeedbackAnswer {
        /// It is stored.
        #[oai(status = 201)]
        Stored(Json<FeedbackEntry>),
        /// The same decision was stored before.
        #[oai(status = 200)]
        Known(Json<FeedbackEntry>),
    }
}

answers! {
    /// Answers of `GET /feedback`.
    FeedbackListAnswer {
        /// The decisions.
        #[oai(status = 200)]
        Ok(Json<FeedbackPage>),
    }
}

answers! {
    /// Answers of deletions.
    FeedbackDeletion {
        /// It is deleted for good. Datasets that were built before still contain it.
        #[oai(status = 204)]
        Gone,
    }
}

/// The filter of a list.
struct Wanted {
    label: Option<Label>,
    reviewer: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
    disputed: bool,
}

impl Wanted {
    fn fits(&self, item: &FeedbackItem, disputed: &BTreeSet<String>) -> bool {
        self.label.is_none_or(|label| item.feedback.label == label)
            && self.reviewer.as_ref().is_none_or(|reviewer| item.id.reviewer() == reviewer)
            && self.since.is_none_or(|since| item.at >= since)
            && self.until.is_none_or(|until| item.at < until)
            && (!self.disputed || disputed.contains(item.id.comment()))
    }
}

#[OpenApi(tag = "Tag::Feedback")]
impl FeedbackRoutes {
    /// Store a reviewer's decision about a comment.
    ///
    /// The comment is stored with the decision, for the training of later models. Comments that are only judged are
    /// never stored. To change a decision, send the comment again: the last decision counts.
    #[oai(path = "/feedback", method = "post")]
    async fn say(&self, by: By<Review>, body: Body<FeedbackRequest>) -> FeedbackAnswer {
        let FeedbackRequest { text, label, sentences, sentence, note, reviewer, request_id } = body.0;
        let sentences = sentences.into_iter().flatten().chain(sentence).collect();
        let said = async {
            let reviewer = reviewer_of(&by.caller, reviewer)?;
            let feedback = self.context.feedback(text, label.into(), sentences, reviewer).await?;
            let feedback = Feedback { note: note.filter(|note| !note.trim().is_empty()), request_id, ..feedback };
            self.context.keep_feedback(feedback).await
        };
        match said.await {
            Ok((item, true)) => FeedbackAnswer::Stored(Json((&item).into())),
            Ok((item, false)) => FeedbackAnswer::Known(Json((&item).into())),
            Err(problem) => problem.into(),
        }
    }

    /// List the decisions of reviewers, newest first, and show how far reviewers agree.
    #[oai(path = "/feedback", method = "get")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the route")]
    async fn list(
        &self,
        _by: By<Review>,
        label: Query<Option<FeedbackLabel>>,
        reviewer: Query<Option<String>>,
        /// Decided at this moment or later: RFC 3339.
        since: Query<Option<String>>,
        /// Decided before this moment: RFC 3339.
        until: Query<Option<String>>,
        /// Only comments on which reviewers disagree.
        #[oai(default)]
        disputed: Query<bool>,
        /// The `next` of the previous page.
        after: Query<Option<String>>,
        /// Most decisions to return, from 1 to 1000. The default is 100.
        limit: Query<Option<u32>>,
    ) -> FeedbackListAnswer {
        let wanted = || {
            Ok::<_, Problem>(Wanted {
                label: label.0.map(Label::from),
                reviewer: reviewer.0.clone(),
                since: since.0.as_deref().map(|text| millis("since", text)).transpose()?,
                until: until.0.as_deref().map(|text| millis("until", text)).transpose()?,
                disputed: disputed.0,
            })
        };
        let limit = limit.0.unwrap_or(PAGE);
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return Problem::invalid(format!("`limit` must be from 1 to {LARGEST_PAGE}.")).into();
        }
        let listed = async {
            let (wanted, all) = (wanted()?, self.all().await?);
            blocking(move || page(&all, &wanted, after.0.as_deref(), limit as usize)).await
        };
        match listed.await {
            Ok(page) => FeedbackListAnswer::Ok(Json(page)),
            Err(problem) => problem.into(),
        }
    }

    /// Delete a decision and its comment for good.
    ///
    /// The role `review` deletes its own decisions, the role `operate` deletes any.
    #[oai(path = "/feedback/:id", method = "delete")]
    async fn delete(&self, by: By<Read>, id: Path<String>) -> FeedbackDeletion {
        let may_all = by.caller.require(Operate::ROLE);
        if may_all.is_err()
            && let Err(problem) = by.caller.require(Review::ROLE)
        {
            return problem.into();
        }
        let Ok(id) = id.0.parse::<FeedbackId>() else {
            let detail = "The id is not the id of a decision. GET /feedback lists the decisions.";
            return Problem::invalid(detail).into();
        };
        let actor = by.caller.actor(None);
        if actor.as_deref().is_some_and(|actor| actor != id.reviewer())
            && let Err(problem) = may_all
        {
            return problem.into();
        }
        let recorded = self.context.record(Request {
            caller: &by.caller,
            actor: actor.as_deref(),
            action: "feedback_delete",
            subject: Some(id.to_string()),
            reason: None,
        });
        let recorded = match recorded.await {
            Ok(recorded) => recorded,
            Err(problem) => return problem.into(),
        };
        match self.context.ask_store(self.context.registry.delete_feedback(&id)).await {
            Ok(true) => {
                recorded.ended("done", String::new()).await;
                FeedbackDeletion::Gone
            }
            Ok(false) => recorded.refused(Problem::not_found("There is no such decision.")).await.into(),
            Err(problem) => recorded.refused(problem).await.into(),
        }
    }
}

impl FeedbackRoutes {
    pub(crate) fn new(context: Context) -> Self {
        Self { context, known: Arc::default() }
    }

    async fn all(&self) -> Result<FeedbackList, Problem> {
        let mut known = self.known.lock().await;
        self.context.ask_store(self.context.registry.follow_feedback(&mut known)).await?;
        Ok(known.clone())
    }
}

impl Context {
    /// Stores a decision, counts it, and returns whether it is new.
    pub(crate) async fn keep_feedback(&self, feedback: Feedback) -> Result<(FeedbackItem, bool), Problem> {
        let (item, is_new) = self.ask_store(self.registry.put_feedback(feedback)).await?;
        if is_new {
            let Feedback { label, model, .. } = &item.feedback;
            let agreed = match model {
                None => "unjudged",
                Some(said) if said.label == *label => "yes",
                Some(_) => "no",
            };
            self.metrics.feedback.get_or_create(&FeedbackLabels { label: label.name(), agreed }).inc();
        }
        Ok((item, is_new))
    }

    /// A decision, with production's verdict on the comment.
    pub(crate) async fn feedback(
        &self,
        text: String,
        label: Label,
        sentences: BTreeSet<u32>,
        reviewer: KeyName,
    ) -> Result<Feedback, Problem> {
        self.check_text(&text)?;
        let count = model::text::sentences(&text).len();
        if sentences.last().is_some_and(|last| *last as usize >= count) {
            return Err(Problem::invalid(format!("A sentence number must be below {count}, the sentence count.")));
        }
        let model = match self.serving.live() {
            None => None,
            Some(live) => {
                let verdict = self.encoder.hear(&live, &text, Purpose::Verdict).await.verdict;
                // The sentence with the highest probability, if none reaches the threshold.
                let from = verdict.threshold.min(verdict.probability);
                let threats = (0..).zip(&verdict.sentences).filter(|(_, sentence)| sentence.probability >= from);
                Some(Said {
                    version: live.manifest.version.clone(),
                    probability: verdict.probability,
                    label: verdict.is_threat.into(),
                    sentences: threats.map(|(number, _)| number).collect(),
                })
            }
        };
        let sentences = if label == Label::Threat { sentences } else { BTreeSet::new() };
        Ok(Feedback { text, label, sentences, reviewer, note: None, model, request_id: None })
    }
}

/// The reviewer: the key's name, else the name that the caller gives.
pub(super) fn reviewer_of(caller: &Caller, said: Option<String>) -> Result<KeyName, Problem> {
    let name = caller.actor(said).unwrap_or_else(|| ANONYMOUS.to_owned());
    name.parse().map_err(|reason: String| Problem::invalid(format!("`reviewer`: {reason}.")))
}

fn page(all: &FeedbackList, wanted: &Wanted, after: Option<&str>, limit: usize) -> Result<FeedbackPage, Problem> {
    let mut labels: BTreeMap<&str, BTreeSet<Label>> = BTreeMap::new();
    for (id, item) in all {
        labels.entry(id.comment()).or_default().insert(item.feedback.label);
    }
    let differ = labels.into_iter().filter(|(_, labels)| labels.len() > 1);
    let disputed: BTreeSet<String> = differ.map(|(comment, _)| comment.to_owned()).collect();
    let mut items: Vec<&FeedbackItem> = all.values().map(AsRef::as_ref).collect();
    items.retain(|item| wanted.fits(item, &disputed));
    items.sort_by_key(|item| (std::cmp::Reverse(item.at), &item.id));
    let comments: BTreeSet<&str> = items.iter().map(|item| item.id.comment()).collect();
    let judged = items.iter().filter_map(|item| Some((item.feedback.label, item.feedback.model.as_ref()?.label)));
    let (agreed, differed): (Vec<_>, Vec<_>) = judged.partition(|(person, model)| person == model);
    let from = match after {
        None => 0,
        Some(after) => {
            let at = items.iter().position(|item| item.id.to_string() == after);
            at.ok_or_else(|| Problem::invalid("`after` is not in this list. Start with the first page."))? + 1
        }
    };
    let shown = &items[from..items.len().min(from + limit)];
    let is_last = from + shown.len() == items.len();
    Ok(FeedbackPage {
        items: shown.iter().map(|&item| item.into()).collect(),
        next: shown.last().filter(|_| !is_last).map(|item| item.id.to_string()),
        total: items.len() as u64,
        threats: items.iter().filter(|item| item.feedback.label == Label::Threat).count() as u64,
        comments: comments.len() as u64,
        disputed: comments.iter().filter(|comment| disputed.contains(**comment)).count() as u64,
        production_agreed: agreed.len() as u64,
        production_judged: (agreed.len() + differed.len()) as u64,
        agreement: agreement(&items),
    })
}

/// The agreement of each pair of reviewers with common comments.
fn agreement(items: &[&FeedbackItem]) -> Vec<Agreement> {
    let mut by_comment: BTreeMap<&str, Vec<(&str, bool)>> = BTreeMap::new();
    for item in items {
        let said = (item.id.reviewer(), item.feedback.label == Label::Threat);
        by_comment.entry(item.id.comment()).or_default().push(said);
    }
    let mut pairs: BTreeMap<(&str, &str), Vec<(bool, bool)>> = BTreeMap::new();
    for mut said in by_comment.into_values() {
        said.sort_unstable();
        for (at, &(first, a)) in said.iter().enumerate() {
            for &(second, b) in &said[at + 1..] {
                pairs.entry((first, second)).or_default().push((a, b));
            }
        }
    }
    let agreement = |((first, second), labels): ((&str, &str), Vec<(bool, bool)>)| Agreement {
        reviewers: vec![first.to_owned(), second.to_owned()],
        comments: labels.len() as u64,
        agreed: labels.iter().filter(|(a, b)| a == b).count() as u64,
        kappa: kappa(&labels),
    };
    pairs.into_iter().map(agreement).collect()
}
