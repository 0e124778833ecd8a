//! The id of a request, for the answer, the log line and the problem.

use poem::{Request, http::HeaderValue};

/// The header with the id, in requests and answers.
pub(crate) const HEADER: &str = "x-request-id";
/// Longest accepted id of a caller.
const LONGEST: usize = 128;

tokio::task_local! {
    static CURRENT: String;
}

/// The caller's id if it is plain, else a new one of 32 hex digits.
///
/// A plain id has letters, digits, `.`, `_` and `-`.
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

/// Runs the answering of a request with its id as the current one.
pub(crate) async fn within<T>(id: String, answering: impl Future<Output = T>) -> T {
    CURRENT.scope(id, answering).await
}

/// Runs `work` with the id of its request as the current one.
pub(crate) fn within_at_once<T>(id: String, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(id, work)
}

/// The id of the request that this task answers, if any.
///
/// It has letters, digits, `.`, `_` and `-`.
#[must_use]
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// As a header's value.
pub(crate) fn value(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).expect("an id is plain")
}
