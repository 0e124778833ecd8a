//! The id of a request: in the answer, in the log line, in the problem.

use poem::{Request, http::HeaderValue};

/// The header that brings an id and takes it back.
pub(crate) const HEADER: &str = "x-request-id";
/// Longest id of a caller's that is taken over.
const LONGEST: usize = 128;

tokio::task_local! {
    static CURRENT: String;
}

/// The caller's id, if it is plain (letters, digits, `.`, `_`, `-`), else a new one of 32 hex digits.
pub(crate) fn of(request: &Request) -> String {
    let is_plain = |id: &&str| {
        !id.is_empty()
            && id.len() <= LONGEST
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    match request.header(HEADER).filter(is_plain) {
        Some(id) => id.to_owned(),
        None => hex::encode(rand::random::<[u8; 16]>()),
    }
}

/// Answers a request under its id.
pub(crate) async fn within<T>(id: String, answering: impl Future<Output = T>) -> T {
    CURRENT.scope(id, answering).await
}

/// Does `work` at once, under the id of the request that it belongs to.
pub(crate) fn within_at_once<T>(id: String, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(id, work)
}

/// The id of the request that this task answers, if it answers one: letters, digits, `.`, `_` and `-`.
#[must_use]
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// As a header's value.
pub(crate) fn value(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).expect("an id is plain")
}
