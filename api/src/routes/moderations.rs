//! OpenAI's `/v1/moderations`, for its clients.
//!
//! Shapes are from OpenAI's API reference ("Moderations"). The model finds threats of violence only. The three
//! categories for threats get its score. All others are false and 0, which says nothing about the comment.

use std::collections::BTreeMap;

use model::Version;
use poem::Result;
use poem_openapi::{Object, OpenApi, payload::Json, types::Any};
use serde_json::Value;

use super::{Tag, batch::MOST, dialect_answers};
use crate::{
    body::Body,
    caller::{self, By},
    context::Context,
    judging::Judged,
    many::Item,
    problem::Problem,
    request_id,
    serving::Live,
};

/// Categories that are threats of violence.
const THREATS: [&str; 3] = ["harassment/threatening", "hate/threatening", "violence"];
/// Categories that the model knows nothing about.
const OTHERS: [&str; 10] = [
    "harassment",
    "hate",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence/graphic",
];

pub(crate) struct Moderations(pub(crate) Context);

/// Texts to judge.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct ModerationRequest {
    /// A text, a list of texts, or a list of parts of one comment: `{"type":"text","text":"..."}`.
    input: Any<Value>,
    /// A registered version to judge with. Any other name means the model in production.
    model: Option<String>,
}

/// One result per text.
#[derive(Debug, Object)]
struct ModerationResponse {
    id: String,
    /// The version that judged.
    model: String,
    results: Vec<ModerationResult>,
}

#[derive(Debug, Object)]
struct ModerationResult {
    /// Whether it is a threat.
    flagged: bool,
    /// `violence`, `harassment/threatening` and `hate/threatening` are true for a threat. All others are always false:
    /// the model does not judge them.
    categories: BTreeMap<String, bool>,
    /// The probability of a threat for these three. 0 for all others.
    category_scores: BTreeMap<String, f64>,
    /// `text` for the judged categories, empty for all others.
    category_applied_input_types: BTreeMap<String, Vec<String>>,
}

/// OpenAI's error.
#[derive(Debug, Object)]
#[oai(rename = "ModerationError")]
struct ErrorBody {
    error: ErrorObject,
}

#[derive(Debug, Object)]
#[oai(rename = "ModerationErrorObject")]
struct ErrorObject {
    message: String,
    /// e.g. `invalid_request_error`.
    #[oai(rename = "type")]
    kind: String,
    /// Always null.
    param: Any<Value>,
    /// e.g. `invalid_api_key`, or null.
    code: Any<Value>,
}

dialect_answers!(Moderated, ModerationResponse, ErrorBody);

/// One of several texts.
struct Text(String);

impl Item for Text {
    type Answer = ModerationResult;

    fn text(&self) -> Option<&str> {
        Some(&self.0)
    }

    fn answer(self, judged: Option<Judged>, _: &Live, _: bool) -> ModerationResult {
        let (flagged, score) =
            judged.map_or((false, 0.0), |judged| (judged.verdict.is_threat, judged.verdict.probability));
        let of = |name: &&str| THREATS.contains(name);
        let names = || THREATS.iter().chain(&OTHERS);
        let by_name = |name: &&str| (*name).to_owned();
        ModerationResult {
            flagged,
            categories: names().map(|name| (by_name(name), flagged && of(name))).collect(),
            category_scores: names().map(|name| (by_name(name), if of(name) { score } else { 0.0 })).collect(),
            category_applied_input_types: names()
                .map(|name| (by_name(name), if of(name) { vec!["text".to_owned()] } else { Vec::new() }))
                .collect(),
        }
    }
}

#[OpenApi]
impl Moderations {
    /// Judge texts, like OpenAI's moderations.
    #[oai(path = "/v1/moderations", method = "post", tag = "Tag::Dialects")]
    async fn post(&self, _by: By<caller::Predict>, body: Body<ModerationRequest>) -> Result<Moderated> {
        let ModerationRequest { input: Any(input), model } = body.0;
        let texts = texts(input)?;
        self.0.check_texts(&texts)?;
        let version = model.filter(|model| Version::parse(model).is_ok());
        let live = self.0.model(version.as_deref()).await?;
        let results = self.0.judge_list(&live, false, texts.into_iter().map(Text).collect()).await;
        Ok(Moderated::Ok(Json(ModerationResponse {
            id: format!("modr-{}", request_id::current().unwrap_or_default()),
            model: live.manifest.version.to_string(),
            results,
        })))
    }
}

/// The texts of an input. Parts of one comment are joined into one text.
fn texts(input: Value) -> Result<Vec<String>, Problem> {
    let items = match input {
        Value::String(text) => return Ok(vec![text]),
        Value::Array(items) if (1..=MOST).contains(&items.len()) => items,
        Value::Array(items) => {
            let detail = format!("`input` has {} entries; 1 to {MOST} are allowed.", items.len());
            return Err(Problem::malformed(detail));
        }
        _ => return Err(Problem::malformed("`input` must be a string or a list.")),
    };
    if items.iter().all(Value::is_string) {
        return Ok(items.into_iter().filter_map(|item| item.as_str().map(str::to_owned)).collect());
    }
    let part = |item: &Value| {
        let is_text = item.get("type").and_then(Value::as_str) == Some("text");
        item.get("text").and_then(Value::as_str).filter(|_| is_text).map(str::to_owned)
    };
    let parts: Option<Vec<String>> = items.iter().map(part).collect();
    let detail = "`input` must be a list of strings, or of parts with the type `text`. Images are not judged.";
    parts.map(|parts| vec![parts.join("\n")]).ok_or_else(|| Problem::malformed(detail))
}
