//! Schedules in Temporal: nightly training and retention, and training on feedback.

use std::time::SystemTime;

use temporalio_client::{
    RpcOptions,
    schedules::{
        CreateScheduleOptions, DeleteScheduleOptions, PauseScheduleOptions, ScheduleAction, ScheduleError,
        ScheduleOverlapPolicy, ScheduleSpec, TriggerScheduleOptions, UnpauseScheduleOptions,
    },
    tonic,
};

use crate::{
    FeedbackWorkflow, Orchestrator, RETENTION_WORKFLOW_ID, RetentionWorkflow, TASK_QUEUE, TrainWorkflow,
    orchestrator::Error,
    steps::{FeedbackRequest, RetentionRequest, TrainRequest},
};

/// One of threatwatch's schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Trains.
    Training,
    /// Deletes old versions and data that nothing needs.
    Retention,
    /// Trains on reviewers' decisions, if there are enough new ones.
    Feedback,
}

/// What a schedule starts, and when.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Trains.
    Training(TrainRequest),
    /// Deletes old versions and data that nothing needs.
    Retention(RetentionRequest),
    /// Trains on reviewers' decisions.
    Feedback(FeedbackRequest),
}

/// The state of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    /// Its id in Temporal.
    pub id: &'static str,
    /// Whether it is paused.
    pub paused: bool,
    /// Runs that it started.
    pub runs: i64,
    /// Runs that it skipped because the previous one was still running.
    pub skipped: i64,
    /// The start times of the next runs.
    pub next: Vec<SystemTime>,
}

impl Schedule {
    /// Every schedule.
    pub const ALL: [Self; 3] = [Self::Training, Self::Retention, Self::Feedback];

    /// Its id in Temporal.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Training => "nightly-training",
            Self::Retention => "nightly-retention",
            Self::Feedback => "feedback-training",
        }
    }
}

impl Orchestrator {
    /// Creates a schedule; `cron` is a line such as `0 3 * * *`, in UTC.
    ///
    /// A run that is due while the previous one is still running is skipped.
    pub async fn create_schedule(&self, plan: Plan, cron: &str) -> Result<(), Error> {
        let (schedule, action) = match plan {
            Plan::Training(request) => (
                Schedule::Training,
                ScheduleAction::start_workflow(TrainWorkflow::run, request.into(), TASK_QUEUE, "train-nightly"),
            ),
            Plan::Retention(request) => (
                Schedule::Retention,
                ScheduleAction::start_workflow(
                    RetentionWorkflow::run,
                    request.into(),
                    TASK_QUEUE,
                    RETENTION_WORKFLOW_ID,
                ),
            ),
            Plan::Feedback(request) => (
                Schedule::Feedback,
                ScheduleAction::start_workflow(FeedbackWorkflow::run, request.into(), TASK_QUEUE, "feedback"),
            ),
        };
        let options = CreateScheduleOptions::builder()
            .action(action)
            .spec(ScheduleSpec::builder().cron_strings(vec![cron.to_owned()]).build())
            .overlap_policy(ScheduleOverlapPolicy::Skip)
            .build();
        let created = self.client().await?.create_schedule(schedule.id(), options).await;
        created.map(drop).map_err(|error| not_done(schedule, error))
    }

    /// The state of a schedule; none if it does not exist.
    pub async fn schedule(&self, schedule: Schedule) -> Result<Option<Scheduled>, Error> {
        let handle = self.client().await?.get_schedule_handle(schedule.id());
        match handle.describe(RpcOptions::default()).await {
            Ok(found) => Ok(Some(Scheduled {
                id: schedule.id(),
                paused: found.paused(),
                runs: found.action_count(),
                skipped: found.overlap_skipped(),
                next: found.future_action_times(),
            })),
            Err(ScheduleError::Rpc(status)) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(error) => Err(not_done(schedule, error)),
        }
    }

    /// Pauses a schedule, with the reason as a note.
    pub async fn pause_schedule(&self, schedule: Schedule, note: &str) -> Result<(), Error> {
        let handle = self.client().await?.get_schedule_handle(schedule.id());
        let paused = handle.pause(Some(self.note(note)), PauseScheduleOptions::builder().build()).await;
        paused.map_err(|error| not_done(schedule, error))
    }

    /// Resumes a paused schedule, with the reason as a note.
    pub async fn resume_schedule(&self, schedule: Schedule, note: &str) -> Result<(), Error> {
        let handle = self.client().await?.get_schedule_handle(schedule.id());
        let resumed = handle.unpause(Some(self.note(note)), UnpauseScheduleOptions::builder().build()).await;
        resumed.map_err(|error| not_done(schedule, error))
    }

    /// The note for Temporal. Temporal stores it unencrypted.
    fn note<'a>(&self, note: &'a str) -> &'a str {
        if self.codec().encrypts() { "the reason is in the audit trail" } else { note }
    }

    /// Starts a scheduled run now, unless one is running.
    pub async fn trigger_schedule(&self, schedule: Schedule) -> Result<(), Error> {
        let handle = self.client().await?.get_schedule_handle(schedule.id());
        let triggered = handle.trigger(ScheduleOverlapPolicy::Skip, TriggerScheduleOptions::builder().build()).await;
        triggered.map_err(|error| not_done(schedule, error))
    }

    /// Deletes a schedule, if it exists. Runs that it started continue.
    pub async fn delete_schedule(&self, schedule: Schedule) -> Result<(), Error> {
        let handle = self.client().await?.get_schedule_handle(schedule.id());
        match handle.delete(DeleteScheduleOptions::builder().build()).await {
            Err(ScheduleError::Rpc(status)) if status.code() == tonic::Code::NotFound => Ok(()),
            deleted => deleted.map_err(|error| not_done(schedule, error)),
        }
    }
}

fn not_done(schedule: Schedule, error: ScheduleError) -> Error {
    let invalid = |reason: &str| Error::Failed {
        kind: crate::failure::INVALID_INPUT.to_owned(),
        message: format!("the schedule {}: {reason}", schedule.id()),
    };
    match error {
        ScheduleError::Rpc(status) => match status.code() {
            tonic::Code::NotFound => Error::NotFound(format!("like the schedule {}", schedule.id())),
            tonic::Code::AlreadyExists => invalid("it exists already: delete it first"),
            tonic::Code::InvalidArgument => invalid(status.message()),
            _ => Error::Unreachable(status.message().to_owned()),
        },
        other => Error::Unreachable(other.to_string()),
    }
}
