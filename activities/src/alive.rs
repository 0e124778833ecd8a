//! Sends heartbeats to Temporal while an activity works.

use std::time::Duration;

use temporalio_common::data_converters::TemporalSerializable;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::failure::Failure;

/// A quarter of the heartbeat timeout: three heartbeats may be missed before the worker counts as dead.
const BEAT: Duration = Duration::from_secs(2);

/// Waits for `work` and sends a heartbeat every two seconds. Stops when the activity is cancelled.
pub(crate) async fn alive<T>(
    ctx: &ActivityContext,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, ActivityError> {
    tokio::select! {
        done = telling(ctx, work, || ()) => done,
        () = ctx.cancelled() => Err(ActivityError::cancelled()),
    }
}

/// Waits for `work` and reports its progress every two seconds. `work` must react to a cancellation itself.
pub(crate) async fn telling<T, D: TemporalSerializable + 'static>(
    ctx: &ActivityContext,
    work: impl Future<Output = Result<T, Failure>>,
    details: impl Fn() -> D,
) -> Result<T, ActivityError> {
    let mut beat = tokio::time::interval(BEAT);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done.map_err(Failure::into_activity_error),
            _ = beat.tick() => ctx.record_heartbeat(details()).await?,
        }
    }
}

/// Runs a computation on a separate thread, so that heartbeats and other activities continue.
pub(crate) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Failure::Panicked))
}
