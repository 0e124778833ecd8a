//! How a run fails: its outermost failure names the cause in one sentence, not "Activity task failed".

use temporalio_common::{
    error::IncomingError,
    protos::temporal::api::{
        enums::v1::{RetryState, TimeoutType},
        failure::v1::{Failure, failure::FailureInfo},
    },
};
use temporalio_sdk::{
    ActivityExecutionError, ChildWorkflowExecutionError, ChildWorkflowStartError, WorkflowTermination,
};

use crate::{failure, lenient::fail, policy};

/// Ends the run with the message of the failed activity.
pub(crate) fn rethrow(stage: &str, error: ActivityExecutionError) -> WorkflowTermination {
    if matches!(error, ActivityExecutionError::Cancelled(_)) {
        return error.into();
    }
    let gave_up = error.failure().is_some_and(|failure| match &failure.failure_info {
        Some(FailureInfo::ActivityFailureInfo(info)) => info.retry_state() == RetryState::MaximumAttemptsReached,
        _ => false,
    });
    match error.cause().map(IncomingError::failure) {
        Some(cause) => {
            let tries = if gave_up { format!(" (the last of {} tries)", policy::TRIES) } else { String::new() };
            fail(kind(cause, "ActivityFailed"), format!("{stage}: {}{tries}", told(cause)))
        }
        None => error.into(),
    }
}

/// Ends the run with the message of the failed run that it started.
pub(crate) fn of_child(stage: &str, id: &str, error: ChildWorkflowExecutionError) -> WorkflowTermination {
    if error.as_cancelled().is_some() {
        return error.into();
    }
    match error.cause().map(IncomingError::failure) {
        Some(cause) => {
            let words = match &cause.failure_info {
                Some(FailureInfo::TerminatedFailureInfo(_)) => format!("the run {id} was terminated"),
                Some(FailureInfo::TimeoutFailureInfo(_)) => format!("the run {id} did not end in time"),
                _ => told(cause),
            };
            fail(kind(cause, "ChildFailed"), format!("{stage}: {words}"))
        }
        None => error.into(),
    }
}

/// Ends the run because another one could not be started.
pub(crate) fn not_started(stage: &str, id: &str, error: ChildWorkflowStartError) -> WorkflowTermination {
    match error {
        // Temporal has only one other cause: a deleted namespace.
        ChildWorkflowStartError::StartFailed { .. } => {
            fail(failure::CONFLICT, format!("{stage}: a run {id} exists already, or its namespace was deleted"))
        }
        other => other.into(),
    }
}

/// The message of a failure in one line.
fn told(cause: &Failure) -> String {
    match &cause.failure_info {
        Some(FailureInfo::TimeoutFailureInfo(info)) => match info.timeout_type() {
            TimeoutType::Heartbeat => {
                let silence = policy::BEATS_MISSED.as_secs();
                format!("the worker that did it died or hung; it did not report for {silence} s")
            }
            TimeoutType::StartToClose => "it took longer than it may".to_owned(),
            _ => "no worker took it in time".to_owned(),
        },
        _ => one_line(&cause.message),
    }
}

fn kind<'a>(cause: &'a Failure, otherwise: &'a str) -> &'a str {
    match &cause.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) if !info.r#type.is_empty() => &info.r#type,
        _ => otherwise,
    }
}

/// A text without line breaks: the Web UI shows only the first line.
pub(crate) fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() { "it failed and did not say why".to_owned() } else { line }
}

#[cfg(test)]
mod tests {
    use temporalio_common::protos::temporal::api::failure::v1::{ApplicationFailureInfo, TimeoutFailureInfo};

    use super::*;

    #[test]
    fn every_kind_of_failure_is_one_sentence() {
        let application = |message: &str| Failure {
            message: message.to_owned(),
            failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default())),
            ..Failure::default()
        };
        let timeout = |kind: TimeoutType| Failure {
            message: "activity timeout".to_owned(),
            failure_info: Some(FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
                timeout_type: kind.into(),
                ..TimeoutFailureInfo::default()
            })),
            ..Failure::default()
        };
        for (failure, sentence) in [
            (application("no dataset\n  is stored"), "no dataset is stored"),
            (application(""), "it failed and did not say why"),
            (timeout(TimeoutType::Heartbeat), "the worker that did it died or hung; it did not report for 8 s"),
            (timeout(TimeoutType::StartToClose), "it took longer than it may"),
            (timeout(TimeoutType::ScheduleToStart), "no worker took it in time"),
        ] {
            assert_eq!(told(&failure), sentence);
        }
    }
}
