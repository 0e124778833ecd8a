//! The routes, one file per noun, and their OpenAPI document.

mod audit;
mod backtests;
mod batch;
mod codec;
mod curves;
mod discovery;
mod drift;
mod feedback;
mod health;
mod inference;
mod labelling;
mod models;
mod moderations;
mod perspective;
mod predict;
mod promotion;
mod runs;
mod shadow;
mod training;

use poem_openapi::{LicenseObject, OpenApiService, Tags};
use serde_json::Value;

pub use self::perspective::PerspectiveSettings;
pub(crate) use self::{batch::is_lines, discovery::Discovery};
use crate::{context::Context, dialect};

#[derive(Tags)]
enum Tag {
    /// Verdicts.
    Predict,
    /// Decisions of reviewers, and the choice of comments to label.
    Feedback,
    /// Registered versions, production, drift, backtests.
    Models,
    /// Training, promotion, rollback, approval, audit trail.
    Operations,
    /// For clients of other services: Perspective API, OpenAI's moderations, the Open Inference Protocol.
    Dialects,
    /// The state of the service, and the caller.
    Health,
}

/// Every route that the OpenAPI document describes.
pub(crate) type Api = (
    predict::Predict,
    batch::Batch,
    // A tuple may have at most sixteen elements.
    (perspective::Perspective, moderations::Moderations, inference::Inference),
    feedback::FeedbackRoutes,
    labelling::Labelling,
    models::Models,
    curves::Curves,
    drift::DriftRoutes,
    backtests::Backtests,
    shadow::ShadowRoutes,
    training::Training,
    promotion::Promotion,
    (runs::Runs, codec::CodecRoutes),
    audit::Audit,
    health::Health,
);

pub(crate) fn service(context: &Context) -> OpenApiService<Api, ()> {
    let api = (
        predict::Predict(context.clone()),
        batch::Batch(context.clone()),
        (
            perspective::Perspective(context.clone()),
            moderations::Moderations(context.clone()),
            inference::Inference(context.clone()),
        ),
        feedback::FeedbackRoutes::new(context.clone()),
        labelling::Labelling(context.clone()),
        models::Models::new(context.clone()),
        curves::Curves(context.clone()),
        drift::DriftRoutes(context.clone()),
        backtests::Backtests(context.clone()),
        shadow::ShadowRoutes(context.clone()),
        training::Training(context.clone()),
        promotion::Promotion(context.clone()),
        (runs::Runs(context.clone()), codec::CodecRoutes(context.clone())),
        audit::Audit(context.clone()),
        health::Health(context.clone()),
    );
    OpenApiService::new(api, "threatwatch", env!("CARGO_PKG_VERSION"))
        .description("Finds violent threats in online discussions: verdicts, models, promotion.")
        .license(LicenseObject::new("Apache-2.0"))
}

/// The OpenAPI document, with callers' paths and in a form for client generators.
pub(crate) fn document(service: &OpenApiService<Api, ()>) -> String {
    let mut document: Value = serde_json::from_str(&service.spec()).expect("the document is JSON");
    simplify(&mut document);
    let document = document.to_string();
    dialect::METHODS.iter().fold(document, |document, (path, route)| document.replace(route, path))
}

/// Swagger UI, which contains the document.
pub(crate) fn swagger(service: &OpenApiService<Api, ()>) -> String {
    service.swagger_ui_html().replace(&service.spec(), &document(service))
}

/// Replaces a reference with its own description by the plain reference.
///
/// Such a reference is an `allOf` of one schema, which few client generators read. The schema keeps its description.
fn simplify(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Object(fields) => {
            let is_bare = fields.keys().all(|name| name == "allOf" || name == "description");
            let reference =
                fields.get("allOf").and_then(|parts| parts.as_array()?.iter().find(|part| part.get("$ref").is_some()));
            match reference.cloned().filter(|_| is_bare) {
                Some(reference) => *value = reference,
                None => fields.values_mut().for_each(simplify),
            }
        }
        _ => {}
    }
}

