//! `threatwatch schedule`: schedules nightly training, retention and, if configured, training on feedback.

use std::time::SystemTime;

use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use workflows::{
    Orchestrator,
    schedule::{Plan, Schedule, Scheduled},
    steps::{AutoPromote, DatasetChoice, FeedbackRequest, RetentionRequest, TrainRequest},
};

use super::answer::Answer;
use crate::{
    audited::{Act, current_user},
    settings::Settings,
};

/// What to do with the schedules
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    answer: Answer,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create the schedules for training, retention and, with `--feedback-cron`, training on feedback
    Create {
        /// When to train, in UTC: minute, hour, day, month, weekday
        #[arg(long, value_name = "CRON", default_value = "0 3 * * *")]
        cron: String,
        /// When to delete old versions and unused data, in UTC
        #[arg(long, value_name = "CRON", default_value = "30 4 * * *")]
        retention_cron: String,
        /// When to promote the best version of a scheduled training run
        #[arg(long, value_enum, default_value_t = Promote::Never)]
        promote: Promote,
        /// When to train on new decisions of reviewers, in UTC; without it there is no such schedule
        #[arg(long, value_name = "CRON")]
        feedback_cron: Option<String>,
    },
    /// Show the schedules and their next runs
    Show,
    /// Pause the schedules
    Pause {
        /// The reason, for the Temporal Web UI
        #[arg(long, default_value = "paused by threatwatch schedule")]
        reason: String,
    },
    /// Resume the schedules
    Resume {
        /// The reason, for the Temporal Web UI
        #[arg(long, default_value = "resumed by threatwatch schedule")]
        reason: String,
    },
    /// Start a scheduled training run now
    Trigger,
    /// Delete the schedules; runs that they started continue
    Delete,
}

/// When the best version of a scheduled run is promoted
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Promote {
    /// Never: promote by hand
    Never,
    /// When the gate passes
    IfGatePasses,
    /// When the gate passes and an operator approves
    AfterApproval,
}

impl Command {
    /// The action and the reason for the audit trail; none for a command that changes nothing.
    fn deed(&self) -> Option<(&'static str, Option<String>)> {
        Some(match self {
            Self::Show => return None,
            Self::Create { .. } => ("schedule_create", None),
            Self::Pause { reason } => ("schedule_pause", Some(reason.clone())),
            Self::Resume { reason } => ("schedule_resume", Some(reason.clone())),
            Self::Trigger => ("schedule_trigger", None),
            Self::Delete => ("schedule_delete", None),
        })
    }
}

/// The state of a schedule. The numbers are 0 if it does not exist.
#[derive(Debug, Default, Serialize)]
struct Told {
    id: &'static str,
    scheduled: bool,
    paused: bool,
    /// Runs that it started.
    runs: i64,
    /// Runs that it skipped because the previous one was still running.
    skipped: i64,
    /// The start times of the next runs.
    next: Vec<String>,
}

/// The state of every schedule.
#[derive(Debug, Serialize)]
struct List {
    schedules: Vec<Told>,
}

impl Told {
    fn of(schedule: Schedule, found: Option<Scheduled>) -> Self {
        let Some(Scheduled { id, paused, runs, skipped, next }) = found else {
            return Self { id: schedule.id(), ..Self::default() };
        };
        Self { id, scheduled: true, paused, runs, skipped, next: next.into_iter().map(rfc3339).collect() }
    }
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    let Arguments { answer, command } = arguments;
    let orchestrator = settings.orchestrator("cli");
    if let Some((action, reason)) = command.deed() {
        let act = Act { action, subject: None, reason: reason.as_deref() };
        act.on_record(settings, change(command, &orchestrator), |()| String::new()).await?;
    }
    let mut schedules = Vec::new();
    for schedule in Schedule::ALL {
        schedules.push(Told::of(schedule, orchestrator.schedule(schedule).await?));
    }
    let list = List { schedules };
    answer.give(&list, || list.schedules.iter().for_each(print))
}

async fn change(command: Command, orchestrator: &Orchestrator) -> anyhow::Result<()> {
    match command {
        Command::Create { cron, retention_cron, promote, feedback_cron } => {
            let dataset = feedback_cron.as_ref().map(|_| DatasetChoice::LatestWithFeedback);
            let request = TrainRequest {
                // Otherwise the nightly run would train without reviewers' decisions.
                dataset,
                auto_promote: match promote {
                    Promote::Never => AutoPromote::Never,
                    Promote::IfGatePasses => AutoPromote::IfGatePasses,
                    Promote::AfterApproval => AutoPromote::AfterApproval,
                },
                // The next nightly run is skipped while one waits: it must wait for less than a day.
                approval_seconds: 20 * 3600,
                actor: current_user(),
                reason: Some("scheduled".to_owned()),
                ..TrainRequest::default()
            };
            orchestrator.create_schedule(Plan::Training(request.clone()), &cron).await?;
            let retention = Plan::Retention(RetentionRequest::default());
            if let Err(error) = orchestrator.create_schedule(retention, &retention_cron).await {
                // Create both schedules or none.
                orchestrator.delete_schedule(Schedule::Training).await?;
                return Err(error.into());
            }
            let Some(cron) = feedback_cron else { return Ok(()) };
            let defaults = FeedbackRequest::default();
            let training = TrainRequest { auto_promote: AutoPromote::AfterApproval, dataset: None, ..request };
            let feedback = Plan::Feedback(FeedbackRequest { training, ..defaults });
            if let Err(error) = orchestrator.create_schedule(feedback, &cron).await {
                orchestrator.delete_schedule(Schedule::Training).await?;
                orchestrator.delete_schedule(Schedule::Retention).await?;
                return Err(error.into());
            }
        }
        Command::Show => {}
        Command::Pause { reason } => {
            for schedule in scheduled(orchestrator).await? {
                orchestrator.pause_schedule(schedule, &reason).await?;
            }
        }
        Command::Resume { reason } => {
            for schedule in scheduled(orchestrator).await? {
                orchestrator.resume_schedule(schedule, &reason).await?;
            }
        }
        Command::Trigger => orchestrator.trigger_schedule(Schedule::Training).await?,
        Command::Delete => {
            for schedule in scheduled(orchestrator).await? {
                orchestrator.delete_schedule(schedule).await?;
            }
        }
    }
    Ok(())
}

/// The schedules to change. The one for feedback is included only if it exists.
async fn scheduled(orchestrator: &Orchestrator) -> anyhow::Result<Vec<Schedule>> {
    let mut schedules = vec![Schedule::Training, Schedule::Retention];
    if orchestrator.schedule(Schedule::Feedback).await?.is_some() {
        schedules.push(Schedule::Feedback);
    }
    Ok(schedules)
}

fn print(told: &Told) {
    let Told { id, scheduled, paused, runs, skipped, next } = told;
    if !scheduled {
        println!("{id:<18} not scheduled");
        return;
    }
    let state = if *paused { "paused" } else { "active" };
    let next = next.first().map_or("never", String::as_str);
    println!("{id:<18} {state}, next {next}, {runs} runs so far, {skipped} skipped because one was still running");
}

fn rfc3339(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_default()
}
