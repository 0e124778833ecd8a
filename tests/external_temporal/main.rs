//! An external Temporal: another namespace, API keys, client certificates; on a real server behind TLS.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;
mod tls_proxy;

use std::{
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use threatwatch::up::Ports;

use common::{BINARY, Up, both, free_ports, install_crypto, temporal_cli, up_command, wait_for};
use tls_proxy::{Asks, Certificates, TlsProxy};

const NAMESPACE: &str = "forum-prod";
const API_KEY: &str = "correct-horse-battery";

/// A Temporal server of its own with nothing in it but the namespace `default`.
struct Server {
    process: Child,
    port: u16,
    _dir: TempDir,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let Ports { temporal: port, .. } = free_ports();
        let mut command = Command::new(temporal_cli());
        command.args(["server", "start-dev", "--headless", "--ip", "127.0.0.1", "--log-level", "error"]);
        command.args(["--port", &port.to_string(), "--db-filename"]).arg(dir.path().join("temporal.db"));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { process, port, _dir: dir };
        let is_up = || server.cli("operator cluster health").status.success();
        assert!(wait_for(Duration::from_secs(30), is_up), "no Temporal on {port}");
        server
    }

    /// The Temporal CLI beside the proxy.
    fn cli(&self, words: &str) -> Output {
        let mut command = Command::new(temporal_cli());
        command.args(words.split_whitespace()).args(["--address", &format!("127.0.0.1:{}", self.port)]);
        command.env("TEMPORAL_CONFIG_FILE", "none.toml").output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `threatwatch doctor`'s line on Temporal, with these variables and no others.
fn temporal_of_doctor(variables: &[(&str, String)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.args(["doctor", "--state-dir"]).arg(dir.path()).envs(variables.iter().map(|(name, value)| (name, value)));
    // Nothing else is there, and nobody waits for it.
    command.env("S3_ENDPOINT", "http://127.0.0.1:1").env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
    command.env("THREATWATCH_URL", "http://127.0.0.1:1").env("THREATWATCH_WORKER_URL", "http://127.0.0.1:1");
    command.env("TEMPORAL_CONFIG_FILE", dir.path().join("none.toml"));
    let words = both(&command.output().unwrap());
    words.lines().find(|line| line.contains(" temporal ")).unwrap_or(&words).to_owned()
}

/// Runs a command that doctor printed between backticks, as an operator would.
fn run_as_told(line: &str) {
    let told = line.split('`').rfind(|part| part.starts_with("temporal operator"));
    let told = told.unwrap_or_else(|| panic!("no command in: {line}"));
    let words = told.split_whitespace().skip(1);
    let done = Command::new(temporal_cli()).args(words).env("TEMPORAL_CONFIG_FILE", "none.toml").output().unwrap();
    assert!(done.status.success(), "{told}: {}", both(&done));
}

#[test]
fn doctor_tells_of_what_is_missing_and_of_the_command_that_makes_it() {
    let server = Server::start();
    let variables =
        [("TEMPORAL_ADDRESS", format!("127.0.0.1:{}", server.port)), ("TEMPORAL_NAMESPACE", NAMESPACE.to_owned())];
    let line = temporal_of_doctor(&variables);
    assert!(line.starts_with("WRONG") && line.contains("there is no namespace `forum-prod`"), "{line}");
    assert!(
        line.contains("TEMPORAL_NAMESPACE") && line.contains(&format!("--address 127.0.0.1:{}", server.port)),
        "{line}"
    );
    run_as_told(&line);

    let missing = || {
        let line = temporal_of_doctor(&variables);
        line.contains("search attributes are missing").then_some(line)
    };
    let mut line = None;
    assert!(
        wait_for(Duration::from_secs(20), || {
            line = missing();
            line.is_some()
        }),
        "{}",
        temporal_of_doctor(&variables)
    );
    let line = line.unwrap();
    assert!(line.contains("ModelVersion") && line.contains("--name F1 --type Double"), "{line}");
    run_as_told(&line);
    let is_well = || temporal_of_doctor(&variables).starts_with("ok ");
    assert!(wait_for(Duration::from_secs(20), is_well), "{}", temporal_of_doctor(&variables));
    assert!(temporal_of_doctor(&variables).contains("namespace forum-prod"));

    // One of another type: runs that set it would hang.
    assert!(server.cli("operator namespace create --namespace other").status.success());
    let made =
        || server.cli("operator search-attribute create --namespace other --name Stage --type Int").status.success();
    assert!(wait_for(Duration::from_secs(20), made));
    let variables = [variables[0].clone(), ("TEMPORAL_NAMESPACE", "other".to_owned())];
    let names_the_type = || temporal_of_doctor(&variables).contains("Stage of the namespace other has the type Int");
    assert!(wait_for(Duration::from_secs(20), names_the_type), "{}", temporal_of_doctor(&variables));
}

#[test]
fn everything_works_in_a_namespace_of_its_own_behind_tls_with_a_client_certificate_and_an_api_key() {
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(dir.path());
    let asks = Asks { client_certificate: true, api_key: Some(API_KEY.to_owned()) };
    let proxy = runtime.block_on(TlsProxy::start(&certificates, asks, server.port));
    let address = format!("localhost:{}", proxy.port);
    let all = [
        ("TEMPORAL_ADDRESS", address.clone()),
        ("TEMPORAL_NAMESPACE", NAMESPACE.to_owned()),
        ("TEMPORAL_API_KEY", API_KEY.to_owned()),
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", certificates.path("ca.pem")),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", certificates.path("client.pem")),
        ("TEMPORAL_TLS_CLIENT_KEY_PATH", certificates.path("client.key")),
    ];
    // The namespace is not there yet: `up` says so at once, with the command.
    let mut refused = up_command(dir.path(), &free_ports());
    let refused = refused.envs(all.iter().map(|(name, value)| (name, value))).output().unwrap();
    let words = both(&refused);
    assert!(!refused.status.success() && words.contains("there is no namespace `forum-prod`"), "{words}");
    assert!(server.cli(&format!("operator namespace create --namespace {NAMESPACE}")).status.success());

    let environment: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let up = Up::start_with(tempfile::tempdir().unwrap(), free_ports(), &[], &environment);
    // Commands of another shell find all of it in the state directory.
    let trained = up.succeed(&["train", "--wait", "--trainer", "multinomial_nb", "--promote"]);
    assert!(trained.contains("generation 2"), "{trained}");
    let rolled = up.post_json("/rollback", &serde_json::json!({ "reason": "back", "actor": "me" }));
    assert_eq!((rolled.0, rolled.1["generation"].as_u64()), (200, Some(3)), "{}", rolled.1);
    up.succeed(&["schedule", "create"]);
    let doctor = up.run(&["doctor"]);
    assert!(doctor.status.success() && both(&doctor).contains("namespace forum-prod"), "{}", both(&doctor));
    let listed = |namespace: &str| both(&server.cli(&format!("workflow list --namespace {namespace}")));
    assert!(
        wait_for(Duration::from_secs(10), || listed(NAMESPACE).contains("train-first-model")),
        "{}",
        listed(NAMESPACE)
    );
    assert!(!listed("default").contains("train-first-model"), "{}", listed("default"));
    let seen = proxy.seen.lock().unwrap().clone();
    assert!(seen.len() > 50 && seen.iter().all(|shown| *shown == format!("Bearer {API_KEY}")), "{:?}", &seen[..3]);
    println!("{} requests came with the API key", seen.len());
    drop(up);

    // Each setting that is wrong is named.
    let with = |changes: &[(&'static str, Option<String>)]| {
        let mut variables: Vec<(&str, String)> =
            all.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name)).cloned().collect();
        variables.extend(changes.iter().filter_map(|(name, value)| Some((*name, value.clone()?))));
        temporal_of_doctor(&variables)
    };
    let pair = |name: &str| {
        let path = |ending| Some(certificates.path(&format!("{name}.{ending}")));
        [("TEMPORAL_TLS_CLIENT_CERT_PATH", path("pem")), ("TEMPORAL_TLS_CLIENT_KEY_PATH", path("key"))]
    };
    let no_pair = [("TEMPORAL_TLS_CLIENT_CERT_PATH", None), ("TEMPORAL_TLS_CLIENT_KEY_PATH", None)];
    let one = |name: &'static str, value: &str| [(name, Some(value.to_owned()))];
    let cases: [(&str, String, &[&str]); 10] = [
        ("all", with(&[]), &["ok ", "namespace forum-prod"]),
        (
            "another authority",
            with(&one("TEMPORAL_TLS_SERVER_CA_CERT_PATH", &certificates.path("other-ca.pem"))),
            &["WRONG", "TEMPORAL_TLS_SERVER_CA_CERT_PATH", "not from a trusted authority"],
        ),
        (
            "another name",
            with(&one("TEMPORAL_TLS_SERVER_NAME", "temporal.example")),
            &["WRONG", "TEMPORAL_TLS_SERVER_NAME", "for another name"],
        ),
        ("no client certificate", with(&no_pair), &["WRONG", "TEMPORAL_TLS_CLIENT_CERT_PATH", "client certificate"]),
        ("expired", with(&pair("expired")), &["WRONG", "TEMPORAL_TLS_CLIENT_CERT_PATH", "certificate"]),
        ("stranger", with(&pair("stranger")), &["WRONG", "TEMPORAL_TLS_CLIENT_CERT_PATH", "client certificate"]),
        ("wrong key", with(&one("TEMPORAL_API_KEY", "wrong")), &["WRONG", "TEMPORAL_API_KEY", "unauthorized"]),
        ("no key", with(&[("TEMPORAL_API_KEY", None)]), &["WRONG", "TEMPORAL_API_KEY", "requires one"]),
        ("no namespace", with(&one("TEMPORAL_NAMESPACE", "nowhere")), &["WRONG", "TEMPORAL_NAMESPACE", "`nowhere`"]),
        (
            "no file",
            with(&one("TEMPORAL_TLS_CLIENT_KEY_PATH", "/nowhere/key.pem")),
            &["WRONG", "TEMPORAL_TLS_CLIENT_KEY_PATH is /nowhere/key.pem", "does not exist"],
        ),
    ];
    let mut wrong = Vec::new();
    for (what, line, expected) in cases {
        println!("{what}: {line}");
        if !expected.iter().all(|words| line.contains(words)) || line.contains(API_KEY) {
            wrong.push(format!("{what}: {line}"));
        }
    }
    // Without TLS at all, and TLS where there is none.
    let plain = temporal_of_doctor(&[("TEMPORAL_ADDRESS", address)]);
    println!("plain: {plain}");
    let of_plain = ("TEMPORAL_ADDRESS", format!("127.0.0.1:{}", server.port));
    let needless = temporal_of_doctor(&[of_plain, ("TEMPORAL_TLS", "true".to_owned())]);
    println!("needless: {needless}");
    for (line, words) in [(&plain, "TEMPORAL_TLS"), (&needless, "TEMPORAL_TLS")] {
        if !(line.starts_with("WRONG") && line.contains(words)) {
            wrong.push(line.clone());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
