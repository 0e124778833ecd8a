//! The load generator wrk.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{client::COMMENT, common::signal};

/// The path of wrk. Without it, a test that needs it is skipped, or fails under CI.
pub(crate) fn wrk() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("wrk")).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "this test needs wrk");
        eprintln!("not run: there is no wrk on PATH");
    }
    found
}

/// Requests for verdicts on eight connections, each as fast as answers come.
pub(crate) struct Load {
    /// `None` after it has ended.
    process: Option<Child>,
    _dir: TempDir,
}

impl Load {
    pub(crate) fn start(wrk: &PathBuf, port: u16, seconds: u32, key: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("predict.lua");
        let key = key.map(|key| format!("wrk.headers[\"Authorization\"] = \"Bearer {key}\"\n")).unwrap_or_default();
        let json = "wrk.headers[\"Content-Type\"] = \"application/json\"\n";
        fs::write(&script, format!("wrk.method = \"POST\"\nwrk.body = '{COMMENT}'\n{json}{key}")).unwrap();
        let mut command = Command::new(wrk);
        command.args(["-t1", "-c8", &format!("-d{seconds}s"), "-s"]).arg(&script);
        command.arg(format!("http://127.0.0.1:{port}/predict")).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { process: Some(command.spawn().unwrap()), _dir: dir }
    }

    /// Stops it early.
    pub(crate) fn stop(self) -> Figures {
        signal("-INT", self.process.as_ref().unwrap().id());
        self.end()
    }

    /// Waits until it ends.
    pub(crate) fn end(mut self) -> Figures {
        let output = self.process.take().unwrap().wait_with_output().unwrap();
        Figures(String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A test that failed leaves no load behind.
        let _ = self.process.as_mut().map(Child::kill);
    }
}

/// The output of wrk.
pub(crate) struct Figures(String);

impl Figures {
    /// Requests per second. Panics if an answer was an error.
    pub(crate) fn rate(&self) -> f64 {
        let text = &self.0;
        assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
        let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        let rate = rate.unwrap_or_else(|| panic!("no rate: {text}")).trim().parse().unwrap();
        assert!(rate > 10.0, "{text}");
        rate
    }
}
