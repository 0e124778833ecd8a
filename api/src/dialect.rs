//! Dialects: the APIs of other services that we speak.
//!
//! Their paths, where they send keys, the form of their errors.
//!
//! Every error starts as a [`Problem`]. Before it is sent, it is converted into the form that the dialect's clients
//! read. Sources: for Perspective its documentation ("Limits and errors",
//! github.com/conversationai/perspectiveapi) and `google.rpc.Status`; for moderations OpenAI's API reference ("Error
//! codes"); for inference the Open Inference Protocol, version 2 (github.com/kserve/open-inference-protocol).

use poem::{
    Error, Request, Response,
    http::{HeaderValue, StatusCode, header},
};
use serde_json::{Value, json};

use crate::problem::Problem;

/// The API of another service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Google's Comment Analyzer, known as Perspective API.
    Perspective,
    /// OpenAI's moderations.
    Moderations,
    /// The Open Inference Protocol.
    Inference,
}

impl Dialect {
    /// The dialect of a path.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let is_under =
            |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_under("/v1alpha1") {
            Some(Self::Perspective)
        } else if is_under("/v1") {
            Some(Self::Moderations)
        } else if is_under("/v2") {
            Some(Self::Inference)
        } else {
            None
        }
    }

    /// The key, if this dialect's clients send it outside the usual headers.
    pub(crate) fn key(self, request: &Request) -> Option<String> {
        if self != Self::Perspective {
            return None;
        }
        let in_address = || {
            let query = request.uri().query()?;
            form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "key").map(|(_, key)| key.into_owned())
        };
        request.header("x-goog-api-key").map(str::to_owned).or_else(in_address)
    }

    /// Converts an answer that is a problem into this dialect's form.
    pub(crate) fn translate(self, response: &mut Response) {
        let Some(problem) = response.data::<Problem>().cloned() else { return };
        let (status, body) = match self {
            Self::Perspective => google_error(&problem, response.data::<CommentError>()),
            Self::Moderations => openai_error(&problem),
            Self::Inference => (problem.status, json!({ "error": words(&problem) })),
        };
        response.set_status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        response.set_body(body.to_string());
    }
}

/// Google's methods follow a colon.
///
/// The router reads a colon as the start of a parameter, so routes have a slash there.
pub(crate) const METHODS: [(&str, &str); 2] = [
    ("/v1alpha1/comments:analyze", "/v1alpha1/comments/analyze"),
    ("/v1alpha1/comments:suggestscore", "/v1alpha1/comments/suggestscore"),
];

/// Replaces the path of a Google method by the path of its route.
pub(crate) fn make_routable(request: &mut Request) {
    if !request.uri().path().starts_with("/v1alpha1/comments") {
        return;
    }
    // Some clients escape the colon.
    let path = request.uri().path().replace("%3A", ":").replace("%3a", ":");
    let Some((_, route)) = METHODS.iter().find(|(method, _)| *method == path) else { return };
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    *request.uri_mut() = format!("{route}{query}").parse().expect("a path and a query that were parsed before");
}

/// A problem in one line: what is wrong and what to do.
fn words(problem: &Problem) -> String {
    format!("{}: {}", problem.title, problem.detail)
}

/// Why Perspective cannot score a comment: its `ErrorType`.
#[derive(Clone, Debug)]
pub(crate) enum CommentError {
    Empty,
    TooLong,
    NoRequestedAttributes,
    LanguageNotSupported {
        /// One of the served attributes, never the caller's text.
        attribute: &'static str,
    },
    InvalidRequest,
}

impl CommentError {
    /// The error that a route answers.
    pub(crate) fn because(self, message: impl Into<String>) -> Error {
        let mut error = Error::from(Problem::malformed(message));
        error.set_data(self);
        error
    }

    fn detail(&self) -> Value {
        let kind = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error";
        let error_type = match self {
            Self::Empty => "COMMENT_EMPTY",
            Self::TooLong => "COMMENT_TOO_LONG",
            Self::NoRequestedAttributes => "NO_REQUESTED_ATTRIBUTES",
            Self::LanguageNotSupported { .. } => "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
            Self::InvalidRequest => "INVALID_REQUEST",
        };
        let mut detail = json!({ "@type": kind, "errorType": error_type });
        if let Self::LanguageNotSupported { attribute } = self {
            detail["languageNotSupportedByAttributeError"] = json!({ "attribute": attribute });
        }
        detail
    }
}

/// `google.rpc.Status` in JSON.
fn google_error(problem: &Problem, comment: Option<&CommentError>) -> (u16, Value) {
    let (code, status) = match problem.status {
        // One status for a missing key and a wrong key.
        401 | 403 => (403, "PERMISSION_DENIED"),
        404 => (404, "NOT_FOUND"),
        408 | 504 => (504, "DEADLINE_EXCEEDED"),
        409 => (409, "ABORTED"),
        429 => (429, "RESOURCE_EXHAUSTED"),
        503 => (503, "UNAVAILABLE"),
        400..500 => (400, "INVALID_ARGUMENT"),
        _ => (500, "INTERNAL"),
    };
    let message = if comment.is_some() { problem.detail.clone() } else { words(problem) };
    let invalid = || (code == 400).then_some(&CommentError::InvalidRequest);
    let mut details: Vec<Value> = comment.or_else(invalid).map(CommentError::detail).into_iter().collect();
    if problem.status == 401 {
        let info = "type.googleapis.com/google.rpc.ErrorInfo";
        details.push(json!({ "@type": info, "reason": "API_KEY_INVALID", "domain": "googleapis.com" }));
    }
    let mut error = json!({ "code": code, "message": message, "status": status });
    if !details.is_empty() {
        error["details"] = details.into();
    }
    (code, json!({ "error": error }))
}

/// OpenAI's error object.
fn openai_error(problem: &Problem) -> (u16, Value) {
    let (status, kind, code) = match problem.status {
        401 => (401, "invalid_request_error", Some("invalid_api_key")),
        403 => (403, "invalid_request_error", Some("insufficient_permissions")),
        404 => (404, "invalid_request_error", None),
        429 => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        422 => (400, "invalid_request_error", None),
        status @ 400..500 => (status, "invalid_request_error", None),
        status => (status, "server_error", None),
    };
    (status, json!({ "error": { "message": words(problem), "type": kind, "param": null, "code": code } }))
}

#[cfg(test)]
mod tests {
    use poem::IntoResponse as _;

    use super::*;

    #[test]
    fn a_path_has_the_dialect_of_its_root() {
        for (path, dialect) in [
            ("/v1alpha1/comments:analyze", Some(Dialect::Perspective)),
            ("/v1/moderations", Some(Dialect::Moderations)),
            ("/v2", Some(Dialect::Inference)),
            ("/v2/models/threatwatch/infer", Some(Dialect::Inference)),
            ("/v20", None),
            ("/predict", None),
            ("/", None),
        ] {
            assert_eq!(Dialect::of(path), dialect, "{path}");
        }
    }

    #[test]
    fn every_problem_has_a_form_in_every_dialect() {
        for status in (400..600).filter_map(|status| StatusCode::from_u16(status).ok()) {
            for dialect in [Dialect::Perspective, Dialect::Moderations, Dialect::Inference] {
                let mut response = Problem::new(status, crate::kind::Kind::Internal, "why").into_response();
                dialect.translate(&mut response);
                assert!(response.status().as_u16() >= 400, "{dialect:?} {status}");
                assert!(response.status().is_client_error() == status.is_client_error() || status == 408, "{status}");
            }
        }
    }
}
