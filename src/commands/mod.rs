//! The command line: one file per command.

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
mod help;
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
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    http, payload_keys,
    settings::{STATE_DIR, Settings},
    up,
};

/// Finds violent threats in online discussions: trains, judges, promotes and serves classifiers
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, help_template = help::TEMPLATE, after_help = exit::HELP)]
pub(crate) struct Cli {
    /// Folder where `up` keeps its state; other commands find the parts through it
    #[arg(long, global = true, env = "THREATWATCH_STATE_DIR", default_value = STATE_DIR)]
    state_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start every part on this machine and train a first model
    Up {
        /// A corpus (THREAT format, JSONL or CSV) to import and train the first model on; without it the sample
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
    /// Put a version into production if the gate passes
    Promote(promote::PromoteArguments),
    /// Go back to the version that was in production before
    Rollback(promote::RollbackArguments),
    /// Approve a run that waits for approval: it promotes its best version
    Approve(promote::SayArguments),
    /// Reject a run that waits for approval: it ends without a promotion
    Reject(promote::SayArguments),
    /// Show, compare, verify, prune and reproduce the registered versions
    Models(models::Arguments),
    /// Let a second version judge live comments too, and compare it with production
    Shadow(shadow::Arguments),
    /// Train models and delete old versions every night
    Schedule(schedule::Arguments),
    /// Make, list and revoke API keys
    Keys(keys::Arguments),
    /// Show the audit trail: who did what, and when
    Audit(audit::Arguments),
    /// Judge a comment or a file of comments
    Predict(predict::Arguments),
    /// Choose the comments of a file that are most worth labelling
    Label(label::Arguments),
    /// Show on which comments two versions decide differently
    Backtest(backtest::Arguments),
    /// Import corpora, build datasets, audit labels
    Dataset(dataset::Arguments),
    /// Copy the whole bucket into one file, or check such a file
    Backup(backup::Arguments),
    /// Write a backup into an empty bucket
    Restore(backup::RestoreArguments),
    /// Save the history of a run for replay tests
    History(history::Arguments),
    /// Check every part and report what is wrong
    Doctor(doctor::Arguments),
    /// Measure the quality of a model on labelled rows
    Evaluate(evaluate::Arguments),
    /// Train and evaluate on files, without a server
    Experiment(experiment::Arguments),
    /// Create the bucket, the search attributes and a first model if they are missing
    Setup(setup::Arguments),
    /// Check an address: exit code 0 if the service answers with success
    Healthy {
        /// The address, for example `http://127.0.0.1:8086/health/live`
        url: String,
        /// Accept any certificate; only for a service on this machine
        #[arg(long)]
        any_certificate: bool,
    },
    /// Print a script with which a shell completes this command line
    Completions(completions::Arguments),
    /// Run a program that ends when the process that started it ends
    #[command(hide = true)]
    RunBound {
        #[arg(long)]
        parent: u32,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Parses the command line of this process. Exits if it is wrong, or after it has printed help.
pub(crate) fn parse() -> Cli {
    let matches = help::grouped(Cli::command()).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
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

/// The environment variables that set flags.
pub(crate) fn variables() -> Vec<String> {
    fn collect(command: &clap::Command, found: &mut Vec<String>) {
        found.extend(command.get_arguments().filter_map(|a| Some(a.get_env()?.to_string_lossy().into_owned())));
        for sub in command.get_subcommands() {
            collect(sub, found);
        }
    }
    let mut found = Vec::new();
    collect(&Cli::command(), &mut found);
    found
}

/// Parses an RFC 3339 time into milliseconds since 1970, UTC.
fn millis(text: &str) -> Result<i64, String> {
    let at = OffsetDateTime::parse(text, &Rfc3339);
    let at = at.map_err(|_| "not a time such as 2026-11-23T10:00:00Z".to_owned())?;
    Ok((at.unix_timestamp_nanos() / 1_000_000) as i64)
}

/// Formats milliseconds since 1970, UTC, as an RFC 3339 time.
fn rfc3339(millis: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
    at.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Commands without an answer: they run until they are stopped, or print something else.
    const WITHOUT_JSON: [&str; 5] = ["up", "worker", "serve", "healthy", "completions"];
    /// Commands whose answer is always JSON lines.
    const LINES: [&str; 1] = ["label"];

    /// Every command without subcommands: its words, and whether it has `--json`.
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

    /// The `threatwatch` command lines in a page's shell blocks, without comments, pipes and redirections.
    fn command_lines(page: &str) -> Vec<String> {
        let mut is_shell = false;
        let (mut found, mut begun) = (Vec::new(), String::new());
        for line in page.lines().map(str::trim) {
            if let Some(language) = line.strip_prefix("```") {
                is_shell = matches!(language, "sh" | "bash" | "console");
                continue;
            }
            if !is_shell {
                continue;
            }
            begun += line.trim_end_matches('\\');
            if line.ends_with('\\') {
                continue;
            }
            let whole = std::mem::take(&mut begun);
            let ours = ["threatwatch ", "cargo run -- "].iter().find_map(|ours| whole.split_once(ours));
            // Variables may stand before it, or the command that runs it in a container.
            let is_before = |word: &str| word.contains('=') || matches!(word, "docker" | "compose" | "exec" | "api");
            if let Some((_, rest)) = ours.filter(|(before, _)| before.split_whitespace().all(is_before)) {
                let ends = [" #", " |", " >", " <", " &", "; ", ")"];
                let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
                found.push(rest[..end].trim().to_owned());
            }
        }
        found
    }

    /// Splits a line with plain quotes into words, as a shell does.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for c in line.chars() {
            match (quote, c) {
                (None, '"' | '\'') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (Some(open), c) if c == open => quote = None,
                (None, ' ') => words.extend(word.take()),
                _ => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_command_line_in_the_documentation_is_one() {
        use clap::error::ErrorKind;

        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let pages = docs.chain(["README.md", "CONTRIBUTING.md"].map(|page| root.join(page)));
        let mut checked = 0;
        for page in pages.filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
            for line in command_lines(&std::fs::read_to_string(&page).unwrap()) {
                checked += 1;
                let parsed = Cli::try_parse_from(std::iter::once("threatwatch".to_owned()).chain(words(&line)));
                // A name in capitals stands for a value, which may be of any form.
                let stands_for = |kind| matches!(kind, ErrorKind::ValueValidation | ErrorKind::InvalidValue);
                let is_help = |kind| matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
                if let Err(error) = parsed.map_err(|error| (error.kind(), error)) {
                    let (kind, error) = error;
                    assert!(stands_for(kind) || is_help(kind), "{}: {line}\n{error}", page.display());
                }
            }
        }
        assert!(checked > 80, "{checked} command lines");
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
