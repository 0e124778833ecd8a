//! `threatwatch dataset`: corpora into the registry.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use model::corpus::{Format, Reader, Tally};
use registry::{DatasetManifest, Registry};

use crate::settings::Settings;

/// What to do with a corpus
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Import a corpus (THREAT format, JSONL or CSV); the next training runs use it
    Import {
        /// The file
        file: PathBuf,
    },
}

pub(super) async fn run(command: Command, settings: &Settings) -> anyhow::Result<()> {
    let Command::Import { file } = command;
    let registry = settings.registry().await?;
    let manifest = import(&registry, &file).await?;
    println!("dataset      {}", manifest.digest);
    println!("format       {:?}", manifest.source.format);
    println!(
        "sentences    {} by {} commenters in {} comments",
        manifest.sentences, manifest.commenters, manifest.comments
    );
    println!("threats      {}", manifest.threats);
    println!("quarantined  {}", manifest.quarantined);
    for row in manifest.quarantine.iter().take(20) {
        println!("  line {}: {}", row.line, row.reason);
    }
    Ok(())
}

/// Refuses a file that could not be imported, before anything is started for it.
pub(crate) fn check(file: &Path) -> anyhow::Result<()> {
    let read = || {
        let mut input = BufReader::new(File::open(file)?);
        let format = Format::guess(&name(file), input.fill_buf()?);
        let mut tally = Tally::default();
        for item in Reader::new(format, input)? {
            tally.add(&item?);
        }
        tally.require_form()?;
        Ok(tally.require_trainable()?)
    };
    read().map_err(|error: anyhow::Error| error.context(format!("read {}", file.display())))
}

fn name(file: &Path) -> String {
    file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Imports a file.
pub(crate) async fn import(registry: &Registry, file: &Path) -> anyhow::Result<DatasetManifest> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let imported = registry.import_dataset(&name(file), file.to_owned(), now).await;
    imported.with_context(|| format!("import {}", file.display()))
}
