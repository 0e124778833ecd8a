//! Everything behind the binary `threatwatch`: the command line, and the parts that `up` starts.

mod audited;
mod chosen_model;
mod commands;
mod comments;
mod corpus_file;
pub mod encoder_base;
mod figures;
mod following;
mod http;
mod labelled;
mod payload_keys;
mod process;
pub mod programs;
mod report;
pub mod settings;
pub mod up;

use std::{collections::BTreeSet, process::ExitCode};

use clap::Parser;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // The first provider wins; a second call would only say that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = commands::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            commands::exit::code(&error)
        }
    }
}

/// Every environment variable that a command reads, apart from `TEMPORAL_*`, which Temporal's client reads itself.
#[must_use]
pub fn variables() -> BTreeSet<String> {
    settings::variables().chain(commands::variables()).collect()
}
