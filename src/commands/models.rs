//! `threatwatch models`: the registry, read-only.

use model::Version;
use registry::ModelManifest;

use crate::settings::Settings;

/// What to show
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Every registered version, newest first
    List,
    /// Everything that is known of a version, as JSON
    Show {
        /// The version
        version: Version,
    },
    /// Every promotion, newest first
    History,
}

pub(super) async fn run(command: Command, settings: &Settings) -> anyhow::Result<()> {
    let registry = settings.registry().await?;
    match command {
        Command::List => {
            let production = registry.production().await?.map(|promotion| promotion.record.version);
            let manifests = registry.manifests().await?;
            println!(
                "{:<26} {:<16} {:>10} {:>8} {:>16}",
                "version", "trainer", "PR-AUC cv", "F1 cv", "PR-AUC held out"
            );
            for manifest in manifests {
                print(&manifest, production.as_ref() == Some(&manifest.version));
            }
        }
        Command::Show { version } => {
            let (manifest, _) = registry.manifest(&version).await?;
            println!("{}", serde_json::to_string_pretty(&manifest)?);
        }
        Command::History => {
            for promotion in registry.history().await?.into_iter().rev() {
                let record = promotion.record;
                println!("{:>6}  {}  {:<20} {}", record.generation.0, record.version, record.actor, record.reason);
            }
        }
    }
    Ok(())
}

fn print(manifest: &ModelManifest, in_production: bool) {
    let (cv, held_out) = (&manifest.cross_validation.sentence, &manifest.held_out.sentence);
    let mark = if in_production { "  in production" } else { "" };
    println!(
        "{:<26} {:<16} {:>10.3} {:>8.3} {:>16.3}{mark}",
        manifest.version, manifest.trainer, cv.pr_auc, cv.f1, held_out.pr_auc
    );
}
