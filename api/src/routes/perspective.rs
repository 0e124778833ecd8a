//! Perspective API's `comments:analyze` and `comments:suggestscore`, for clients of Google's Comment Analyzer.
//!
//! Shapes and error texts are from Google's documentation (github.com/conversationai/perspectiveapi, "Methods", "Limits
//! and errors") and from the types in its client libraries. Spans are in UTF-16 code units, as these types say: "The
//! values are the UTF-16 codepoint range". Scored comments are never stored, with any `doNotStore`. A suggestion may be
//! stored as feedback.

use std::collections::{BTreeMap, BTreeSet};

use model::{Verdict, linear::SentenceVerdict};
use poem::Result;
use poem_openapi::{Enum, Object, OpenApi, payload::Json};
use registry::{Feedback, Label, Role};

use super::{Tag, dialect_answers, feedback::reviewer_of};
use crate::{
    body::Body,
    caller::{self, By, Caller},
    context::Context,
    dialect::CommentError,
    judging::{Asked, Positions},
    problem::Problem,
};

/// A suggested score from here on means that the comment is a threat.
const SUGGESTS_THREAT: f64 = 0.5;
/// The attribute that is served.
const THREAT: &str = "THREAT";

/// Perspective's other attributes, which may be aliases of [`THREAT`].
const ATTRIBUTES: [&str; 22] = [
    "ATTACK_ON_AUTHOR",
    "ATTACK_ON_COMMENTER",
    "FLIRTATION",
    "IDENTITY_ATTACK",
    "IDENTITY_ATTACK_EXPERIMENTAL",
    "INCOHERENT",
    "INFLAMMATORY",
    "INSULT",
    "INSULT_EXPERIMENTAL",
    "LIKELY_TO_REJECT",
    "OBSCENE",
    "PROFANITY",
    "PROFANITY_EXPERIMENTAL",
    "SEVERE_TOXICITY",
    "SEVERE_TOXICITY_EXPERIMENTAL",
    "SEXUALLY_EXPLICIT",
    "SPAM",
    "THREAT_EXPERIMENTAL",
    "TOXICITY",
    "TOXICITY_EXPERIMENTAL",
    "TOXICITY_FAST",
    "UNSUBSTANTIAL",
];
/// Perspective accepts 20 KB, and its clients cut comments to that.
const LONGEST: usize = 20 * 1024;

pub(crate) struct Perspective(pub(crate) Context);

/// Settings for clients of Perspective.
#[derive(Clone, Debug)]
pub struct PerspectiveSettings {
    /// Other attributes that get the threat score.
    pub aliases: Vec<String>,
    /// Languages of the models, as ISO 639-1 codes.
    pub languages: Vec<String>,
}

impl Default for PerspectiveSettings {
    fn default() -> Self {
        Self { aliases: Vec::new(), languages: vec!["en".to_owned()] }
    }
}

impl PerspectiveSettings {
    /// Checks and normalises names. The error names the wrong one.
    pub fn new(aliases: &[String], languages: &[String]) -> Result<Self, String> {
        let trimmed = |names: &[String]| -> Vec<String> {
            names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
        };
        let aliases = trimmed(aliases);
        if let Some(alias) = aliases.iter().find(|alias| !ATTRIBUTES.contains(&alias.as_str())) {
            let known = ATTRIBUTES.join(", ");
            return Err(format!("`{alias}` is not an attribute that may be an alias; these are: {known}"));
        }
        let languages: Vec<String> = trimmed(languages).iter().map(|code| base_of(code)).collect();
        Ok(Self { aliases, languages: if languages.is_empty() { Self::default().languages } else { languages } })
    }
}

/// `pt` of `pt-BR`.
fn base_of(language: &str) -> String {
    language.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase()
}

/// A text and its type.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, rename = "PerspectiveText")]
struct TextEntry {
    /// The text.
    #[oai(default)]
    text: String,
    /// Only plain text is accepted.
    #[oai(rename = "type")]
    kind: Option<TextType>,
}

#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
#[oai(rename_all = "SCREAMING_SNAKE_CASE", rename = "PerspectiveTextType")]
enum TextType {
    #[oai(rename = "TEXT_TYPE_UNSPECIFIED")]
    Unspecified,
    PlainText,
    Html,
}

