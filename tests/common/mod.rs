//! A running `threatwatch up` for one test: its directory, its ports, its end.

#![allow(dead_code, reason = "each test binary uses a part of this")]
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test may panic; a module of tests is shared")]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use threatwatch::{programs, settings::Settings, up::Ports};

pub const BINARY: &str = env!("CARGO_BIN_EXE_threatwatch");

/// Programs are installed once for all tests.
pub fn tools() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools")
}

/// The Temporal CLI, found as `up` finds it.
pub fn temporal_cli() -> PathBuf {
    programs::temporal(&tools(), &|text| eprintln!("{text}")).unwrap()
}

/// `threatwatch up`, stopped on drop.
pub struct Up {
    process: Child,
    pub ports: Ports,
    pub dir: TempDir,
}

impl Up {
    /// Starts it on free ports and waits until everything is up.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), free_ports(), &[])
    }

    pub fn start_in(dir: TempDir, ports: Ports, arguments: &[&str]) -> Self {
        Self::start_with(dir, ports, arguments, &[])
    }

    pub fn start_with(dir: TempDir, ports: Ports, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        install_crypto();
        let output = fs::File::create(dir.path().join("up.out")).unwrap();
        let mut command = up_command(dir.path(), &ports);
        command.envs(environment.iter().copied()).args(arguments).stdout(output.try_clone().unwrap()).stderr(output);
        let process = command.spawn().unwrap();
        let mut up = Self { process, ports, dir };
        let started = wait_for(Duration::from_mins(3), || {
            assert!(up.process.try_wait().unwrap().is_none(), "up ended: {}", up.output());
            up.output().contains("threatwatch is up")
        });
        assert!(started, "up did not start: {}", up.output());
        up
    }

    pub fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("up.out")).unwrap()
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// One of our commands, which finds this run's parts.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(BINARY).args(arguments).arg("--state-dir").arg(self.state_dir()).output().unwrap()
    }

    /// Runs one of our commands, which must succeed. Returns its output.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", both(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The Temporal CLI on this run's server.
    pub fn temporal(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(temporal_cli());
        let (address, namespace) = match TemporalOfOthers::find() {
            Some(other) => (other.address, TemporalOfOthers::namespace(self.dir.path())),
            None => (self.ports.temporal_address(), "default".to_owned()),
        };
        command.args(arguments).args(["--address", &address]);
        if !arguments.contains(&"--namespace") {
            command.args(["--namespace", &namespace]);
        }
        command.env("TEMPORAL_CONFIG_FILE", self.dir.path().join("none.toml")).output().unwrap()
    }

    /// Starts `TrainWorkflow` by the Temporal CLI.
    pub fn start_training(&self, id: &str, inputs: &[&str]) {
        let mut arguments = vec!["workflow", "start", "--type", "TrainWorkflow", "--task-queue", "threatwatch"];
        arguments.extend(["--workflow-id", id]);
        arguments.extend(inputs.iter().flat_map(|input| ["--input", input]));
        let started = self.temporal(&arguments);
        assert!(started.status.success(), "{}", both(&started));
    }

    /// The output of `temporal workflow result` at a run's end.
    pub fn result(&self, id: &str) -> String {
        both(&self.temporal(&["workflow", "result", "--workflow-id", id]))
    }

    /// Starts `TrainWorkflow` by the Temporal CLI. Returns the output of [`Self::result`].
    pub fn train_by_cli(&self, id: &str, inputs: &[&str]) -> String {
        self.start_training(id, inputs);
        self.result(id)
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask(reqwest::Client::get, path)
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, String) {
        self.ask(|client, url| client.post(url).json(body), path)
    }

    pub fn get_json(&self, path: &str) -> Value {
        let (status, text) = self.get(path);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {status}: {text}"))
    }

    pub fn post_json(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.post(path, body);
        let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {status}: {text}"));
        (status, json)
    }

    fn ask(
        &self,
        request: impl FnOnce(&reqwest::Client, String) -> reqwest::RequestBuilder,
        path: &str,
    ) -> (u16, String) {
        let url = format!("{}{path}", self.ports.api_url());
        block_on(async {
            let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap();
            let response = request(&client, url).send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        })
    }

    /// Process ids of this run's processes whose command line has `word`.
    pub fn pids(&self, word: &str) -> Vec<u32> {
        processes_with(&self.dir.path().display().to_string())
            .into_iter()
            .filter(|(_, line)| line.contains(word))
            .map(|(pid, _)| pid)
            .collect()
    }

    pub fn kill_9(&self, word: &str) {
        let pids = self.pids(word);
        assert!(!pids.is_empty(), "no process with {word}");
        for &pid in &pids {
            signal("-KILL", pid);
        }
        // The kernel may take a moment. A search for the next process must not find this one.
        let are_gone = || self.pids(word).iter().all(|pid| !pids.contains(pid));
        assert!(wait_for(Duration::from_secs(10), are_gone), "{word} does not die");
    }

    /// Sends a signal to `up` itself and waits for its end. Returns the exit code and the time that it took.
    pub fn stop(&mut self, name: &str) -> (Option<i32>, Duration) {
        let started = Instant::now();
        signal(name, self.process.id());
        let status = self.process.wait().unwrap();
        (status.code(), started.elapsed())
    }

    /// Ends this run and gives its directory and ports to the next.
    pub fn into_parts(mut self) -> (TempDir, Ports) {
        self.stop("-TERM");
        self.left_behind()
    }

    /// The directory and ports of a run that has ended, for the next.
    pub fn left_behind(mut self) -> (TempDir, Ports) {
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        (dir, self.ports.clone())
    }

    /// Keeps a run's history for `tests/replay.rs` if `RECORD_HISTORIES` is set.
    ///
    /// A release that changes the steps of a workflow needs a new one.
    pub fn record_history(&self, workflow_id: &str, name: &str) {
        if std::env::var_os("RECORD_HISTORIES").is_none() {
            return;
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories").join(format!("{name}.json"));
        let _ = fs::remove_file(&file);
        self.succeed(&["history", "save", workflow_id, file.to_str().unwrap()]);
    }

    pub fn settings(&self) -> Settings {
        Settings::load(&self.state_dir()).unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            if std::thread::panicking() {
                eprintln!("{}", self.output());
            }
            self.stop("-TERM");
        }
    }
}

