//! The command line from the view of scripts and shells, without a server.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::Value;

/// A command of ours where nothing runs.
fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(common::BINARY);
    command.args(arguments).args(["--state-dir", "/nowhere"]);
    let away = "127.0.0.1:9";
    command.env("TEMPORAL_ADDRESS", away);
    for name in ["THREATWATCH_URL", "THREATWATCH_WORKER_URL"] {
        command.env(name, format!("http://{away}"));
    }
    command.env_remove("S3_ENDPOINT").output().unwrap()
}

#[test]
fn doctor_tells_programs_which_part_is_not_well() {
    let output = run(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", common::both(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["well"], false);
    let parts = told["parts"].as_array().unwrap();
    let names: Vec<&str> = parts.iter().map(|part| part["part"].as_str().unwrap()).collect();
    assert_eq!(names, ["object store", "production", "temporal", "worker", "api", "payloads"]);
    assert!(
        parts[..5].iter().all(|part| part["well"] == false && part["detail"].as_str().unwrap().len() > 10),
        "{told}"
    );
    assert_eq!(run(&["healthy", "http://127.0.0.1:9"]).status.code(), Some(1));
}

#[test]
fn what_fails_prints_no_answer() {
    for arguments in [&["models", "list", "--json"][..], &["keys", "list", "--json"], &["audit", "--json"]] {
        let output = run(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", common::both(&output));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "), "{}", common::both(&output));
    }
}

#[test]
fn help_names_the_exit_codes_and_a_shell_takes_the_completions() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(help.contains("Exit codes:") && help.contains("could not be judged"), "{help}");
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("completions.bash");
    fs::write(&script, run(&["completions", "bash"]).stdout).unwrap();
    let words = "COMP_WORDS=(threatwatch evaluate --da); COMP_CWORD=2; _threatwatch threatwatch --da evaluate; \
                 echo ${COMPREPLY[@]}";
    let source = format!("source {}; {words}", script.display());
    let completed = Command::new("bash").args(["-c", &source]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "--data", "{}", common::both(&completed));
}

#[test]
fn an_address_that_others_reach_needs_tls() {
    let output = run(&["serve", "--address", "0.0.0.0:0"]);
    let words = common::both(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("--tls-certificate") && words.contains("--insecure"), "{words}");
}