/// The context of the comment. It is checked but not used.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, rename_all = "camelCase", rename = "PerspectiveContext")]
struct CommentContext {
    /// Texts before the comment.
    entries: Option<Vec<TextEntry>>,
    /// The article and the comment that it answers.
    article_and_parent_comment: Option<ArticleAndParent>,
}

#[derive(Debug, Object)]
#[oai(deny_unknown_fields, rename_all = "camelCase", rename = "PerspectiveArticleAndParent")]
struct ArticleAndParent {
    article: Option<TextEntry>,
    parent_comment: Option<TextEntry>,
}

/// How to score an attribute.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, rename_all = "camelCase", rename = "PerspectiveAttribute")]
struct AttributeParameters {
    /// Only `PROBABILITY` is supported.
    score_type: Option<ScoreType>,
    /// Scores below it are left out of the answer.
    score_threshold: Option<f64>,
}

#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
#[oai(rename_all = "SCREAMING_SNAKE_CASE", rename = "PerspectiveScoreType")]
enum ScoreType {
    #[oai(rename = "SCORE_TYPE_UNSPECIFIED")]
    Unspecified,
    Probability,
    StdDevScore,
    Percentile,
    Raw,
}

/// A comment to score.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, rename_all = "camelCase", rename = "PerspectiveRequest")]
struct AnalyzeRequest {
    comment: Option<TextEntry>,
    context: Option<CommentContext>,
    /// The attributes to score: `THREAT`, and aliases that the service is configured with.
    requested_attributes: Option<BTreeMap<String, AttributeParameters>>,
    /// Languages of the comment. The default is the languages of the service.
    languages: Option<Vec<String>>,
    /// Score each sentence.
    span_annotations: Option<bool>,
    /// Leave out attributes that are not served, instead of an error.
    drop_unsupported_attributes: Option<bool>,
    /// Ignored: scored comments are never stored.
    do_not_store: Option<bool>,
    /// Returned in the answer.
    client_token: Option<String>,
    /// Not used.
    session_id: Option<String>,
    /// Not used.
    community_id: Option<String>,
}

/// A score.
#[derive(Debug, Object)]
#[oai(rename = "PerspectiveScore")]
struct Score {
    /// From 0 to 1.
    value: f64,
    /// `PROBABILITY`.
    #[oai(rename = "type")]
    kind: ScoreType,
}

impl Score {
    fn of(value: f64) -> Self {
        Self { value, kind: ScoreType::Probability }
    }
}

/// The score of a part of the comment.
#[derive(Debug, Object)]
#[oai(rename = "PerspectiveSpanScore")]
struct SpanScore {
    /// Start, in UTF-16 code units from 0.
    begin: u32,
    /// End (exclusive), in UTF-16 code units.
    end: u32,
    score: Score,
}

/// The scores of one attribute.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", rename = "PerspectiveScores")]
struct AttributeScores {
    /// One per sentence with `spanAnnotations`, else one for the whole comment.
    span_scores: Vec<SpanScore>,
    summary_score: Score,
}

/// The requested scores.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", rename = "PerspectiveResponse", skip_serializing_if_is_none)]
struct AnalyzeResponse {
    /// By attribute. None if every score is below its threshold.
    attribute_scores: Option<BTreeMap<String, AttributeScores>>,
    languages: Vec<String>,
    client_token: Option<String>,
    /// Attributes that got the score of another one, as the service is configured.
    aliases: Option<BTreeMap<String, String>>,
}

/// A suggested score for a comment.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, rename_all = "camelCase", rename = "PerspectiveSuggestion")]
struct SuggestRequest {
    comment: Option<TextEntry>,
    context: Option<CommentContext>,
    /// By attribute.
    attribute_scores: Option<BTreeMap<String, SuggestedScores>>,
    languages: Option<Vec<String>>,
    client_token: Option<String>,
    community_id: Option<String>,
    session_id: Option<String>,
}

#[derive(Debug, Object)]
#[oai(deny_unknown_fields, rename_all = "camelCase", rename = "PerspectiveSuggestedScores")]
struct SuggestedScores {
    summary_score: Option<SuggestedScore>,
    span_scores: Option<Vec<SuggestedSpan>>,
}

#[derive(Debug, Object)]
#[oai(deny_unknown_fields, rename = "PerspectiveSuggestedScore")]
struct SuggestedScore {
    value: Option<f64>,
    #[oai(rename = "type")]
    kind: Option<ScoreType>,
}

