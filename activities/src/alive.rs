//! Tells Temporal that an activity is alive while it works.

use std::time::Duration;

use temporalio_common::data_converters::TemporalSerializable;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::failure::Failure;

/// A quarter of the heartbeat timeout: a beat may be late three times before the worker counts as dead.
const BEAT: Duration = Duration::from_secs(2);

/// Waits for `work`, sending a heartbeat every two seconds; gives up when the activity is cancelled.
pub(crate) async fn alive<T>(
    ctx: &ActivityContext,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, ActivityError> {
    tokio::select! {
        done = telling(ctx, work, || ()) => done,
        () = ctx.cancelled() => Err(ActivityError::cancelled()),
    }
}

/// Waits for `work`, telling where it stands every two seconds. What ends when the activity is cancelled is up to it.
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

/// Runs a computation on a thread of its own, so that heartbeats and other activities go on.
pub(crate) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Failure::Panicked))
}
