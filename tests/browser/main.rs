//! The web page in a real browser on real servers: its flows, and its states in light and dark, wide and narrow.
//!
//! The browser driver is downloaded once, at the versions in `package-lock.json`. On a machine without it these tests
//! are skipped with a message; under CI they fail. `PICTURES=docs/pictures` takes the README's pictures again.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../model/registry/tests/common/mod.rs"]
mod models;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use registry::{S3Store, Store as _};

use common::{Up, block_on, both, wait_for};

/// Versions that are registered beside those of the first training: more than the page shows at once.
const MORE_VERSIONS: usize = 60;

/// The browser, and the folder with what drives it.
struct Tools {
    browser: PathBuf,
    modules: PathBuf,
}

static TOOLS: LazyLock<Option<Tools>> = LazyLock::new(|| {
    let browser = common::browser()?;
    match install() {
        Ok(modules) => Some(Tools { browser, modules }),
        Err(why) => {
            assert!(env::var_os("CI").is_none(), "{why}");
            eprintln!("{why}");
            None
        }
    }
});

/// Flows change what is in production, and one is timed.
static ALONE: Mutex<()> = Mutex::new(());

fn tools() -> Option<&'static Tools> {
    let tools = TOOLS.as_ref();
    if tools.is_none() {
        eprintln!("not run: this needs chromium, and what npm installs to drive it");
    }
    tools
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}

/// Installs what drives the browser, if it is not there; answers where.
fn install() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    let run = |command: &mut Command| {
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", both(&output))) }
    };
    run(Command::new("node").arg("--version"))?;
    let lock = fs::read(scripts().join("package-lock.json")).unwrap();
    // Written last: it is there only after a whole installation.
    let installed = folder.join("installed.json");
    if fs::read(&installed).is_ok_and(|before| before == lock) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).unwrap();
    for name in ["package.json", "package-lock.json"] {
        fs::copy(scripts().join(name), folder.join(name)).unwrap();
    }
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"];
    run(Command::new("npm").args(arguments).arg(&folder))?;
    fs::write(installed, lock).unwrap();
    Ok(folder)
}

impl Tools {
    /// Plays a script on a running service; what the script says is shown.
    fn play(&self, up: &Up, name: &str, environment: &[(&str, &str)]) {
        let mut node = Command::new("node");
        node.arg(scripts().join(name).with_extension("mjs")).env("PAGE", format!("{}/", up.ports.api_url()));
        node.env("CHROMIUM", &self.browser).env("MODULES", &self.modules).env("FAILURES", &self.modules);
        let output = node.envs(environment.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{name}: {}", both(&output));
        eprint!("{}", both(&output));
    }
}

/// What a flow is played on, for itself alone.
struct Stage {
    up: Arc<Up>,
    tools: &'static Tools,
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    /// The `up` that flows share. It runs for as long as any flow has it or waits for its turn.
    fn enter() -> Option<Self> {
        static SHARED: Mutex<Weak<Up>> = Mutex::new(Weak::new());
        let tools = tools()?;
        let mut shared = locked(&SHARED);
        let up = shared.upgrade().unwrap_or_else(|| Arc::new(Up::start()));
        *shared = Arc::downgrade(&up);
        drop(shared);
        Some(Self { up, tools, _alone: locked(&ALONE) })
    }

    fn play(&self, name: &str) {
        self.tools.play(&self.up, name, &[]);
    }

    /// Whether a word stands in any object of the bucket.
    fn is_in_bucket(&self, word: &str) -> bool {
        let store = S3Store::new(&self.up.settings().s3().unwrap());
        block_on(async {
            for name in store.list("").await.unwrap() {
                // What was there for a moment only is no part of it.
                if store.get(&name).await.unwrap().is_some_and(|bytes| has(&bytes, word)) {
                    return true;
                }
            }
            false
        })
    }
}

/// A flow that failed has spoilt nothing for the others.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn has(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] }).collect()
}

#[test]
fn every_page_and_tab_stands() {
    let Some(stage) = Stage::enter() else { return };
    stage.play("pages");
}

#[test]
fn a_comment_is_judged_explained_and_labelled_and_hostile_texts_stay_text() {
    let Some(stage) = Stage::enter() else { return };
    stage.play("check");
}

