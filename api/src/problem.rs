//! Every error as RFC 9457 `application/problem+json`. The caller's text is never repeated.

use poem::{
    Error, IntoResponse, PathPattern, Response,
    error::{MethodNotAllowedError, NotFoundError},
    http::{StatusCode, header},
};
use poem_openapi::{
    Object,
    error::{ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError},
};
use workflows::{failure, orchestrator};

/// RFC 9457 problem details.
#[derive(Clone, Debug, Object)]
pub(crate) struct Problem {
    /// What kind of problem, e.g. `/problems/no-model`.
    #[oai(rename = "type")]
    pub(crate) kind: String,
    /// The kind in words.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What happened and what to do.
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        let title = match kind {
            "malformed-request" => "The request cannot be read",
            "invalid-input" => "The input is invalid",
            "payload-too-large" => "The request is too large",
            "unsupported-media-type" => "The content type is not supported",
            "method-not-allowed" => "The method is not allowed here",
            "not-found" => "Not found",
            "conflict" => "Production has changed",
            "operation-in-progress" => "Another promotion or rollback is running",
            "store-unsafe" => "The object store cannot be trusted with promotions",
            "not-waiting" => "The run does not wait for approval",
            "gate-failed" => "The gate refuses the model",
            "no-rollback-target" => "There is nothing to go back to",
            "corrupt" => "Stored bytes are corrupt",
            "no-model" => "No model is in production",
            "store-unavailable" => "The object store does not answer",
            "orchestrator-unavailable" => "Temporal does not answer",
            "timeout" => "The request took too long",
            _ => "Internal error",
        };
        Self {
            kind: format!("/problems/{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-input", detail)
    }

    pub(crate) fn no_model() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-model",
            "Train one with POST /train, then promote it with POST /promote; GET /models lists what there is.",
        )
    }

    fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<registry::Error> for Problem {
    fn from(error: registry::Error) -> Self {
        use registry::Error as E;
        let detail = error.to_string();
        match error {
            E::NotFound { .. } | E::Retired(_) => Self::new(StatusCode::NOT_FOUND, "not-found", detail),
            E::Conflict { .. } => Self::new(StatusCode::CONFLICT, "conflict", detail),
            E::NothingToRollBackTo => Self::new(StatusCode::CONFLICT, "no-rollback-target", detail),
            E::NothingInProduction => Self::no_model(),
            E::Corpus(_) | E::Changed => Self::invalid(detail),
            E::Unsafe(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unsafe", detail),
            E::Panicked => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail),
            E::Corrupt { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "corrupt", detail),
            E::Store(_) | E::BeingDeleted { .. } | E::HeldUp(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", detail)
            }
        }
    }
}

impl From<orchestrator::Error> for Problem {
    fn from(error: orchestrator::Error) -> Self {
        use orchestrator::Error as E;
        let detail = error.to_string();
        match error {
            E::Settings(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail),
            E::Unreachable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "orchestrator-unavailable", detail),
            E::AlreadyRunning { .. } => Self::new(StatusCode::CONFLICT, "operation-in-progress", detail),
            E::NotFound(_) => Self::new(StatusCode::NOT_FOUND, "not-found", detail),
            E::Failed { kind, message } => match kind.as_str() {
                failure::INVALID_INPUT | failure::INVALID_DATASET => Self::invalid(message),
                failure::NOT_FOUND => Self::new(StatusCode::NOT_FOUND, "not-found", message),
                failure::CONFLICT => Self::new(StatusCode::CONFLICT, "conflict", message),
                failure::NOT_WAITING => Self::new(StatusCode::CONFLICT, "not-waiting", message),
                failure::NO_TARGET => Self::new(StatusCode::CONFLICT, "no-rollback-target", message),
                failure::STORE_UNSAFE => Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unsafe", message),
                failure::GATE_FAILED => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "gate-failed", message),
                failure::CORRUPT => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "corrupt", message),
                _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message),
            },
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code();
        let body = poem_openapi::types::ToJSON::to_json_string(&self);
        let mut response =
            Response::builder().status(status).header(header::CONTENT_TYPE, "application/problem+json").body(body);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("2"));
        }
        response
    }
}

/// The framework's own errors. Their words may hold the caller's text, so only their kind is used.
pub(crate) async fn from_error(error: Error) -> Response {
    let mut response = describe(&error).into_response();
    // The route is what the request is counted under.
    if let Some(pattern) = error.data::<PathPattern>() {
        response.set_data(pattern.clone());
    }
    response
}

fn describe(error: &Error) -> Problem {
    let status = error.status();
    if let Some(error) = error.downcast_ref::<ParseParamError>() {
        Problem::new(status, "malformed-request", format!("The parameter `{}` is missing or malformed.", error.name))
    } else if let Some(error) = error.downcast_ref::<ParsePathError>() {
        Problem::new(status, "malformed-request", format!("The path segment `{}` is malformed.", error.name))
    } else if let Some(broken) = error.downcast_ref::<ParseRequestPayloadError>().and_then(|e| broken_rule(&e.reason)) {
        Problem::new(status, "malformed-request", format!("The body breaks a rule of /docs: {broken}."))
    } else if error.is::<ParseRequestPayloadError>() {
        let detail =
            "The body is not the JSON object that /docs describes: see the names and types of its fields there.";
        Problem::new(status, "malformed-request", detail)
    } else if error.is::<ContentTypeError>() {
        Problem::new(status, "unsupported-media-type", "Send the header `Content-Type: application/json`.")
    } else if error.is::<MethodNotAllowedError>() {
        Problem::new(status, "method-not-allowed", "See /docs for the methods of this path.")
    } else if error.is::<NotFoundError>() || status == StatusCode::NOT_FOUND {
        Problem::new(status, "not-found", "There is nothing at this path; see /docs for what there is.")
    } else {
        tracing::error!(%status, "a request failed inside the framework");
        Problem::new(status, "internal", "The request could not be answered.")
    }
}

/// The rule that a field breaks, as `text: maxLength(10000)`. Both words are from our own document, not the caller's.
fn broken_rule(reason: &str) -> Option<String> {
    let (_, rest) = reason.split_once("\": field `")?;
    let (field, rule) = rest.split_once("` verification failed. ")?;
    let (name, bound) = rule.strip_suffix(')')?.split_once('(')?;
    let is_ours = field.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphabetic())
        && bound.bytes().all(|b| b.is_ascii_digit());
    is_ours.then(|| format!("{field}: {rule}"))
}

/// A handler that panicked answers 500; the service goes on.
pub(crate) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request handler panicked");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The request could not be answered.").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rules_of_our_own_document_are_repeated() {
        let ours = "failed to parse \"PredictRequest\": field `text` verification failed. maxLength(10000)";
        assert_eq!(broken_rule(ours).as_deref(), Some("text: maxLength(10000)"));
        for theirs in [
            "failed to parse \"PredictRequest\": unknown field `canary` verification failed. words`.",
            "failed to parse \"PredictRequest\": unknown field `x\": field `text` verification failed. canary(1)`.",
            "failed to parse \"string\": \"canary\"",
        ] {
            assert_eq!(broken_rule(theirs), None, "{theirs}");
        }
    }
}
