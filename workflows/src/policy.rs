//! How long each activity may take and how often it is tried, with the reason for each number.

use std::time::Duration;

use temporalio_common::RetryPolicy;
use temporalio_sdk::ActivityOptions;

use crate::{FINE_TUNING_QUEUE, failure};

/// Reads and writes of small objects: the store's limit is 15 s per operation, and a step has a handful.
pub(crate) fn short(summary: impl Into<String>) -> ActivityOptions {
    options(Duration::from_mins(2), summary.into())
}

/// Reading a dataset, fitting, scoring: an hour is enough for far more than ten million sentences.
pub(crate) fn long(summary: impl Into<String>) -> ActivityOptions {
    options(Duration::from_hours(1), summary.into())
}

/// Fine-tuning an encoder, on a separate queue from which a worker takes one at a time.
///
/// A day is enough for more than a million sentences on two cores. A worker that dies loses a minute of work.
pub(crate) fn fine_tuning(summary: impl Into<String>) -> ActivityOptions {
    let mut options = options(Duration::from_hours(24), summary.into());
    options.task_queue = Some(FINE_TUNING_QUEUE.to_owned());
    options
}

/// An addition to the report of a finished promotion: three attempts of 15 s, then it is left out.
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
        // About a quarter of an hour. Then the run fails and names the cause, so that an operator can look.
        .retry_policy(retry(TRIES))
        .summary(summary)
        .build()
}

/// Attempts of an activity before its run fails.
pub const TRIES: u32 = 35;

/// A dead worker is noticed after this time. Activities send a heartbeat every two seconds.
pub(crate) const BEATS_MISSED: Duration = Duration::from_secs(8);

/// Outages pass: the pause between attempts grows from half a second to at most half a minute.
fn retry(tries: u32) -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(Duration::from_millis(500))
        .backoff_coefficient(2.0)
        .maximum_interval(Duration::from_secs(30))
        .maximum_attempts(tries)
        .non_retryable_error_types(failure::FINAL)
        .build()
}
