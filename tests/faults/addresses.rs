//! F20: no dataset is fetched from an address, so no address can be an attack.

use std::{net::TcpListener, time::Duration};

use serde_json::json;

use crate::{
    Stage,
    common::{both, wait_for},
};

#[test]
fn f20_no_way_in_takes_an_address_and_nothing_is_asked_for_at_one() {
    let up = Stage::shared();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let here = listener.local_addr().unwrap();
    let addresses = [
        format!("http://{here}/data.jsonl"),
        format!("https://{here}/data.jsonl"),
        format!("s3://{here}/data.jsonl"),
        format!("file:///proc/self/environ?{here}"),
        format!("//{here}/data.jsonl"),
    ];
    for address in &addresses {
        let (status, problem) = up.post_json("/train", &json!({ "dataset": address }));
        assert_eq!((status, problem["type"].as_str()), (422, Some("/problems/invalid-input")), "{address}: {problem}");
        let imported = up.run(&["dataset", "import", address]);
        assert!(!imported.status.success(), "{address}: {}", both(&imported));
    }
    let result = up.train_by_cli("an-address", &[&json!({ "dataset": addresses[0] }).to_string()]);
    assert!(result.contains("FAILED") && result.contains("`dataset`"), "{result}");
    // The sources of a run that names no dataset: the newest import, and the sample that ships with the program.
    let names: Vec<&str> = activities::sources::SOURCES.iter().map(|source| source.name()).collect();
    assert_eq!(names, ["import", "sample"], "a new source: does it fetch? then F20 of docs/faults.md is due");
    let came = wait_for(Duration::from_millis(500), || listener.accept().is_ok());
    assert!(!came, "there was a connection to {here}");
    eprintln!("F20: {} addresses, 3 ways in, 0 connections", addresses.len());
}