#[derive(Debug, Object)]
#[oai(deny_unknown_fields, rename = "PerspectiveSuggestedSpan")]
struct SuggestedSpan {
    begin: Option<u32>,
    end: Option<u32>,
    score: Option<SuggestedScore>,
}

#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", rename = "PerspectiveSuggested", skip_serializing_if_is_none)]
struct SuggestResponse {
    client_token: Option<String>,
    requested_languages: Vec<String>,
}

/// `google.rpc.Status` in JSON.
#[derive(Debug, Object)]
#[oai(rename = "PerspectiveError")]
struct ErrorBody {
    error: ErrorStatus,
}

#[derive(Debug, Object)]
#[oai(rename = "PerspectiveErrorStatus")]
struct ErrorStatus {
    /// The HTTP status.
    code: u16,
    message: String,
    /// e.g. `INVALID_ARGUMENT`.
    status: String,
    /// With an `errorType`, if Perspective has one for this error.
    details: Option<Vec<poem_openapi::types::Any<serde_json::Value>>>,
}

dialect_answers!(Analyzed, AnalyzeResponse, ErrorBody);
dialect_answers!(Suggested, SuggestResponse, ErrorBody);

#[OpenApi]
impl Perspective {
    /// Score a comment, like Perspective API.
    ///
    /// `THREAT` is served. Send the key as `?key=`, as `X-Goog-Api-Key` or in the headers of the other routes.
    #[oai(path = "/v1alpha1/comments/analyze", method = "post", tag = "Tag::Dialects")]
    async fn analyze(&self, _by: By<caller::Predict>, body: Body<AnalyzeRequest>) -> Result<Analyzed> {
        let AnalyzeRequest { comment, context, requested_attributes, languages, client_token, .. } = body.0;
        let text = self.text_of(comment, context.as_ref())?;
        let mut asked = requested_attributes.unwrap_or_default();
        if body.0.drop_unsupported_attributes.unwrap_or_default() {
            asked.retain(|name, _| self.serves(name) || !ATTRIBUTES.contains(&name.as_str()));
        }
        let attributes = self.attributes(asked)?;
        let languages = self.languages(languages)?;
        let live = self.0.model(None).await?;
        let verdict = self.0.judge(&live, &text, Asked::ALONE).await.verdict;
        let wanted = attributes.iter().filter(|(_, threshold)| verdict.probability >= *threshold);
        let scores: BTreeMap<String, AttributeScores> = wanted
            .map(|(name, _)| (name.clone(), scores(&text, &verdict, body.0.span_annotations.unwrap_or_default())))
            .collect();
        let aliases = attributes.into_iter().map(|(name, _)| name).filter(|name| name != THREAT);
        let aliases: BTreeMap<String, String> = aliases.map(|name| (name, THREAT.to_owned())).collect();
        Ok(Analyzed::Ok(Json(AnalyzeResponse {
            attribute_scores: Some(scores).filter(|scores| !scores.is_empty()),
            languages,
            client_token,
            aliases: Some(aliases).filter(|aliases| !aliases.is_empty()),
        })))
    }

    /// Suggest a score for a comment, like Perspective API.
    ///
    /// A score for a served attribute, from a key with the role `review`, is stored as feedback. From 0.5 on it is a
    /// threat. Any other suggestion is checked and answered, but not stored.
    #[oai(path = "/v1alpha1/comments/suggestscore", method = "post", tag = "Tag::Dialects")]
    async fn suggest(&self, by: By<caller::Predict>, body: Body<SuggestRequest>) -> Result<Suggested> {
        let SuggestRequest { comment, context, languages, client_token, attribute_scores, .. } = body.0;
        let text = self.text_of(comment, context.as_ref())?;
        let requested_languages = self.languages(languages)?;
        let mut served = attribute_scores.into_iter().flatten().filter(|(name, _)| self.serves(name));
        if let Some(value) = served.find_map(|(_, scores)| scores.summary_score?.value) {
            if !(0.0..=1.0).contains(&value) {
                let reason = "A score must be from 0 to 1.";
                return Err(CommentError::InvalidRequest.because(reason));
            }
            if matches!(by.caller, Caller::Holder(_)) && by.caller.require(Some(Role::Review)).is_ok() {
                self.keep(text, value, &by.caller).await?;
            }
        }
        Ok(Suggested::Ok(Json(SuggestResponse { client_token, requested_languages })))
    }
}

