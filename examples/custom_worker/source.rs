//! A dataset source: a folder into which the forum puts an export of labelled comments every night.

use std::{env, fs, io, path::PathBuf};

use activities::sources::Source;
use futures_util::future::{BoxFuture, FutureExt};
use registry::{DatasetManifest, Error, Registry};

pub(crate) struct ForumInbox;

impl Source for ForumInbox {
    fn name(&self) -> &'static str {
        "forum_inbox"
    }

    fn find<'a>(&'a self, registry: &'a Registry) -> BoxFuture<'a, Result<Option<DatasetManifest>, Error>> {
        async move {
            // An unreadable inbox is not an empty one: the run retries, and does not train on other data.
            let read = || newest()?.map(|file| Ok((file.display().to_string(), fs::read(file)?))).transpose();
            let away = |error: io::Error| Error::Source { name: self.name(), reason: error.to_string() };
            match read().map_err(away)? {
                Some((name, bytes)) => Ok(Some(registry.put_dataset(&name, bytes).await?)),
                None => Ok(None),
            }
        }
        .boxed()
    }
}

/// Exports of the forum, oldest first. Their names are dates.
pub(crate) fn exports() -> io::Result<Vec<PathBuf>> {
    let Some(inbox) = env::var_os("FORUM_INBOX") else { return Ok(Vec::new()) };
    let files = fs::read_dir(inbox)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let mut exports: Vec<PathBuf> =
        files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "jsonl")).collect();
    exports.sort();
    Ok(exports)
}

fn newest() -> io::Result<Option<PathBuf>> {
    Ok(exports()?.pop())
}
