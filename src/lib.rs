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
pub mod process;
pub mod programs;
mod report;
pub mod settings;
mod telemetry;
pub mod up;

use std::{collections::BTreeSet, process::ExitCode};

use activities::Extensions;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    main_with(Extensions::new())
}

/// Runs the command line of another program, with that program's extensions in every command.
///
/// `up` starts its worker and its API from the same program, so they have the same extensions.
#[must_use]
pub fn main_with(extensions: Extensions) -> ExitCode {
    // Fails only if a provider is installed already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = commands::parse();
    match commands::run(cli, extensions) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            commands::exit::code(&error)
        }
    }
}

/// Every environment variable that a command reads, except `TEMPORAL_*`, which Temporal's client reads itself.
#[must_use]
pub fn variables() -> BTreeSet<String> {
    settings::variables().chain(commands::variables()).collect()
}
