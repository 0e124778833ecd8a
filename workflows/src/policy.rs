//! How long each activity may take and how often it is tried, with the reason beside each number.

use std::time::Duration;

use temporalio_common::RetryPolicy;
use temporalio_sdk::ActivityOptions;

use crate::failure;

/// Reads and writes of small objects: the store's own bound is 15 s an operation, and a step has a handful.
pub(crate) fn short(summary: impl Into<String>) -> ActivityOptions {
    options(Duration::from_mins(2), summary.into())
}

/// Reading a dataset, fitting, scoring: an hour is far past ten million sentences.
pub(crate) fn long(summary: impl Into<String>) -> ActivityOptions {
    options(Duration::from_hours(1), summary.into())
}

fn options(start_to_close: Duration, summary: String) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(start_to_close)
        // A worker that dies is noticed after this time; activities report themselves alive every two seconds.
        .heartbeat_timeout(Duration::from_secs(8))
        .retry_policy(retry())
        .summary(summary)
        .build()
}

/// Outages pass: half a second at first, never more than half a minute apart.
fn retry() -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(Duration::from_millis(500))
        .backoff_coefficient(2.0)
        .maximum_interval(Duration::from_secs(30))
        // About a quarter of an hour; then somebody should look, and the run says what failed.
        .maximum_attempts(35)
        .non_retryable_error_types(failure::FINAL)
        .build()
}