#[test]
fn of_the_files_of_the_queue_only_what_is_decided_is_kept() {
    const DECIDED: &str = "wyverncanary";
    const TAKEN_BACK: &str = "gryphoncanary";
    const LOOKED_AT: &str = "basiliskcanary";
    let Some(stage) = Stage::enter() else { return };
    let words = [("DECIDED", DECIDED), ("TAKEN_BACK", TAKEN_BACK), ("LOOKED_AT", LOOKED_AT)];
    stage.tools.play(&stage.up, "queue", &words);
    assert!(stage.is_in_bucket(DECIDED), "what was sent as feedback is kept");
    assert!(!stage.is_in_bucket(TAKEN_BACK), "what was taken back is in the bucket");
    assert!(!stage.is_in_bucket(LOOKED_AT), "what was only looked at is in the bucket");
    for file in files(&stage.up.state_dir()) {
        let bytes = fs::read(&file).unwrap_or_default();
        assert!(!has(&bytes, LOOKED_AT), "what was only looked at is in {}", file.display());
    }
}

#[test]
fn a_hundred_thousand_rows_pass_within_a_minute_and_freeze_nothing() {
    let Some(stage) = Stage::enter() else { return };
    stage.play("rows");
}

#[test]
fn the_most_informative_comments_are_asked_about_and_answered_by_keys() {
    let Some(stage) = Stage::enter() else { return };
    stage.play("label");
}

#[test]
fn models_are_compared_promoted_rolled_back_and_paged() {
    let Some(stage) = Stage::enter() else { return };
    stage.play("models");
    block_on(async {
        let registry = stage.up.settings().registry().await.unwrap();
        for number in 0..MORE_VERSIONS {
            models::registered(&registry, number).await;
        }
    });
    stage.play("paging");
}

#[test]
fn a_run_is_started_followed_and_approved() {
    let Some(stage) = Stage::enter() else { return };
    stage.play("training");
}

/// The Temporal Web UI as an operator finds it: a run that is over, one that waits for somebody, and one that failed.
#[test]
fn the_temporal_web_ui_shows_what_a_run_found_waits_for_and_failed_of() {
    let Some(stage) = Stage::enter() else { return };
    let up = &stage.up;
    let start = |body: serde_json::Value| {
        let (status, started) = up.post_json("/train", &body);
        assert_eq!(status, 202, "{started}");
        started["workflow_id"].as_str().unwrap().to_owned()
    };
    let done = start(serde_json::json!({ "actor": "rosa", "reason": "the weekly run" }));
    up.result(&done);
    let waits = start(serde_json::json!({ "trainers": ["multinomial_nb"], "auto_promote": "after_approval" }));
    let stage_of = || up.get_json(&format!("/runs/status?workflow_id={waits}"))["stage"].clone();
    assert!(wait_for(Duration::from_mins(1), || stage_of() == "approval"), "{}", stage_of());
    up.train_by_cli("gone", &[&format!(r#"{{"dataset":"{}"}}"#, "ab".repeat(32))]);
    let ui = up.ports.temporal_ui_url();
    let runs = [("TEMPORAL_UI", ui.as_str()), ("DONE", &done), ("WAITS", &waits), ("FAILED", "gone")];
    stage.tools.play(up, "temporal", &runs);
    up.succeed(&["reject", &waits, "--reason", "a test"]);
}

#[test]
fn the_live_figures_follow_the_traffic() {
    let Some(stage) = Stage::enter() else { return };
    stage.play("live");
}

#[test]
fn everything_is_reached_by_the_keyboard_alone() {
    let Some(stage) = Stage::enter() else { return };
    stage.play("keyboard");
}

/// On an `up` of its own: there is no way back from the first key.
#[test]
fn each_role_does_on_the_page_what_it_may_and_nothing_else() {
    let Some(tools) = tools() else { return };
    let _alone = locked(&ALONE);
    let up = Up::start();
    let key = |(name, roles): (&str, &[&str])| {
        let roles: Vec<&str> = roles.iter().flat_map(|role| ["--role", *role]).collect();
        up.succeed(&[&["keys", "new", name], &roles[..]].concat()).trim().to_owned()
    };
    let holders: [(&str, &[&str]); 3] =
        [("rita", &["predict"]), ("mona", &["predict", "review"]), ("olga", &["operate"])];
    let [reader, moderator, operator] = holders.map(key);
    assert!(wait_for(Duration::from_secs(10), || up.get("/models").0 == 401), "a key is needed");
    tools.play(&up, "keys", &[("RITA", &reader), ("MONA", &moderator), ("OLGA", &operator)]);
}
