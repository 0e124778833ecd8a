//! Every error as RFC 9457 `application/problem+json`. Never repeats the caller's text.

use std::{collections::BTreeMap, sync::Arc};

use poem::{
    Error, IntoResponse, PathPattern, Response,
    error::{MethodNotAllowedError, NotFoundError},
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    Object,
    error::{ContentTypeError, ParseParamError, ParsePathError},
};
use serde::Serialize;
use workflows::{failure, orchestrator};

use crate::{body::Refused, kind::Kind, request_id, written};

/// Seconds until a retry makes sense while a part is away.
pub(crate) const RETRY_AFTER: u32 = 2;

/// RFC 9457 problem details.
#[derive(Clone, Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct Problem {
    /// The kind of problem, e.g. `/problems/no-model`: the path of a page that explains it.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The kind in a few words.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What happened and what to do.
    pub(crate) detail: String,
    /// The request id, as in the log and in the header `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind: kind.path(),
            title: kind.title().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            request_id: request_id::current(),
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::InvalidInput, detail)
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Kind::MalformedRequest, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Kind::NotFound, detail)
    }

    pub(crate) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Stopping, "This replica is shutting down.")
    }

    pub(crate) fn no_model() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Kind::NoModel,
            "Train a model with POST /train, then promote it with POST /promote. GET /models lists the versions.",
        )
    }

    pub(crate) fn store_unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::StoreUnavailable, detail)
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
            E::NotFound { .. } | E::Retired(_) => Self::new(StatusCode::NOT_FOUND, Kind::NotFound, detail),
            E::Conflict { .. } => Self::new(StatusCode::CONFLICT, Kind::Conflict, detail),
            E::NothingToRollBackTo => Self::new(StatusCode::CONFLICT, Kind::NoRollbackTarget, detail),
            E::NothingInProduction => Self::no_model(),
            E::Corpus(_) | E::Changed | E::Foreign { .. } => Self::invalid(detail),
            E::Unsafe(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::StoreUnsafe, detail),
            // No route reads from a source.
            E::Panicked | E::Source { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, Kind::Internal, detail),
            E::Corrupt { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, Kind::Corrupt, detail),
            E::Store(_) | E::BeingDeleted { .. } | E::HeldUp(_) => Self::store_unavailable(detail),
        }
    }
}

impl From<orchestrator::Error> for Problem {
    fn from(error: orchestrator::Error) -> Self {
        use orchestrator::Error as E;
        let detail = error.to_string();
        match error {
            E::Settings(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, Kind::Internal, detail),
            E::Unreachable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::OrchestratorUnavailable, detail),
            E::AlreadyRunning { .. } => Self::new(StatusCode::CONFLICT, Kind::OperationInProgress, detail),
            // Its message repeats the id that the caller wrote.
            E::NotFound(_) => {
                let detail = "There is no such workflow, or it has ended.";
                Self::new(StatusCode::NOT_FOUND, Kind::NotFound, detail)
            }
            E::Failed { kind, message } => match kind.as_str() {
                failure::INVALID_INPUT | failure::INVALID_DATASET => Self::invalid(message),
                failure::NOT_FOUND => Self::new(StatusCode::NOT_FOUND, Kind::NotFound, message),
                failure::CONFLICT => Self::new(StatusCode::CONFLICT, Kind::Conflict, message),
                failure::NOT_WAITING => Self::new(StatusCode::CONFLICT, Kind::NotWaiting, message),
                failure::NO_TARGET => Self::new(StatusCode::CONFLICT, Kind::NoRollbackTarget, message),
                failure::STORE_UNSAFE => Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::StoreUnsafe, message),
                failure::GATE_FAILED => Self::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::GateFailed, message),
                failure::CORRUPT => Self::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::Corrupt, message),
                _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, Kind::Internal, message),
            },
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code();
        let body = written::text(&self);
        let mut response =
            Response::builder().status(status).header(header::CONTENT_TYPE, "application/problem+json").body(body);
        // A dialect makes its error from it.
        response.set_data(self);
        let headers = response.headers_mut();
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"threatwatch\""));
            }
            _ => {}
        }
        response
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let mut error = Self::from_response(problem.clone().into_response());
        // The response's own data is lost on the way.
        error.set_data(problem);
        error
    }
}

/// The methods of each path, for the header `Allow`.
#[derive(Clone)]
pub(crate) struct Methods(Arc<BTreeMap<String, HeaderValue>>);

impl Methods {
    /// Reads the methods from an OpenAPI document.
    pub(crate) fn of(document: &str) -> Self {
        let document: serde_json::Value = serde_json::from_str(document).expect("the document is JSON");
        let paths = document["paths"].as_object().into_iter().flatten();
        let methods = paths.map(|(path, item)| {
            let mut methods: Vec<String> =
                item.as_object().into_iter().flatten().map(|(m, _)| m.to_uppercase()).collect();
            if methods.iter().any(|method| method == "GET") {
                methods.push("HEAD".to_owned());
            }
            let allow = HeaderValue::from_str(&methods.join(", ")).expect("methods are words");
            (path.replace('{', ":").replace('}', ""), allow)
        });
        Self(Arc::new(methods.collect()))
    }

    /// Every path that is not in the document is a page.
    fn allowed_at(&self, pattern: Option<&PathPattern>) -> HeaderValue {
        let known = pattern.and_then(|pattern| {
            let path = pattern.0.trim_end_matches('/');
            self.0.get(path).or_else(|| self.0.get(&*pattern.0)).cloned()
        });
        known.unwrap_or(HeaderValue::from_static("GET, HEAD"))
    }
}

/// Converts the framework's errors.
/// Their messages may repeat the caller's text, so only their kind is used.
pub(crate) async fn from_error(error: Error, methods: Methods) -> Response {
    // The request is counted under its route.
    let pattern = error.data::<PathPattern>().cloned();
    let allow = error.is::<MethodNotAllowedError>().then(|| methods.allowed_at(pattern.as_ref()));
    let mut response = if error.is_from_response() { error.into_response() } else { describe(&error).into_response() };
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    if let Some(pattern) = pattern {
        response.set_data(pattern);
    }
    response
}

fn describe(error: &Error) -> Problem {
    let status = error.status();
    if let Some(Refused(detail)) = error.downcast_ref() {
        Problem::malformed(detail)
    } else if let Some(error) = error.downcast_ref::<ParseParamError>() {
        Problem::new(status, Kind::MalformedRequest, format!("The parameter `{}` is missing or malformed.", error.name))
    } else if let Some(error) = error.downcast_ref::<ParsePathError>() {
        Problem::new(status, Kind::MalformedRequest, format!("The path segment `{}` is malformed.", error.name))
    } else if error.is::<ContentTypeError>() {
        let detail = "Send the header `Content-Type: application/json`.";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Kind::UnsupportedMediaType, detail)
    } else if error.is::<MethodNotAllowedError>() {
        let detail = "The header `Allow` lists the methods of this path.";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, Kind::MethodNotAllowed, detail)
    } else if error.is::<NotFoundError>() || status == StatusCode::NOT_FOUND {
        let detail = "There is nothing at this path. /docs lists the paths.";
        Problem::new(StatusCode::NOT_FOUND, Kind::NotFound, detail)
    } else {
        tracing::error!(request.id = request_id::current(), %status, "a request failed inside the framework");
        let detail = "The request could not be answered.";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, Kind::Internal, detail)
    }
}

/// The answer of a handler that panicked: 500. The service keeps running.
pub(crate) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!(request.id = request_id::current(), "a request handler panicked");
    let detail = "The request could not be answered.";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, Kind::Internal, detail).into_response()
}
