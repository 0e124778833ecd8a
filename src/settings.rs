//! Addresses and credentials of the parts: from the environment, otherwise from the file that `up` writes.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use registry::{Registry, S3Settings, S3Store, Secret};
use temporalio_common::telemetry::metrics::TemporalMeter;
use workflows::{Codec, Orchestrator};

use crate::{payload_keys, telemetry};

/// Default folder of `up`.
pub const STATE_DIR: &str = ".threatwatch";
/// The bucket in the object store.
const BUCKET: &str = "threatwatch";

/// Names of environment variables.
pub mod names {
    /// Temporal's frontend, `host:port`.
    pub const TEMPORAL_ADDRESS: &str = "TEMPORAL_ADDRESS";
    /// `1` if `up` started Temporal: it then has no TLS, no keys, and the namespace `default`.
    pub const TEMPORAL_IS_OWN: &str = "THREATWATCH_TEMPORAL_IS_OWN";
    /// The Temporal Web UI, for links.
    pub const TEMPORAL_UI: &str = "THREATWATCH_TEMPORAL_UI";
    /// The file with the keys that encrypt payloads for Temporal; without it they are not encrypted.
    pub const PAYLOAD_KEY_FILE: &str = workflows::codec::SETTING;
    /// The object store, as a URL.
    pub const S3_ENDPOINT: &str = "S3_ENDPOINT";
    /// The bucket in the object store.
    pub const S3_BUCKET: &str = "S3_BUCKET";
    /// Its region.
    pub const AWS_REGION: &str = "AWS_REGION";
    /// Access key of the object store.
    pub const AWS_ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
    /// Secret key of the object store.
    pub const AWS_SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
    /// The API, as a URL.
    pub const URL: &str = "THREATWATCH_URL";
    /// The API key that commands send to the API.
    pub const API_KEY: &str = "THREATWATCH_API_KEY";
    /// A PEM file with CA certificates that commands trust in addition to the system's.
    pub const CA_FILE: &str = "THREATWATCH_CA_FILE";
    /// The worker's health and metrics, as a URL.
    pub const WORKER_URL: &str = "THREATWATCH_WORKER_URL";
    /// `json` for logs in JSON.
    pub const LOG_FORMAT: &str = "THREATWATCH_LOG_FORMAT";
    /// Folder for installed programs and weights; without it a folder in the state directory.
    pub const TOOLS_DIR: &str = "THREATWATCH_TOOLS_DIR";
    /// The worker deployment of which a worker is a version; empty for none.
    pub const DEPLOYMENT_NAME: &str = "THREATWATCH_DEPLOYMENT_NAME";
    /// A folder with base weights of an encoder, instead of the published ones.
    pub const ENCODER_BASE: &str = "THREATWATCH_ENCODER_BASE";
}

/// Every environment variable that is not a command's flag, except `TEMPORAL_*`, which Temporal's client reads itself.
pub(crate) fn variables() -> impl Iterator<Item = String> {
    let own = [
        names::TEMPORAL_ADDRESS,
        names::TEMPORAL_UI,
        names::TEMPORAL_IS_OWN,
        names::PAYLOAD_KEY_FILE,
        names::S3_ENDPOINT,
        names::S3_BUCKET,
        names::AWS_REGION,
        names::AWS_ACCESS_KEY_ID,
        names::AWS_SECRET_ACCESS_KEY,
        names::URL,
        names::API_KEY,
        names::CA_FILE,
        names::WORKER_URL,
        names::LOG_FORMAT,
        names::TOOLS_DIR,
        names::ENCODER_BASE,
        "RUST_LOG",
    ];
    own.into_iter().chain(telemetry::VARIABLES).map(str::to_owned)
}

/// The folder in which programs and weights are installed.
pub(crate) fn tools(state_dir: &Path) -> PathBuf {
    std::env::var_os(names::TOOLS_DIR).map_or_else(|| state_dir.join("tools"), PathBuf::from)
}

/// Settings by name.
#[derive(Clone, Debug)]
pub struct Settings {
    state_dir: PathBuf,
    file: BTreeMap<String, String>,
    codec: Codec,
}

impl Settings {
    /// Reads the file that `up` wrote into the state directory, if there is one, and the payload keys, if any.
    pub fn load(state_dir: &Path) -> anyhow::Result<Self> {
        let file = read_pairs(&env_file(state_dir))?;
        let settings = Self { state_dir: state_dir.to_owned(), file, codec: Codec::default() };
        if let Some(path) = settings.payload_key_file() {
            settings.codec.replace(payload_keys::read(&path)?);
        }
        Ok(settings)
    }

    /// The codec that encrypts and decrypts payloads for Temporal.
    pub(crate) fn codec(&self) -> &Codec {
        &self.codec
    }

    /// The file with the payload keys.
    pub(crate) fn payload_key_file(&self) -> Option<PathBuf> {
        self.get(names::PAYLOAD_KEY_FILE).map(PathBuf::from)
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// A setting. The environment comes before the file.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        from_environment(name).or_else(|| self.file.get(name).cloned())
    }

