//! Long CPU work runs outside the threads that answer requests.

/// Does the work on a thread for blocking work.
///
/// A panic of the work is raised again here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let working = tokio::task::spawn_blocking(work).await;
    working.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))
}
