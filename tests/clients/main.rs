//! Published client libraries of other projects against a running service.
//!
//! They are downloaded, so these tests run only
//! under CI, or if `THREATWATCH_CLIENTS` is set.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use common::{Up, both, wait_for};

/// Where the clients are installed, once.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", both(&output));
}

/// Installs everything at the versions that stand in `requirements.txt` and `package.json`.
fn install() {
    fs::create_dir_all(folder()).unwrap();
    if !folder().join("bin/pip").exists() {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(folder()));
    }
    let pip = ["install", "--quiet", "--disable-pip-version-check", "--requirement"];
    succeed(Command::new(folder().join("bin/pip")).args(pip).arg(script("requirements.txt")));
    fs::copy(script("package.json"), folder().join("package.json")).unwrap();
    let npm = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--silent", "--prefix"];
    succeed(Command::new("npm").args(npm).arg(folder()));
}

fn python(name: &str, arguments: [&str; 2]) {
    let python = folder().join("bin/python");
    succeed(Command::new(python).arg(script(name)).args(arguments).env("PYTHONPATH", folder()));
}

#[test]
fn other_peoples_clients_work_with_another_address_and_nothing_else() {
    if env::var_os("CI").is_none() && env::var_os("THREATWATCH_CLIENTS").is_none() {
        eprintln!("not run: THREATWATCH_CLIENTS=1 downloads the clients");
        return;
    }
    install();
    let up = Up::start();
    let key = up.succeed(&["keys", "new", "bot", "--role", "predict"]);
    let key = key.split_whitespace().find(|word| word.starts_with("tw_")).unwrap();
    assert!(wait_for(Duration::from_secs(10), || up.get("/models").0 == 401), "the key counts");
    let url = up.ports.api_url();
    for name in ["perspective.py", "moderations.py", "inference.py"] {
        python(name, [&url, key]);
    }
    let node = |file: &Path| {
        let modules = folder().join("node_modules");
        succeed(Command::new("node").arg(file).args([&url, key]).env("NODE_PATH", modules));
    };
    node(&script("perspective.js"));

    // Clients that are generated.
    let document = folder().join("openapi.json");
    fs::write(&document, up.get("/openapi.json").1).unwrap();
    let mut generate = Command::new(folder().join("bin/openapi-python-client"));
    generate.args(["generate", "--overwrite", "--meta", "none", "--path"]).arg(&document);
    succeed(generate.arg("--output-path").arg(folder().join("generated")));
    python("typed.py", [&url, key]);
    let tools = folder().join("node_modules/.bin");
    let types = folder().join("generated.d.ts");
    succeed(Command::new(tools.join("openapi-typescript")).arg(&document).arg("--output").arg(&types));
    fs::copy(script("typed.ts"), folder().join("typed.ts")).unwrap();
    let options = ["--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "typed.ts"];
    succeed(Command::new(tools.join("tsc")).args(options).current_dir(folder()));
    node(&folder().join("typed.js"));
}