impl Perspective {
    /// Stores a suggestion as feedback.
    async fn keep(&self, text: String, value: f64, caller: &Caller) -> Result<(), Problem> {
        let feedback = self
            .0
            .feedback(text, Label::from(value >= SUGGESTS_THREAT), BTreeSet::new(), reviewer_of(caller, None)?)
            .await?;
        let feedback = Feedback { note: Some("suggestscore".to_owned()), ..feedback };
        self.0.keep_feedback(feedback).await?;
        Ok(())
    }

    fn text_of(&self, comment: Option<TextEntry>, context: Option<&CommentContext>) -> Result<String> {
        let comment = comment.filter(|comment| !comment.text.trim().is_empty());
        let Some(TextEntry { text, kind }) = comment else {
            return Err(CommentError::Empty.because("Comment must be non-empty."));
        };
        if kind == Some(TextType::Html) {
            let reason = "Currently, only 'PLAIN_TEXT' comments are supported";
            return Err(CommentError::InvalidRequest.because(reason));
        }
        if text.chars().nth(self.0.longest_text.max(LONGEST)).is_some() {
            return Err(CommentError::TooLong.because("Comment text too long."));
        }
        if context.is_some_and(|it| it.entries.is_some() && it.article_and_parent_comment.is_some()) {
            let reason =
                "Context can have either entries or article_and_parent_comment, but both fields were populated.";
            return Err(CommentError::InvalidRequest.because(reason));
        }
        Ok(text)
    }

    fn serves(&self, attribute: &str) -> bool {
        attribute == THREAT || self.0.perspective.aliases.iter().any(|alias| alias == attribute)
    }

    /// The requested attributes, each with the lowest score to return.
    fn attributes(&self, asked: BTreeMap<String, AttributeParameters>) -> Result<Vec<(String, f64)>> {
        if asked.is_empty() {
            return Err(CommentError::NoRequestedAttributes.because("Missing requested_attributes"));
        }
        let each = asked.into_iter().map(|(name, parameters)| {
            if !self.serves(&name) {
                return Err(CommentError::InvalidRequest.because(not_served(&name)));
            }
            if !matches!(parameters.score_type, None | Some(ScoreType::Probability | ScoreType::Unspecified)) {
                let reason = format!("Requested score type is not supported by attribute {name}: PROBABILITY is");
                return Err(CommentError::InvalidRequest.because(reason));
            }
            Ok((name, parameters.score_threshold.unwrap_or(0.0)))
        });
        each.collect()
    }

    /// The languages of the comment, for the answer.
    fn languages(&self, said: Option<Vec<String>>) -> Result<Vec<String>> {
        let known = &self.0.perspective.languages;
        let said = said.unwrap_or_default();
        if said.is_empty() {
            return Ok(known.clone());
        }
        if said.iter().any(|code| known.contains(&base_of(code))) {
            return Ok(said);
        }
        let reason =
            format!("Attribute {THREAT} does not support request languages; it supports: {}", known.join(", "));
        Err(CommentError::LanguageNotSupported { attribute: THREAT }.because(reason))
    }
}

/// Names one of Perspective's attributes. Any other text of the caller is not repeated.
fn not_served(name: &str) -> String {
    let known = ATTRIBUTES.iter().find(|attribute| **attribute == name);
    let name = known.map_or_else(String::new, |name| format!(" {name}"));
    format!("Unknown requested attribute:{name}. This service serves {THREAT}")
}

fn scores(text: &str, verdict: &Verdict, by_sentence: bool) -> AttributeScores {
    let mut position = Positions::utf16(text);
    let span_scores = if by_sentence {
        let span = |sentence: &SentenceVerdict| SpanScore {
            begin: position.of(sentence.bytes.start),
            end: position.of(sentence.bytes.end),
            score: Score::of(sentence.probability),
        };
        verdict.sentences.iter().map(span).collect()
    } else {
        vec![SpanScore { begin: 0, end: position.of(text.len()), score: Score::of(verdict.probability) }]
    };
    AttributeScores { span_scores, summary_score: Score::of(verdict.probability) }
}