    /// The settings of the object store.
    ///
    /// Endpoint and credentials come from one place: all from the environment if it names an endpoint, otherwise all
    /// from the file. Credentials for another store are never mixed in.
    pub fn s3(&self) -> anyhow::Result<S3Settings> {
        let is_external = from_environment(names::S3_ENDPOINT).is_some();
        let find = |name: &str| if is_external { from_environment(name) } else { self.file.get(name).cloned() };
        let required = |name: &'static str| {
            find(name).ok_or_else(|| {
                anyhow!(
                    "{name} is not set, and not in {} either: set it, or start the parts with `threatwatch up`",
                    env_file(&self.state_dir).display()
                )
            })
        };
        Ok(S3Settings {
            endpoint: required(names::S3_ENDPOINT)?,
            bucket: find(names::S3_BUCKET).unwrap_or_else(|| BUCKET.to_owned()),
            region: find(names::AWS_REGION).unwrap_or_else(|| "us-east-1".to_owned()),
            access_key_id: required(names::AWS_ACCESS_KEY_ID)?,
            secret_access_key: Secret::new(required(names::AWS_SECRET_ACCESS_KEY)?),
        })
    }

    /// The registry. Creates the bucket if it is missing.
    pub async fn registry(&self) -> anyhow::Result<Registry> {
        let store = self.store()?;
        store.ensure_bucket().await?;
        Ok(Registry::new(std::sync::Arc::new(store)))
    }

    /// The object store. Sends nothing yet.
    pub fn store(&self) -> anyhow::Result<S3Store> {
        Ok(S3Store::new(&self.s3()?))
    }

    /// The client of Temporal. Sends nothing yet.
    #[must_use]
    pub fn orchestrator(&self, role: &str) -> Orchestrator {
        self.metered_orchestrator(role, None)
    }

    /// The client of Temporal, with a meter that counts its calls. Sends nothing yet.
    #[must_use]
    pub fn metered_orchestrator(&self, role: &str, meter: Option<TemporalMeter>) -> Orchestrator {
        let identity = format!("threatwatch-{role}@{}", std::process::id());
        Orchestrator::new(self.get(names::TEMPORAL_ADDRESS), identity, meter)
            .with_variables(self.temporal_variables())
            .with_codec(self.codec.clone())
            .with_traces(telemetry::plugin())
    }

    /// The `TEMPORAL_*` variables of the Temporal in use.
    ///
    /// None for the server that `up` started: settings for another Temporal, in the environment or in Temporal's own
    /// file, are ignored. Variables in the file of `up` are used only for the address in that file.
    fn temporal_variables(&self) -> Option<BTreeMap<String, String>> {
        let of_file = self.file.get(names::TEMPORAL_ADDRESS);
        let is_of_file = from_environment(names::TEMPORAL_ADDRESS).is_none_or(|address| Some(&address) == of_file);
        if is_of_file && self.file.get(names::TEMPORAL_IS_OWN).is_some_and(|own| own == "1") {
            return None;
        }
        let mut variables = BTreeMap::new();
        if is_of_file {
            let kept = self.file.iter().filter(|(name, _)| is_of_temporal(name));
            variables.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
        }
        variables.extend(temporal_environment());
        Some(variables)
    }

    /// The URL of the API, without a slash at the end.
    #[must_use]
    pub fn api_url(&self) -> String {
        let url = self.get(names::URL).unwrap_or_else(|| "http://127.0.0.1:8086".to_owned());
        url.trim_end_matches('/').to_owned()
    }

    /// The URL of the worker's health and metrics, without a slash at the end.
    #[must_use]
    pub fn worker_url(&self) -> String {
        let url = self.get(names::WORKER_URL).unwrap_or_else(|| "http://127.0.0.1:9095".to_owned());
        url.trim_end_matches('/').to_owned()
    }
}

/// A variable that is set and not empty.
pub(crate) fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The variables of this process that Temporal's client reads.
pub(crate) fn temporal_environment() -> impl Iterator<Item = (String, String)> {
    let pairs =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    pairs.filter(|(name, value)| is_of_temporal(name) && !value.is_empty())
}

/// Whether Temporal's client reads this variable. Other `TEMPORAL_` variables belong to the Docker stack.
fn is_of_temporal(name: &str) -> bool {
    const NAMES: [&str; 5] =
        ["TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY", "TEMPORAL_TLS", "TEMPORAL_CONFIG_FILE", "TEMPORAL_PROFILE"];
    NAMES.contains(&name) || name.starts_with("TEMPORAL_TLS_") || name.starts_with("TEMPORAL_GRPC_META_")
}

/// The file of settings in a state directory.
#[must_use]
pub fn env_file(state_dir: &Path) -> PathBuf {
    state_dir.join("env")
}

/// Reads `NAME=value` lines; returns none if the file does not exist.
pub(crate) fn read_pairs(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Writes `NAME=value` lines to a file that only its owner can read.
pub(crate) fn write_pairs(path: &Path, settings: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let lines: String = settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    write_private(path, &lines)
}

/// Writes a file with mode 0600, completely or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let whole = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || {
        options.open(&whole)?.write_all(text.as_bytes())?;
        fs::rename(&whole, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let settings = [("S3_ENDPOINT", "http://127.0.0.1:1"), ("AWS_SECRET_ACCESS_KEY", "a=b")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        write_pairs(&env_file(dir.path()), &settings).unwrap();
        let loaded = Settings::load(dir.path()).unwrap();
        assert_eq!(loaded.file, settings);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(env_file(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_missing_setting_is_named() {
        let settings = Settings { state_dir: "/nowhere".into(), file: BTreeMap::new(), codec: Codec::default() };
        if std::env::var(names::S3_ENDPOINT).is_err() {
            let error = settings.s3().unwrap_err().to_string();
            assert!(error.contains("S3_ENDPOINT") && error.contains("threatwatch up"), "{error}");
        }
    }
}
