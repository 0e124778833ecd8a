//! `threatwatch serve` as a separate process for one test, and the memory and files that it uses.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    client::{self, Answer},
    common::{BINARY, Up, free_ports, signal, wait_for},
    proxy::Proxy,
};

/// The settings of a `serve`, which may be started several times on the same port with the same cache.
pub(crate) struct Plan {
    state_dir: PathBuf,
    dir: Arc<TempDir>,
    pub(crate) port: u16,
    linger: u16,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    files: Option<u32>,
    log: Option<PathBuf>,
}

impl Plan {
    pub(crate) fn new(up: &Up) -> Self {
        let (dir, port) = (Arc::new(tempfile::tempdir().unwrap()), free_ports().api);
        Self {
            state_dir: up.state_dir(),
            dir,
            port,
            linger: 0,
            arguments: Vec::new(),
            environment: Vec::new(),
            files: None,
            log: None,
        }
    }

    /// Only with these variables. The state directory is empty.
    pub(crate) fn alone(environment: Vec<(&'static str, String)>) -> Self {
        let (dir, port) = (Arc::new(tempfile::tempdir().unwrap()), free_ports().api);
        let state_dir = dir.path().join("state");
        Self { state_dir, dir, port, linger: 0, arguments: Vec::new(), environment, files: None, log: None }
    }

    pub(crate) fn with_variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// With its cache in this folder.
    pub(crate) fn cached_in(self, folder: &Path) -> Self {
        self.with(&["--cache-dir", folder.to_str().unwrap()])
    }

    /// With a log in this file.
    pub(crate) fn logged_in(mut self, file: &Path) -> Self {
        self.log = Some(file.to_owned());
        self
    }

    /// With the store of `up`, reached through a proxy.
    pub(crate) fn through(self, up: &Up, proxy: &Proxy) -> Self {
        self.with_store(up, format!("http://127.0.0.1:{}", proxy.port), "threatwatch")
    }

    /// With another bucket of the store of `up`.
    pub(crate) fn on_bucket(self, up: &Up, bucket: &str) -> Self {
        self.with_store(up, up.ports.s3_url(), bucket)
    }

    fn with_store(mut self, up: &Up, endpoint: String, bucket: &str) -> Self {
        self.environment = store_variables(up, endpoint, bucket);
        self
    }

    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Sets how many seconds it takes new connections after SIGTERM.
    pub(crate) fn lingering(mut self, seconds: u16) -> Self {
        self.linger = seconds;
        self
    }

    /// Sets its limit of open files.
    pub(crate) fn with_files(mut self, files: u32) -> Self {
        self.files = Some(files);
        self
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Starts it and does not wait.
    pub(crate) fn start(&self) -> Serve {
        let mut command = match self.files {
            None => Command::new(BINARY),
            Some(files) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\""), BINARY]);
                shell
            }
        };
        command.args(["serve", "--address", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--linger-seconds", &self.linger.to_string()]);
        command.arg("--state-dir").arg(&self.state_dir).args(&self.arguments);
        if !self.arguments.iter().any(|argument| argument == "--cache-dir") {
            command.arg("--cache-dir").arg(self.cache());
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let path = self.log.clone().unwrap_or_else(|| self.dir.path().join("log"));
        let log = fs::File::options().create(true).append(true).open(&path).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Serve { process: command.spawn().unwrap(), port: self.port, log: path, _dir: Arc::clone(&self.dir) }
    }

    /// Starts it and waits until it knows what is in production.
    pub(crate) fn start_ready(&self) -> Serve {
        let serve = self.start();
        let is_ready = || serve.get("/health/ready").is_ok_and(|a| a.status == 200 && a.json()["stale"].is_null());
        assert!(wait_for(Duration::from_secs(20), is_ready), "it does not serve: {}", serve.log());
        serve
    }
}

/// The variables that make a process use a bucket at an endpoint.
pub(crate) fn store_variables(up: &Up, endpoint: String, bucket: &str) -> Vec<(&'static str, String)> {
    let ours = up.settings().s3().unwrap();
    vec![
        ("S3_ENDPOINT", endpoint),
        ("S3_BUCKET", bucket.to_owned()),
        ("AWS_ACCESS_KEY_ID", ours.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", ours.secret_access_key.expose().to_owned()),
    ]
}

/// A running `serve`, stopped on drop.
pub(crate) struct Serve {
    process: Child,
    pub(crate) port: u16,
    log: PathBuf,
    _dir: Arc<TempDir>,
}

impl Serve {
    pub(crate) fn get(&self, path: &str) -> std::io::Result<Answer> {
        client::get(self.port, path)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        signal("-TERM", self.process.id());
    }

    /// Waits for its end. Returns the exit code.
    pub(crate) fn ends_within(&mut self, patience: Duration) -> Option<i32> {
        let process = &mut self.process;
        assert!(wait_for(patience, || process.try_wait().unwrap().is_some()), "it goes on");
        self.process.wait().unwrap().code()
    }

    /// The processor time that it has used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// The share of one core that it takes while a test waits.
    pub(crate) fn cpu_share_over(&self, time: Duration) -> f64 {
        let before = self.cpu();
        std::thread::sleep(time);
        self.cpu().saturating_sub(before).as_secs_f64() / time.as_secs_f64()
    }

    pub(crate) fn threads(&self) -> u64 {
        self.status("Threads")
    }

    /// Its memory now. The peak is measured anew from here.
    pub(crate) fn memory(&self) -> u64 {
        fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
        self.status("VmRSS") * 1024
    }

    /// The peak memory since the last call of [`Self::memory`].
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM") * 1024
    }

    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        // When it stops, it withdraws its report, so that later promotions do not wait for it.
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            self.terminate();
            wait_for(Duration::from_secs(3), || self.process.try_wait().is_ok_and(|status| status.is_some()));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
