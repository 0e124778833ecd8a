//! JSON answers that are written directly from their types.
//!
//! The framework's JSON payload builds a tree of values first, which takes about as long as a verdict. The schema is
//! the type's; a test compares both forms of an answer.

use poem::{IntoResponse, Response};
use poem_openapi::{
    payload::{Json, Payload},
    registry::{MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;

/// Initial buffer of an answer, in bytes.
const USUAL: usize = 1024;

/// An answer that is an `application/json` object of the form of `T`.
pub(crate) struct Written<T>(pub(crate) T);

impl<T: Type> Payload for Written<T> {
    const CONTENT_TYPE: &'static str = Json::<T>::CONTENT_TYPE;

    fn check_content_type(content_type: &str) -> bool {
        Json::<T>::check_content_type(content_type)
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + Serialize + Send> IntoResponse for Written<T> {
    fn into_response(self) -> Response {
        Response::builder().content_type(Self::CONTENT_TYPE).body(text(&self.0))
    }
}

/// An answer, or a part of one, as JSON.
pub(crate) fn text(value: &impl Serialize) -> String {
    let mut bytes = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut bytes, value).expect("an answer has nothing that JSON cannot say");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}
