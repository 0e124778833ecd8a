//! Checks a corpus file on this machine and imports it into the registry.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use model::corpus::{Format, Reader, Tally};
use registry::{DatasetManifest, Registry};

/// Refuses a file that cannot be imported, before anything is started.
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
