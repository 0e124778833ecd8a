//! `threatwatch history`: saves the history of a run, for the tests that replay it with a later release.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde::Serialize;

use super::answer::Answer;
use crate::settings::Settings;

/// The history to save
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    answer: Answer,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the history of a run to a new file, in the form that `tests/replay.rs` reads
    Save {
        /// The workflow's id
        workflow_id: String,
        /// The file, for example `tests/histories/train.json`
        file: PathBuf,
        /// One run of that id; without it the newest
        #[arg(long, value_name = "ID")]
        run_id: Option<String>,
    },
}

/// What was written.
#[derive(Debug, Serialize)]
struct Saved {
    workflow_id: String,
    run_id: String,
    events: usize,
    file: PathBuf,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    let Command::Save { workflow_id, file, run_id } = arguments.command;
    let taken = || format!("{} exists already: a recorded history is not replaced, name another file", file.display());
    if file.exists() {
        bail!(taken());
    }
    let recorded = settings.orchestrator("cli").history(&workflow_id, run_id.as_deref()).await?;
    let mut private = fs::OpenOptions::new();
    // The history may contain names of people, their requests and their reasons.
    private.write(true).create_new(true).mode(0o600);
    let mut created = match private.open(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => bail!(taken()),
        created => created.with_context(|| format!("create {}", file.display()))?,
    };
    if let Err(error) = created.write_all(&recorded.json).and_then(|()| created.sync_all()) {
        // Half a history would look like a run that ended early.
        let _ = fs::remove_file(&file);
        return Err(error).with_context(|| format!("write {}", file.display()));
    }
    let saved = Saved { workflow_id, run_id: recorded.run_id, events: recorded.events, file };
    arguments.answer.give(&saved, || {
        println!(
            "{} events of {}, run {}, are in {}",
            saved.events,
            saved.workflow_id,
            saved.run_id,
            saved.file.display()
        );
    })
}
