//! How long each activity may take and how often it is tried, with the reason beside each number.

use std::time::Duration;

use temporalio_common::RetryPolicy;
use temporalio_sdk::ActivityOptions;

use crate::{FINE_TUNING_QUEUE, failure};

/// Reads and writes of small objects: the store's own bound is 15 s an operation, and a step has a handful.
pub(crate) fn short(summary: impl Into<String>) -> ActivityOptions {
    options(Duration::from_mins(2), summary.into())
}

/// Reading a dataset, fitting, scoring: an hour is far past ten million sentences.
pub(crate) fn long(summary: impl Into<String>) -> ActivityOptions {
    options(Duration::from_hours(1), summary.into())
}

/// Fine-tuning an encoder, on a queue of its own where a worker takes one at a time: a day is past a million sentences
/// on two cores, and what is lost with a worker is a minute.
pub(crate) fn fine_tuning(summary: impl Into<String>) -> ActivityOptions {
    let mut options = options(Duration::from_hours(24), summary.into());
    options.task_queue = Some(FINE_TUNING_QUEUE.to_owned());
    options
}

/// What a finished promotion adds to its report: three tries of 15 s, and then it goes without.
pub(crate) fn brief(summary: impl Into<String>) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(Duration::from_secs(15))
        .heartbeat_timeout(BEATS_MISSED)
        .retry_policy(retry(3))
        .summary(summary.into())
        .build()
}

fn options(start_to_close: Duration, summary: String) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(start_to_close)
        .heartbeat_timeout(BEATS_MISSED)
        // About a quarter of an hour; then somebody should look, and the run says what failed.
        .retry_policy(retry(TRIES))
        .summary(summary)
        .build()
}

/// Tries of an activity before its run fails.
pub const TRIES: u32 = 35;

/// A worker that dies is noticed after this time; activities report themselves alive every two seconds.
pub(crate) const BEATS_MISSED: Duration = Duration::from_secs(8);

/// Outages pass: half a second at first, never more than half a minute apart.
fn retry(tries: u32) -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(Duration::from_millis(500))
        .backoff_coefficient(2.0)
        .maximum_interval(Duration::from_secs(30))
        .maximum_attempts(tries)
        .non_retryable_error_types(failure::FINAL)
        .build()
}
