//! `threatwatch backup` and `threatwatch restore` on the servers that `up` starts, while people work.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/client.rs"]
mod client;
mod common;
#[path = "common/process.rs"]
mod process;
#[path = "common/proxy/mod.rs"]
mod proxy;

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use registry::{Key, S3Settings, S3Store, Store as _};
use serde_json::{Value, json};

use common::{BINARY, Up, block_on, both};
use process::{Plan, store_variables};

const COMMENTS: [&str; 4] =
    ["I will come to your house and kill you.", "Nice song, really!", "caf\u{e9}, you will die", "ok"];

/// Runs one of our commands on another bucket of the same store.
fn on_bucket(up: &Up, bucket: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg("--state-dir").arg(up.state_dir());
    command.envs(store_variables(up, up.ports.s3_url(), bucket)).output().unwrap()
}

fn store(up: &Up, bucket: &str) -> S3Store {
    S3Store::new(&S3Settings { bucket: bucket.to_owned(), ..up.settings().s3().unwrap() })
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", both(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", both(output)))
}

fn refused(output: &Output, words: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", both(output));
    assert!(both(output).contains(words) && output.stdout.is_empty(), "{}", both(output));
}

/// Verdicts on some comments as printed, with every digit of the probabilities.
fn verdicts(up: &Up, bucket: &str, version: &str) -> Vec<String> {
    let verdict = |text: &&str| {
        let output = on_bucket(up, bucket, &["predict", "--model", version, "--json", text]);
        json_of(&output).to_string()
    };
    COMMENTS.iter().map(verdict).collect()
}

/// A stack with two promotions, decisions, an API key, and a run that goes on.
struct Working {
    up: Up,
    version: String,
    key: String,
    file: PathBuf,
}

impl Working {
    fn start() -> Self {
        let up = Up::start();
        let report = up.succeed(&["train", "--trainer", "multinomial_nb", "--wait", "--json"]);
        let report: Value = serde_json::from_str(&report).unwrap();
        let version = report["report"]["version"].as_str().unwrap().to_owned();
        let body = json!({ "version": version, "force": true, "reason": "the second" });
        let (status, told) = up.post_json("/promote", &body);
        assert!(status == 200 && told["generation"] == 2, "{told}");
        for number in 0..200 {
            let label = if number % 2 == 0 { "threat" } else { "harmless" };
            let decision = json!({ "text": format!("comment {number}"), "label": label, "reviewer": "mona" });
            assert_eq!(up.post_json("/feedback", &decision).0, 201);
        }
        let key = up.succeed(&["keys", "new", "reader", "--role", "predict"]).trim().to_owned();
        let file = up.dir.path().join("last-night.backup");
        Self { up, version, key, file }
    }

    fn back_up(&self, more: &[&str]) -> Output {
        self.up.run(&[&["backup", self.file.to_str().unwrap()], more].concat())
    }

    fn restore(&self, bucket: &str) -> Output {
        self.up.run(&["restore", self.file.to_str().unwrap(), "--bucket", bucket, "--json"])
    }

    fn state_dir(&self) -> PathBuf {
        self.up.state_dir()
    }
}

fn partial(file: &Path) -> PathBuf {
    PathBuf::from(format!("{}.partial", file.display()))
}

