//! `threatwatch dataset`: corpora into the registry.

use std::path::PathBuf;

use crate::{corpus_file, settings::Settings};

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
    let manifest = corpus_file::import(&registry, &file).await?;
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
