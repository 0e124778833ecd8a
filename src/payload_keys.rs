//! The file with the payload keys: read at the start, and again when it changes.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use workflows::codec::{KeyName, Keys};

use crate::settings::{Settings, names};

/// How often the file is checked: a new key is used within this time.
const LOOK: Duration = Duration::from_secs(2);
/// Permissions that a key file must not have.
///
/// The group may read it: container secrets are mounted like that.
const OTHERS: u32 = 0o037;

/// Reads a key file that other users cannot read.
///
/// The error names the file but never its content.
pub(crate) fn read(path: &Path) -> anyhow::Result<Keys> {
    let what = || format!("{} ({})", path.display(), names::PAYLOAD_KEY_FILE);
    let mode = fs::metadata(path).with_context(|| format!("read {}", what()))?.permissions().mode();
    if mode & OTHERS != 0 {
        bail!("{} may be read or written by others: `chmod 600 {}`", what(), path.display());
    }
    let text = fs::read_to_string(path).with_context(|| format!("read {}", what()))?;
    Keys::parse(&text).map_err(|reason| anyhow::anyhow!("{}: {reason}", what()))
}

/// Follows the configured file for ever. A wrong file changes nothing and is logged once.
pub(crate) async fn follow(settings: Settings) {
    let Some(path) = settings.payload_key_file() else { return };
    let mut said = None;
    loop {
        tokio::time::sleep(LOOK).await;
        match read(&path) {
            Ok(keys) if keys.names() == settings.codec().names() => said = None,
            Ok(keys) => {
                let names = in_words(&keys.names());
                settings.codec().replace(keys);
                said = None;
                tracing::info!(keys = names, "the new payload keys are in use; the first one encrypts");
            }
            Err(error) => {
                let reason = format!("{error:#}");
                if said.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "the payload keys cannot be read; the old ones stay in use");
                    said = Some(reason);
                }
            }
        }
    }
}

/// The names of keys, for messages.
pub(crate) fn in_words(names: &[KeyName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let secret = "5a".repeat(32);
        fs::write(&path, format!("k1 {secret}\n")).unwrap();
        for (mode, is_fine) in
            [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o660, false), (0o604, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = read(&path).map_err(|error| format!("{error:#}"));
            assert_eq!(read.is_ok(), is_fine, "{mode:o}: {read:?}");
            if let Err(error) = read {
                assert!(error.contains("chmod 600") && error.contains(names::PAYLOAD_KEY_FILE), "{error}");
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, format!("k1 {secret}5a\n")).unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("line 1") && !error.contains("5a5a"), "{error}");
    }
}
