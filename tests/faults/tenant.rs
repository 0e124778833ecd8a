//! A namespace and a bucket for one test on shared servers; a worker and a Temporal for one test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use registry::{Registry, S3Settings, S3Store};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    block_on, client,
    common::{BINARY, Up, both, free_ports, install_crypto, temporal_cli, wait_for},
    process::{Plan, Serve, store_variables},
};

/// A namespace of Temporal and a bucket, and the servers that they are on.
pub(crate) struct Tenant {
    up: Arc<Up>,
    bucket: String,
    endpoint: String,
    namespace: String,
    temporal: String,
}

impl Tenant {
    /// Uses both servers of an `up`.
    pub(crate) fn new(up: &Arc<Up>, name: &str) -> Self {
        install_crypto();
        let tenant = Self {
            up: Arc::clone(up),
            bucket: format!("faults-{name}"),
            endpoint: up.ports.s3_url(),
            namespace: format!("faults-{name}"),
            temporal: up.ports.temporal_address(),
        };
        let create = ["operator", "namespace", "create", "--retention", "24h", "--namespace", &tenant.namespace];
        let created = up.temporal(&create);
        assert!(created.status.success(), "{}", both(&created));
        // Temporal looks for new namespaces every few seconds.
        let is_known = || tenant.temporal(&["workflow", "count"]).status.success();
        assert!(wait_for(Duration::from_mins(1), is_known), "{}", both(&tenant.temporal(&["workflow", "count"])));
        tenant
    }

    /// Uses another Temporal at an address, in its only namespace.
    pub(crate) fn with_temporal_at(up: &Arc<Up>, name: &str, temporal: String) -> Self {
        install_crypto();
        let (bucket, namespace) = (format!("faults-{name}"), "default".to_owned());
        Self { up: Arc::clone(up), bucket, endpoint: up.ports.s3_url(), namespace, temporal }
    }

    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = store_variables(&self.up, self.endpoint.clone(), &self.bucket);
        variables.push(("TEMPORAL_ADDRESS", self.temporal.clone()));
        variables.push(("TEMPORAL_NAMESPACE", self.namespace.clone()));
        variables
    }

    pub(crate) fn s3(&self) -> S3Settings {
        S3Settings { bucket: self.bucket.clone(), ..self.up.settings().s3().unwrap() }
    }

    pub(crate) fn registry(&self) -> Registry {
        Registry::new(Arc::new(S3Store::new(&self.s3())))
    }

    pub(crate) fn api(&self) -> Plan {
        Plan::alone(self.variables())
    }

    pub(crate) fn worker(&self) -> Workplace {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let log = dir.path().join("log");
        Workplace { dir, log, port: free_ports().worker, variables: self.variables() }
    }

    /// The Temporal CLI in this namespace.
    pub(crate) fn temporal(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(temporal_cli());
        command.args(arguments).args(["--address", &self.temporal, "--namespace", &self.namespace]);
        command.env("TEMPORAL_CONFIG_FILE", "/nowhere/none.toml").output().unwrap()
    }

    /// Runs one of our commands.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let state = tempfile::tempdir().unwrap();
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--state-dir").arg(state.path()).envs(self.variables()).output().unwrap()
    }

    /// Starts a short training run by the Temporal CLI.
    pub(crate) fn start_training(&self, id: &str, auto_promote: &str) {
        let input = json!({ "trainers": ["multinomial_nb"], "auto_promote": auto_promote }).to_string();
        let start = ["workflow", "start", "--type", "TrainWorkflow", "--task-queue", "threatwatch", "--workflow-id"];
        let started = self.temporal(&[&start[..], &[id, "--input", &input]].concat());
        assert!(started.status.success(), "{}", both(&started));
    }

    /// The output of `temporal workflow result` at a run's end.
    pub(crate) fn result(&self, id: &str) -> String {
        both(&self.temporal(&["workflow", "result", "--workflow-id", id]))
    }

    /// A run's history.
    pub(crate) fn events(&self, id: &str) -> Vec<Value> {
        let shown = self.temporal(&["workflow", "show", "--output", "json", "--workflow-id", id]);
        let history: Value = serde_json::from_slice(&shown.stdout).unwrap_or_else(|_| panic!("{}", both(&shown)));
        history["events"].as_array().unwrap().clone()
    }

    /// Versions that a run registered.
    pub(crate) fn versions_of(&self, id: &str) -> usize {
        let manifests = block_on(self.registry().manifests()).unwrap();
        manifests.iter().filter(|manifest| manifest.workflow_id == id).count()
    }
}

/// A folder and settings for a worker, which a test may start several times.
pub(crate) struct Workplace {
    dir: Arc<TempDir>,
    log: PathBuf,
    port: u16,
    variables: Vec<(&'static str, String)>,
}

impl Workplace {
    pub(crate) fn with_variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    pub(crate) fn logged_in(mut self, file: &Path) -> Self {
        file.clone_into(&mut self.log);
        self
    }

    /// Starts it and does not wait.
    pub(crate) fn start(&self) -> Worker {
        let mut command = Command::new(BINARY);
        command.args(["worker", "--address", &format!("127.0.0.1:{}", self.port)]);
        command.arg("--state-dir").arg(self.dir.path().join("state"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let log = self.log.clone();
        let output = fs::File::options().create(true).append(true).open(&log).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Worker { process: command.spawn().unwrap(), port: self.port, log, _dir: Arc::clone(&self.dir) }
    }

    /// Starts it and waits until it works.
    pub(crate) fn start_ready(&self) -> Worker {
        let worker = self.start();
        assert!(wait_for(Duration::from_secs(30), || worker.is_ready()), "{}", worker.log());
        worker
    }
}

/// A running worker, killed when dropped.
pub(crate) struct Worker {
    process: Child,
    port: u16,
    log: PathBuf,
    _dir: Arc<TempDir>,
}

impl Worker {
    pub(crate) fn is_ready(&self) -> bool {
        client::get(self.port, "/health/ready").is_ok_and(|answer| answer.status == 200)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Temporal's development server with a database in a file, killed when dropped.
pub(crate) struct Temporal {
    process: Child,
    database: PathBuf,
    pub(crate) port: u16,
}

impl Temporal {
    pub(crate) fn start(database: &Path) -> Self {
        let port = free_ports().temporal;
        let temporal = Self { process: Self::spawn(database, port), database: database.to_owned(), port };
        assert!(wait_for(Duration::from_secs(30), || temporal.answers()), "Temporal does not answer");
        temporal
    }

    fn spawn(database: &Path, port: u16) -> Child {
        let mut command = Command::new(temporal_cli());
        command.args(["server", "start-dev", "--ip", "127.0.0.1", "--headless", "--log-level", "error", "--port"]);
        command.arg(port.to_string()).arg("--db-filename").arg(database);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn answers(&self) -> bool {
        let mut command = Command::new(temporal_cli());
        command.args(["operator", "cluster", "health", "--address", &self.address()]);
        command.output().unwrap().status.success()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again, on the same database and port, and does not wait.
    pub(crate) fn start_again(&mut self) {
        self.process = Self::spawn(&self.database, self.port);
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }
}

impl Drop for Temporal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Trains and promotes a first model through the API, and waits until it serves.
pub(crate) fn first_model(api: &Serve) {
    let body = json!({ "trainers": ["multinomial_nb"], "auto_promote": "if_gate_passes" });
    let answer = client::ask(api.port, &client::request("POST", "/train", "", &body.to_string())).unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    let serves = || api.get("/health/ready").is_ok_and(|answer| answer.status == 200);
    assert!(wait_for(Duration::from_mins(1), serves), "{}", api.log());
}
