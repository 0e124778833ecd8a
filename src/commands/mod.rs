//! The command line: one file a command.

mod answer;
mod audit;
mod backtest;
mod backup;
mod completions;
mod dataset;
mod doctor;
mod evaluate;
pub(crate) mod exit;
mod experiment;
mod history;
mod keys;
mod label;
mod models;
mod predict;
mod promote;
mod schedule;
mod serve;
mod setup;
mod shadow;
mod train;
mod worker;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use activities::{Added, Extensions};
use clap::{Parser, Subcommand};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    http, payload_keys,
    settings::{STATE_DIR, Settings},
    up,
};

/// Finds violent threats in online discussions: trains, judges, promotes and serves classifiers
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = exit::HELP)]
pub(crate) struct Cli {
    /// Where `up` keeps its state; other commands find the parts through it
    #[arg(long, global = true, env = "THREATWATCH_STATE_DIR", default_value = STATE_DIR)]
    state_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start every part on this machine and train a first model
    Up {
        /// A corpus to import (THREAT format, JSONL or CSV); a first model is trained on it, else on the sample
        #[arg(long, value_name = "FILE")]
        data: Option<PathBuf>,
        #[command(flatten)]
        ports: up::Ports,
    },
    /// Run a worker: the workflows and their activities
    Worker(worker::Arguments),
    /// Run the API: predictions, promotion, the web page
    Serve(serve::Arguments),
    /// Start a training run
    Train(train::Arguments),
    /// Put a version into production, if the gate passes
    Promote(promote::PromoteArguments),
    /// Go back to the version that was in production before
    Rollback(promote::RollbackArguments),
    /// Let a run that waits for approval promote its best version
    Approve(promote::SayArguments),
    /// End a run that waits for approval without a promotion
    Reject(promote::SayArguments),
    /// Show, compare, verify, prune and reproduce the registered versions
    Models(models::Arguments),
    /// Let a second version judge beside production, and compare
    Shadow(shadow::Arguments),
    /// Train every night, and delete what nothing needs
    Schedule(schedule::Arguments),
    /// Make, list and revoke API keys
    Keys(keys::Arguments),
    /// Show who did what, when
    Audit(audit::Arguments),
    /// Judge a comment, or a file of them
    Predict(predict::Arguments),
    /// Choose the comments of a file whose labels teach the most
    Label(label::Arguments),
    /// Show what a version would have decided otherwise than another one
    Backtest(backtest::Arguments),
    /// Import corpora, build datasets, audit labels
    Dataset(dataset::Arguments),
    /// Copy the whole bucket into one file, or check such a file
    Backup(backup::Arguments),
    /// Write a backup into an empty bucket
    Restore(backup::RestoreArguments),
    /// Keep the history of a run, to be replayed by later releases
    History(history::Arguments),
    /// Check every part and say what is wrong
    Doctor(doctor::Arguments),
    /// Judge labelled rows by a model and say what it is worth
    Evaluate(evaluate::Arguments),
    /// Train and evaluate on files, without a server
    Experiment(experiment::Arguments),
    /// Make the bucket, the search attributes and a first model, if they are not there
    Setup(setup::Arguments),
    /// Exit with success if a service answers the address with success
    Healthy {
        /// For example `http://127.0.0.1:8086/health/live`
        url: String,
        /// Whatever certificate it shows: for a service on this very machine
        #[arg(long)]
        any_certificate: bool,
    },
    /// Print the script that completes this command line in a shell
    Completions(completions::Arguments),
    /// Run a program that ends when this process's parent does
    #[command(hide = true)]
    RunBound {
        #[arg(long)]
        parent: u32,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

pub(crate) fn run(cli: Cli, extensions: Extensions) -> anyhow::Result<ExitCode> {
    if let Command::RunBound { parent, program, arguments } = &cli.command {
        match up::supervisor::run_bound(*parent, program, arguments)? {}
    }
    let extensions = extensions.register()?;
    if let Command::Experiment(arguments) = cli.command {
        experiment::run(arguments, &Settings::load(&cli.state_dir)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Completions(arguments) = cli.command {
        completions::run(arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Up { data, ports } = cli.command {
        // One thread: the parts are bound to the life of the thread that starts them.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(up::up(up::Options { state_dir: cli.state_dir, data, ports }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = Settings::load(&cli.state_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(dispatch(cli.command, &settings, extensions))
}

async fn dispatch(command: Command, settings: &Settings, extensions: Added) -> anyhow::Result<ExitCode> {
    tokio::spawn(payload_keys::follow(settings.clone()));
    match command {
        Command::Worker(arguments) => worker::run(arguments, settings, extensions).await?,
        Command::Serve(arguments) => serve::run(arguments, settings).await?,
        Command::Train(arguments) => return train::run(arguments, settings).await,
        Command::Promote(arguments) => return promote::promote(arguments, settings).await,
        Command::Rollback(arguments) => promote::roll_back(arguments, settings).await?,
        Command::Approve(arguments) => promote::say(arguments, true, settings).await?,
        Command::Reject(arguments) => promote::say(arguments, false, settings).await?,
        Command::Schedule(arguments) => schedule::run(arguments, settings).await?,
        Command::Models(arguments) => return models::run(arguments, settings).await,
        Command::Shadow(arguments) => shadow::run(arguments, settings).await?,
        Command::Keys(arguments) => keys::run(arguments, settings).await?,
        Command::Audit(arguments) => audit::run(arguments, settings).await?,
        Command::Predict(arguments) => return predict::run(arguments, settings).await,
        Command::Label(arguments) => return label::run(arguments, settings).await,
        Command::Backtest(arguments) => return backtest::run(arguments, settings).await,
        Command::Dataset(arguments) => dataset::run(arguments, settings).await?,
        Command::Backup(arguments) => backup::run(arguments, settings).await?,
        Command::Restore(arguments) => return backup::restore(arguments, settings).await,
        Command::History(arguments) => history::run(arguments, settings).await?,
        Command::Doctor(arguments) => return doctor::run(arguments, settings).await,
        Command::Evaluate(arguments) => evaluate::run(arguments, settings).await?,
        Command::Setup(arguments) => setup::run(arguments, settings).await?,
        Command::Healthy { url, any_certificate } => {
            let is_ok = if any_certificate { http::is_ok_whoever_it_is(&url).await } else { http::is_ok(&url).await };
            return Ok(exit::answer(is_ok));
        }
        Command::Up { .. } | Command::Experiment(_) | Command::Completions(_) | Command::RunBound { .. } => {
            unreachable!("handled before")
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Environment variables that stand for flags.
pub(crate) fn variables() -> Vec<String> {
    fn collect(command: &clap::Command, found: &mut Vec<String>) {
        found.extend(command.get_arguments().filter_map(|a| Some(a.get_env()?.to_string_lossy().into_owned())));
        for sub in command.get_subcommands() {
            collect(sub, found);
        }
    }
    let mut found = Vec::new();
    collect(&<Cli as clap::CommandFactory>::command(), &mut found);
    found
}

/// A time of RFC 3339 in milliseconds since 1970, UTC.
fn millis(text: &str) -> Result<i64, String> {
    let at = OffsetDateTime::parse(text, &Rfc3339);
    let at = at.map_err(|_| "not a time such as 2026-11-23T10:00:00Z".to_owned())?;
    Ok((at.unix_timestamp_nanos() / 1_000_000) as i64)
}

/// A time in milliseconds since 1970, UTC, for people.
fn rfc3339(millis: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
    at.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(&Rfc3339).unwrap_or_default()
}

/// Logs of the long-running parts: to standard error, as text or JSON.
fn start_logging() {
    use tracing_subscriber::EnvFilter;

    // The SDK's core logs task tokens and payloads with its warnings: errors are enough.
    const DEFAULT: &str = "info,temporalio_sdk_core=error,temporalio_client=error";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| DEFAULT.into());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Log);
    if std::env::var(crate::settings::names::LOG_FORMAT).is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
    // The default hook prints a panic's own words, which may quote a comment: where it happened is enough.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked");
    }));
}

/// Standard error, which may be a file on a full disk: a line that cannot be written is lost, and the process goes on.
struct Log;

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        // An error would be printed to standard error, which panics where that cannot be written.
        let _ = std::io::stderr().write_all(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Commands that answer nothing: they run until they are stopped, or print what is no answer.
    const WITHOUT_JSON: [&str; 5] = ["up", "worker", "serve", "healthy", "completions"];
    /// Commands whose answer is lines of JSON in any case.
    const LINES: [&str; 1] = ["label"];

    /// Every command that has none below it, by its words, and whether it takes `--json`.
    fn leaves(command: &clap::Command, words: &str, has_json: bool, found: &mut Vec<(String, bool)>) {
        let has_json = has_json || command.get_arguments().any(|argument| argument.get_id() == "json");
        let below: Vec<&clap::Command> = command.get_subcommands().filter(|below| !below.is_hide_set()).collect();
        if below.is_empty() {
            found.push((words.to_owned(), has_json));
        }
        for below in below {
            leaves(below, format!("{words} {}", below.get_name()).trim(), has_json, found);
        }
    }

    #[test]
    fn every_command_that_answers_takes_json_and_the_documentation_has_its_shape() {
        let mut found = Vec::new();
        leaves(&Cli::command(), "", false, &mut found);
        let rows: Vec<(&str, &str)> = include_str!("../../docs/command-line.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "))
            .collect();
        assert_eq!(rows.len(), found.len(), "a command is not documented, or twice");
        for (command, has_json) in &found {
            let is_lines = LINES.contains(&command.as_str());
            assert_eq!(*has_json, !is_lines && !WITHOUT_JSON.contains(&command.as_str()), "{command}");
            let (_, shape) = rows.iter().find(|(row, _)| row == command).unwrap_or_else(|| panic!("{command}"));
            assert_eq!(*has_json || is_lines, *shape != "-", "{command}");
        }
    }

    #[test]
    fn json_may_be_asked_for_before_and_behind_a_command() {
        for line in [["models", "--json", "list"], ["models", "list", "--json"]] {
            let cli = Cli::try_parse_from(std::iter::once("threatwatch").chain(line)).unwrap();
            let Command::Models(arguments) = cli.command else { panic!("{line:?}") };
            assert!(format!("{arguments:?}").contains("json: true"), "{line:?}");
        }
    }
}