/// Adds the errors to a route's answers. Every error is `application/problem+json`.
macro_rules! answers {
    ($(#[$doc:meta])* $name:ident { $($rest:tt)* }) => {
        $(#[$doc])*
        #[derive(poem_openapi::ApiResponse)]
        enum $name {
            $($rest)*
            /// The request cannot be read.
            #[oai(status = 400, content_type = "application/problem+json")]
            BadRequest(poem_openapi::payload::Json<crate::problem::Problem>),
            /// An API key is required, or the key is wrong or revoked.
            #[oai(status = 401, content_type = "application/problem+json")]
            Unauthorized(poem_openapi::payload::Json<crate::problem::Problem>),
            /// The API key lacks the role, or the request comes from a page of another origin.
            #[oai(status = 403, content_type = "application/problem+json")]
            Forbidden(poem_openapi::payload::Json<crate::problem::Problem>),
            /// The named version, run or entry does not exist.
            #[oai(status = 404, content_type = "application/problem+json")]
            NotFound(poem_openapi::payload::Json<crate::problem::Problem>),
            /// Production is not at the expected generation, or another operation is running.
            #[oai(status = 409, content_type = "application/problem+json")]
            Conflict(poem_openapi::payload::Json<crate::problem::Problem>),
            /// The body is too large.
            #[oai(status = 413, content_type = "application/problem+json")]
            TooLarge(poem_openapi::payload::Json<crate::problem::Problem>),
            /// The content type is not JSON, or the body is compressed.
            #[oai(status = 415, content_type = "application/problem+json")]
            UnsupportedMediaType(poem_openapi::payload::Json<crate::problem::Problem>),
            /// A value is invalid, or the gate refuses.
            #[oai(status = 422, content_type = "application/problem+json")]
            Unprocessable(poem_openapi::payload::Json<crate::problem::Problem>),
            /// The key is over its rate limit, or the service is at a limit.
            #[oai(status = 429, content_type = "application/problem+json")]
            TooMany(
                poem_openapi::payload::Json<crate::problem::Problem>,
                /// Seconds to wait before the next try.
                #[oai(header = "Retry-After")] u32,
            ),
            /// The service failed.
            #[oai(status = 500, content_type = "application/problem+json")]
            Internal(poem_openapi::payload::Json<crate::problem::Problem>),
            /// There is no model, or a part does not answer.
            /// The body says what to do.
            #[oai(status = 503, content_type = "application/problem+json")]
            Unavailable(
                poem_openapi::payload::Json<crate::problem::Problem>,
                /// Seconds to wait before the next try.
                #[oai(header = "Retry-After")] u32,
            ),
        }

        impl From<crate::problem::Problem> for $name {
            fn from(problem: crate::problem::Problem) -> Self {
                let status = problem.status;
                let body = poem_openapi::payload::Json(problem);
                match status {
                    400 => Self::BadRequest(body),
                    401 => Self::Unauthorized(body),
                    403 => Self::Forbidden(body),
                    404 => Self::NotFound(body),
                    409 => Self::Conflict(body),
                    413 => Self::TooLarge(body),
                    415 => Self::UnsupportedMediaType(body),
                    422 => Self::Unprocessable(body),
                    429 => Self::TooMany(body, 1),
                    503 => Self::Unavailable(body, crate::problem::RETRY_AFTER),
                    _ => Self::Internal(body),
                }
            }
        }

        impl From<registry::Error> for $name {
            fn from(error: registry::Error) -> Self {
                crate::problem::Problem::from(error).into()
            }
        }
    };
}
use answers;

/// The answers of a dialect's route: its own, or an error in the dialect's form.
macro_rules! dialect_answers {
    ($name:ident, $ok:ty, $error:ty) => {
        #[derive(poem_openapi::ApiResponse)]
        #[allow(dead_code, reason = "errors are described here and made by the dialect")]
        enum $name {
            #[oai(status = 200)]
            Ok(Json<$ok>),
            /// The request is wrong.
            #[oai(status = 400)]
            Invalid(Json<$error>),
            /// An API key is required, or the key is wrong.
            #[oai(status = 401)]
            Unauthorized(Json<$error>),
            /// The key lacks the role, or the request comes from a page of another origin.
            #[oai(status = 403)]
            Forbidden(Json<$error>),
            /// The named model or version does not exist.
            #[oai(status = 404)]
            NotFound(Json<$error>),
            /// The body is too large.
            #[oai(status = 413)]
            TooLarge(Json<$error>),
            /// The content type is wrong, or the body is compressed.
            #[oai(status = 415)]
            UnsupportedMediaType(Json<$error>),
            /// A value is invalid.
            #[oai(status = 422)]
            Unprocessable(Json<$error>),
            /// Too many requests.
            #[oai(status = 429)]
            TooMany(Json<$error>),
            /// The service failed.
            #[oai(status = 500)]
            Internal(Json<$error>),
            /// There is no model yet, or the object store does not answer.
            #[oai(status = 503)]
            Unavailable(Json<$error>),
        }
    };
}
use dialect_answers;
