//! Programs, arguments and environment of each part.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::Context;

use super::ports::{self, Ports};
use crate::{programs::S3Server, settings::names};

/// Makes the arguments for each start: a port that was free may be taken by then.
type Arguments = Box<dyn Fn() -> anyhow::Result<Vec<String>> + Send + Sync>;

/// A process that `up` starts.
pub(crate) struct Part {
    /// Name of the part and of its log.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Arguments,
    pub(crate) environment: BTreeMap<String, String>,
    /// Servers are stopped after the parts that use them.
    pub(crate) is_server: bool,
}

impl Part {
    /// Temporal's development server with its Web UI and a file database.
    pub(crate) fn temporal(
        program: PathBuf,
        state_dir: &Path,
        ports: &Ports,
        environment: &BTreeMap<String, String>,
    ) -> Self {
        let mut arguments = words("server start-dev --ip 127.0.0.1 --log-level warn");
        arguments.extend(flag("--port", ports.temporal));
        arguments.extend(flag("--ui-port", ports.temporal_ui));
        arguments.extend(flag("--db-filename", state_dir.join("temporal.db").display()));
        if environment.contains_key(names::PAYLOAD_KEY_FILE) {
            // The Web UI decrypts payloads through this endpoint.
            arguments.extend(flag("--ui-codec-endpoint", format!("{}/codec", ports.api_url())));
        }
        let arguments = Box::new(move || Ok(arguments.clone()));
        Self { name: "temporal", program, arguments, environment: BTreeMap::new(), is_server: true }
    }

    /// The object store.
    pub(crate) fn s3(
        server: S3Server,
        state_dir: &Path,
        ports: &Ports,
        environment: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let data = state_dir.join("s3");
        fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
        let key = environment[names::AWS_ACCESS_KEY_ID].clone();
        let secret = environment[names::AWS_SECRET_ACCESS_KEY].clone();
        let (state_dir, ports) = (state_dir.to_owned(), ports.clone());
        let (program, arguments, environment): (_, Arguments, _) = match server {
            S3Server::MinIo(program) => {
                let environment = [
                    ("MINIO_ROOT_USER", key),
                    ("MINIO_ROOT_PASSWORD", secret),
                    // MinIO does not look for updates.
                    ("MINIO_UPDATE", "off".to_owned()),
                ];
                (program, Box::new(move || minio(&state_dir, &data, &ports)), environment.to_vec())
            }
            S3Server::SeaweedFs(program) => {
                let environment = [(names::AWS_ACCESS_KEY_ID, key), (names::AWS_SECRET_ACCESS_KEY, secret)];
                (program, Box::new(move || seaweedfs(&state_dir, &data, &ports)), environment.to_vec())
            }
        };
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Self { name: "s3", program, arguments, environment, is_server: true })
    }

    /// The worker.
    pub(crate) fn worker(
        state_dir: &Path,
        ports: &Ports,
        environment: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let mut arguments = vec!["worker".to_owned()];
        arguments.extend(flag("--address", format!("127.0.0.1:{}", ports.worker)));
        // With a deployment, runs would wait until an operator makes this version the current one.
        let mut environment = environment.clone();
        environment.insert(names::DEPLOYMENT_NAME.to_owned(), String::new());
        Self::ourselves("worker", arguments, state_dir, &environment)
    }

    /// The API.
    pub(crate) fn api(state_dir: &Path, ports: &Ports, environment: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let mut arguments = vec!["serve".to_owned()];
        arguments.extend(flag("--address", format!("127.0.0.1:{}", ports.api)));
        Self::ourselves("api", arguments, state_dir, environment)
    }

    fn ourselves(
        name: &'static str,
        mut arguments: Vec<String>,
        state_dir: &Path,
        environment: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        arguments.extend(flag("--state-dir", state_dir.display()));
        let program = this_program()?.to_owned();
        let arguments = Box::new(move || Ok(arguments.clone()));
        Ok(Self { name, program, arguments, environment: environment.clone(), is_server: false })
    }
}

/// The path of this program's file at its start.
///
/// A build may replace the file while the program runs; the system then
/// reports the old file as deleted.
pub(super) fn this_program() -> anyhow::Result<&'static Path> {
    static NAME: OnceLock<PathBuf> = OnceLock::new();
    if let Some(name) = NAME.get() {
        return Ok(name);
    }
    let name = env::current_exe().context("find this program's file")?;
    Ok(NAME.get_or_init(|| name))
}

/// MinIO looks for certificates in the state directory: the user's own MinIO certificates would switch on TLS.
fn minio(state_dir: &Path, data: &Path, ports: &Ports) -> anyhow::Result<Vec<String>> {
    let [console] = ports::inner(state_dir, ports, ["minio-console"])?;
    let mut arguments = vec!["server".to_owned(), data.display().to_string()];
    arguments.extend(flag("--address", format!("127.0.0.1:{}", ports.s3)));
    arguments.extend(flag("--console-address", format!("127.0.0.1:{console}")));
    arguments.extend(flag("--certs-dir", state_dir.join("minio-certificates").display()));
    Ok(arguments)
}

/// Every listener of SeaweedFS is on 127.0.0.1 and on a port that `up` chooses, so two can run at once.
///
/// Telemetry is
/// off.
fn seaweedfs(state_dir: &Path, data: &Path, ports: &Ports) -> anyhow::Result<Vec<String>> {
    const INNER: [&str; 9] = [
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "admin.port",
        "admin.port.grpc",
        "s3.port.grpc",
    ];
    let mut arguments = words(
        "mini -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false -admin.ui=false -webdav=false \
         -s3.port.iceberg=0 -s3.port.lance=0 -volume.preStopSeconds=0",
    );
    arguments.push(format!("-dir={}", data.display()));
    arguments.push(format!("-s3.port={}", ports.s3));
    let inner = ports::inner(state_dir, ports, INNER)?;
    arguments.extend(INNER.iter().zip(inner).map(|(name, port)| format!("-{name}={port}")));
    Ok(arguments)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn flag(name: &str, value: impl std::fmt::Display) -> [String; 2] {
    [name.to_owned(), value.to_string()]
}