#[test]
fn last_night_comes_back_in_another_bucket() {
    let working = Working::start();
    let Working { up, version, key, file } = &working;
    up.start_training("goes-on", &[r#"{"trainers":["stacked"]}"#]);
    let told = json_of(&working.back_up(&["--json"]));
    assert_eq!((&told["generation"], &told["keys"], &told["decisions"]), (&json!(2), &json!(1), &json!(200)), "{told}");
    assert_eq!((&told["unknown"], &told["deleted_meanwhile"]), (&json!([]), &json!(0)), "{told}");
    let meta = fs::metadata(file).unwrap();
    assert_eq!((meta.permissions().mode() & 0o777, told["file_bytes"].as_u64()), (0o600, Some(meta.len())));
    assert!(!partial(file).exists());
    println!("{told}");

    // The bucket stays in use. Later objects are in the next backup.
    assert!(up.result("goes-on").contains("stacked"));
    let restored = json_of(&working.restore("restored"));
    assert_eq!((&restored["problems"], &restored["bucket"]), (&json!([]), &json!("restored")), "{restored}");
    assert_eq!((&restored["objects"], &restored["already"]), (&told["objects"], &json!(0)), "{restored}");
    let verified = json_of(&on_bucket(up, "restored", &["models", "verify", "--json"]));
    assert_eq!((&verified["generations"], &verified["problems"]), (&json!(2), &json!([])), "{verified}");
    let production = json_of(&on_bucket(up, "restored", &["models", "production", "--json"]));
    assert_eq!((&production["version"], &production["generation"]), (&json!(version), &json!(2)), "{production}");
    assert_eq!(verdicts(up, "restored", version), verdicts(up, "threatwatch", version));

    let serve = Plan::new(up).on_bucket(up, "restored").start_ready();
    let status = |header: &str| {
        let body = r#"{"text":"I will kill you"}"#;
        client::ask(serve.port, &client::request("POST", "/predict", header, body)).unwrap().status
    };
    assert_eq!((status(""), status(&format!("Authorization: Bearer {key}\r\n"))), (401, 200));
    let keys = json_of(&on_bucket(up, "restored", &["keys", "list", "--json"]));
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");

    // A bucket that holds anything else is refused. The message names the object.
    refused(&up.run(&["restore", file.to_str().unwrap()]), "which is not in the backup");
    let again = working.restore("restored");
    let ends = block_on(store(up, "restored").list(Key::AUDIT_OUTCOMES)).unwrap();
    refused(&again, ends.last().unwrap());
    let recorded = block_on(store(up, "restored").list(Key::AUDIT)).unwrap().len();
    assert_eq!(recorded, ends.len(), "the restore itself is on record");
}

#[test]
fn a_file_is_refused_where_it_is_wrong_and_never_replaced_unasked() {
    let working = Working::start();
    let Working { up, file, .. } = &working;
    // No server is needed to check a file.
    let check = |file: &str| {
        let mut command = Command::new(BINARY);
        command.args(["backup", "--verify", file, "--json", "--state-dir", "/nowhere"]).env_remove("S3_ENDPOINT");
        command.output().unwrap()
    };
    assert!(working.back_up(&[]).status.success());
    let name = file.to_str().unwrap();
    assert_eq!(json_of(&check(name))["generation"], 2);
    refused(&working.back_up(&[]), "exists: name another file");
    let before = fs::metadata(file).unwrap().modified().unwrap();
    assert!(working.back_up(&["--force"]).status.success());
    assert!(fs::metadata(file).unwrap().modified().unwrap() > before);

    let bytes = fs::read(file).unwrap();
    let spoilt = up.dir.path().join("spoilt");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for (bytes, words) in [
        (&bytes[..bytes.len() - 1], "cut short"),
        (&flipped, "damaged"),
        (b"a text", "it is not a backup"),
        (b"", "it is not a backup"),
    ] {
        fs::write(&spoilt, bytes).unwrap();
        refused(&check(spoilt.to_str().unwrap()), words);
        refused(&up.run(&["restore", spoilt.to_str().unwrap(), "--bucket", "spoilt"]), words);
        // Not even the bucket is made.
        let error = block_on(store(up, "spoilt").list("")).unwrap_err().to_string();
        assert!(error.contains("NoSuchBucket"), "{words}: {error}");
    }
    refused(&check("/nowhere/file"), "/nowhere/file");
    refused(&up.run(&["backup", "/nowhere/file"]), "/nowhere/file.partial");
    assert_eq!(up.run(&["backup", up.dir.path().to_str().unwrap()]).status.code(), Some(2));
    if Path::new("/dev/full").exists() {
        let full = Command::new(BINARY)
            .args(["backup", "-", "--state-dir"])
            .arg(working.state_dir())
            .stdout(File::options().write(true).open("/dev/full").unwrap())
            .output()
            .unwrap();
        refused(&full, "No space left on device");
    }
    let away = on_bucket_at(up, "http://127.0.0.1:9", &["backup", up.dir.path().join("away").to_str().unwrap()]);
    assert!(!away.status.success() && !partial(&up.dir.path().join("away")).exists(), "{}", both(&away));

    // A mistyped name makes no empty backup, and no bucket.
    for _ in 0..2 {
        let mistyped = on_bucket(up, "mistyped", &["backup", up.dir.path().join("mistyped").to_str().unwrap()]);
        refused(&mistyped, "NoSuchBucket");
    }

    // Through a pipe, as to and from another machine.
    let piped = up.dir.path().join("piped");
    let written = Command::new(BINARY)
        .args(["backup", "-", "--state-dir"])
        .arg(working.state_dir())
        .stdout(File::create(&piped).unwrap())
        .output()
        .unwrap();
    assert!(written.status.success(), "{}", both(&written));
    let restored = Command::new(BINARY)
        .args(["restore", "-", "--bucket", "piped", "--json", "--state-dir"])
        .arg(working.state_dir())
        .stdin(File::open(&piped).unwrap())
        .output()
        .unwrap();
    assert_eq!(json_of(&restored)["generation"], 2);
}

fn on_bucket_at(up: &Up, endpoint: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg("--state-dir").arg(up.state_dir());
    command.envs(store_variables(up, endpoint.to_owned(), "threatwatch")).output().unwrap()
}

#[test]
fn a_restore_that_is_killed_is_run_again() {
    let working = Working::start();
    let Working { up, version, file, .. } = &working;
    let objects = json_of(&working.back_up(&["--json"]))["objects"].as_u64().unwrap() as usize;
    let mut was_killed = false;
    for round in 0..4 {
        let bucket = format!("killed-{round}");
        block_on(store(up, &bucket).ensure_bucket()).unwrap();
        let mut restoring = Command::new(BINARY)
            .args(["restore", file.to_str().unwrap(), "--bucket", &bucket, "--state-dir"])
            .arg(up.state_dir())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Each round a little later.
        let enough = [1, 40, 120, 220][round];
        block_on(async {
            let target = store(up, &bucket);
            while target.list("").await.unwrap().len() < enough && restoring.try_wait().unwrap().is_none() {}
        });
        restoring.kill().unwrap();
        let is_done = restoring.wait().unwrap().success();
        let left = block_on(store(up, &bucket).list("")).unwrap().len();
        println!("killed behind {left} of {objects} objects");
        if is_done || left > objects {
            continue;
        }
        was_killed = true;
        let told = json_of(&working.restore(&bucket));
        assert!(told["already"].as_u64().unwrap() > 0 && told["problems"] == json!([]), "{told}");
        assert_eq!(verdicts(up, &bucket, version), verdicts(up, "threatwatch", version));
    }
    assert!(was_killed, "every restore was too quick");
}