/// `threatwatch up`, by a copy of the program in `dir` if a test has put one there.
pub fn up_command(dir: &Path, ports: &Ports) -> Command {
    let copy = dir.join("threatwatch");
    let mut command = Command::new(if copy.exists() { copy.as_path() } else { Path::new(BINARY) });
    command.arg("up").arg("--state-dir").arg(dir.join("state")).env("THREATWATCH_TOOLS_DIR", tools());
    for (flag, port) in [
        ("--port", ports.api),
        ("--temporal-port", ports.temporal),
        ("--temporal-ui-port", ports.temporal_ui),
        ("--s3-port", ports.s3),
        ("--worker-port", ports.worker),
    ] {
        command.arg(flag).arg(port.to_string());
    }
    for name in ["TEMPORAL_ADDRESS", "S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_BUCKET"] {
        command.env_remove(name);
    }
    match TemporalOfOthers::find() {
        Some(other) => {
            let namespace = TemporalOfOthers::namespace(dir);
            other.create(&namespace);
            command.env("TEMPORAL_ADDRESS", other.address).env("TEMPORAL_NAMESPACE", namespace);
        }
        // Settings for another Temporal must not reach ours.
        None => {
            command.env("TEMPORAL_NAMESPACE", "of-somebody-else").env("TEMPORAL_API_KEY", "of-somebody-else");
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A Temporal that `TEST_TEMPORAL_ADDRESS` names, in place of the one that `up` starts. Each directory of a test has a
/// namespace of its own there.
struct TemporalOfOthers {
    address: String,
}

impl TemporalOfOthers {
    fn find() -> Option<Self> {
        std::env::var("TEST_TEMPORAL_ADDRESS").ok().map(|address| Self { address })
    }

    fn namespace(dir: &Path) -> String {
        format!("test{}", dir.file_name().unwrap().to_str().unwrap().replace('.', "-"))
    }

    /// Creates a namespace, unless it is there, and waits until every part of the server knows it.
    fn create(&self, namespace: &str) {
        let ask = |arguments: &[&str]| {
            let mut command = Command::new(temporal_cli());
            command.args(arguments).args(["--namespace", namespace, "--address", &self.address]).output().unwrap()
        };
        let created = ask(&["operator", "namespace", "create", "--retention", "24h"]);
        let said = both(&created);
        assert!(created.status.success() || said.contains("already exists"), "{said}");
        let is_known = || ask(&["workflow", "list", "--limit", "1"]).status.success();
        assert!(wait_for(Duration::from_mins(1), is_known), "{namespace} is not known after a minute");
    }
}

pub fn free_ports() -> Ports {
    let listeners: Vec<TcpListener> = (0..5).map(|_| threatwatch::up::free_listener().unwrap()).collect();
    let port = |at: usize| listeners[at].local_addr().unwrap().port();
    Ports { api: port(0), temporal: port(1), temporal_ui: port(2), s3: port(3), worker: port(4) }
}

/// Waits for a condition; `false` if it does not hold within `patience`.
pub fn wait_for(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// A headless browser, if the machine has one. Without it, a test that needs it is skipped, or fails under CI.
pub fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name)))
        .find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "this test needs chromium");
        eprintln!("not run: there is no chromium on PATH");
    }
    found
}

/// The page's elements after its scripts ran.
pub fn dump_dom(browser: &Path, url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=8000", "--dump-dom", url])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {name} {pid}");
}

/// Every process whose command line has `word`.
pub fn processes_with(word: &str) -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let line = |pid: u32| {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    pids.map(|pid| (pid, line(pid))).filter(|(_, line)| line.contains(word)).collect()
}
