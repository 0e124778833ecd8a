//! `/feedback`: what reviewers decide about comments, kept so that later models learn from it.

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
/// The name of a reviewer who gives none, where no key is needed.
const ANONYMOUS: &str = "anonymous";

pub(crate) struct FeedbackRoutes {
    context: Context,
    /// What was read last: a decision is read once.
    known: Arc<Mutex<FeedbackList>>,
}

/// What a comment is.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
#[oai(rename_all = "snake_case")]
enum FeedbackLabel {
    /// It threatens somebody with violence, or supports that.
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
    /// The comment. It is stored, until somebody deletes the decision.
    text: String,
    label: FeedbackLabel,
    /// Which of its sentences are threats, from 0, in the order of `/predict`; the others are learnt as harmless. Without it,
    /// of a threat with several sentences, those that the model in production finds.
    #[oai(validator(max_items = 1000))]
    sentences: Option<Vec<u32>>,
    /// The same for one sentence.
    sentence: Option<u32>,
    /// Why.
    #[oai(validator(max_length = 500))]
    note: Option<String>,
    /// Who decided; the name of the API key, where one is used.
    #[oai(validator(max_length = 63))]
    reviewer: Option<String>,
    /// The `X-Request-Id` of the verdict that was looked at.
    #[oai(validator(max_length = 128))]
    request_id: Option<String>,
}

/// A decision that is stored.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct FeedbackEntry {
    /// Of the comment and the reviewer: the same however often the reviewer decides.
    id: String,
    /// Of the comment: the same for all reviewers.
    comment: String,
    /// From 1; each time that the reviewer decides otherwise, one more.
    revision: u32,
    /// When: RFC 3339, UTC.
    at: String,
    text: String,
    label: FeedbackLabel,
    /// Which sentences are threats, from 0: those that the reviewer named, else those that the model found.
    sentences: Vec<u32>,
    /// The first of them.
    sentence: Option<u32>,
    reviewer: String,
    note: Option<String>,
    /// What the model in production said at that time.
    model: Option<FeedbackModel>,
    request_id: Option<String>,
}

/// What a model said of a comment.
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

/// Decisions, newest first, and figures of all that were asked for.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct FeedbackPage {
    items: Vec<FeedbackEntry>,
    /// Give it as `after` for the next page; none on the last.
    next: Option<String>,
    /// Decisions that fit, on all pages.
    total: u64,
    /// Of these, threats.
    threats: u64,
    /// Comments that they are about.
    comments: u64,
    /// Comments that reviewers differ about.
    disputed: u64,
    /// Comments where production said the same at the time, of those with a verdict.
    production_agreed: u64,
    production_judged: u64,
    /// How far each two reviewers agree about the comments that both decided.
    agreement: Vec<Agreement>,
}

/// How far two reviewers agree.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Agreement {
    reviewers: Vec<String>,
    /// Comments that both decided.
    comments: u64,
    /// Of these, with one label.
    agreed: u64,
    /// Cohen's kappa: 1 where they always agree, 0 where they do as often as chance would; none where both gave one label
    /// to all.
    kappa: Option<f64>,
}

answers! {
    /// Answers of `POST /feedback`.
    FeedbackAnswer {
        /// It is stored.
        #[oai(status = 201)]
        Stored(Json<FeedbackEntry>),
        /// The same was said before.
        #[oai(status = 200)]
        Known(Json<FeedbackEntry>),
    }
}

answers! {
    /// Answers of `GET /feedback`.
    FeedbackListAnswer {
        /// Some of the decisions.
        #[oai(status = 200)]
        Ok(Json<FeedbackPage>),
    }
}

answers! {
    /// Answers of deletions.
    FeedbackDeletion {
        /// It is gone for good. Datasets that were built before still have it.
        #[oai(status = 204)]
        Gone,
    }
}

/// Which decisions somebody asks for.
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
    /// Say what a comment is.
    ///
    /// The comment is stored with the decision, so that later models can learn from it; nothing else that is judged ever is.
    /// A reviewer who decides otherwise sends it again: the last decision counts.
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

    /// Show what reviewers decided, newest first, and how far they agree.
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
        /// Only comments that reviewers differ about.
        #[oai(default)]
        disputed: Query<bool>,
        /// The `next` of the page before.
        after: Query<Option<String>>,
        /// How many, from 1 to 1000; 100 unless told.
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

    /// Delete a decision and its comment for good: one's own with the role `review`, anybody's with the role `operate`.
    #[oai(path = "/feedback/:id", method = "delete")]
    async fn delete(&self, by: By<Read>, id: Path<String>) -> FeedbackDeletion {
        let may_all = by.caller.require(Operate::ROLE);
        if may_all.is_err()
            && let Err(problem) = by.caller.require(Review::ROLE)
        {
            return problem.into();
        }
        let Ok(id) = id.0.parse::<FeedbackId>() else {
            let detail = "The id does not look like that of a decision: GET /feedback lists them.";
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
    /// Stores a decision, counts it, and says whether it is new.
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

    /// A decision, with what production says of the comment.
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
            return Err(Problem::invalid(format!("A sentence must be below {count}: the comment has no more.")));
        }
        let model = match self.serving.live() {
            None => None,
            Some(live) => {
                let verdict = self.encoder.hear(&live, &text, Purpose::Verdict).await.verdict;
                // The most threatening one, where none reaches the threshold.
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

/// Who decides: the key's name, else what the caller says.
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
            at.ok_or_else(|| Problem::invalid("`after` names no decision of this list: begin anew."))? + 1
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

/// Of each two reviewers who decided about the same comments.
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
