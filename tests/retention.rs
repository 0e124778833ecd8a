//! Retention beside promotions and rollbacks through the API, on the S3 server that `up` starts.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use model::{
    Version,
    protocol::{PromoteInput, Promoted, PruneInput},
};
use registry::{Error, Key, ModelManifest, Registry, S3Store, Store};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use common::{Up, wait_for};

/// What a day is for retention in this test: longer than any promotion takes from its checks to its write.
const SHORT_DAY: Duration = Duration::from_secs(10);
/// How far retention's clock is ahead: by it everything that is older than a short day is older than a day.
const AHEAD: Duration = Duration::from_secs(24 * 3600 - SHORT_DAY.as_secs());
/// Rounds whose versions are made together.
const BATCH: usize = 10;

fn hurried_clock() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (now + AHEAD).as_millis() as i64
}

/// The parts of a run that race.
struct Arena {
    up: Up,
    runtime: Runtime,
    store: Arc<dyn Store>,
    registry: Registry,
    /// What retention must leave alone, as if a run were about to promote it.
    in_use: Mutex<Vec<Version>>,
}

#[derive(Debug, Default)]
struct Counts {
    promoted: usize,
    promoted_by_runs: usize,
    retired: usize,
    rolled_back: usize,
    /// Marks that were there beside the promotion of what they mark: what the test is about.
    stale_marks: usize,
}

/// Rounds of the race; `THREATWATCH_RACES=200` for the whole measure.
#[test]
fn no_rollback_is_refused_while_retention_and_promotions_race() {
    let rounds: usize = std::env::var("THREATWATCH_RACES").map_or(BATCH, |rounds| rounds.parse().unwrap());
    let arena = Arena::start();
    let mut counts = Counts::default();
    for batch in 0..rounds.div_ceil(BATCH) {
        let candidates = arena.candidates(batch);
        for (round, pair) in candidates.iter().enumerate().take(rounds - batch * BATCH) {
            arena.race(round, pair, &mut counts);
        }
    }
    println!("{rounds} rounds: {counts:?}");
    assert!(counts.promoted > 0 && counts.promoted_by_runs > 0, "{counts:?}");
    assert!(rounds < 200 || counts.stale_marks > 0, "no mark came late: {counts:?}");
    arena.up.succeed(&["models", "verify"]);
}

impl Arena {
    fn start() -> Self {
        let up = Up::start();
        let runtime = Runtime::new().unwrap();
        let store: Arc<dyn Store> = Arc::new(S3Store::new(&up.settings().s3().unwrap()));
        let registry = Registry::new(Arc::clone(&store));
        Self { up, runtime, store, registry, in_use: Mutex::default() }
    }

    /// Two old versions a round, with the model that is in production: one for the API and one for a training run.
    fn candidates(&self, batch: usize) -> Vec<[Version; 2]> {
        let candidates = self.runtime.block_on(async {
            let live = self.registry.production().await.unwrap().unwrap().record.version;
            let (manifest, _) = self.registry.manifest(&live).await.unwrap();
            let mut candidates = Vec::new();
            for round in 0..BATCH {
                // Started long ago: the version that retention keeps because it is the newest is another.
                let derive = |of| Version::derive(round as i64, &format!("{of} {batch}"), "run", &manifest.trainer);
                let pair = ["api", "run"].map(derive);
                self.in_use.lock().unwrap().extend(pair.clone());
                for version in pair.clone() {
                    let manifest = ModelManifest { version, ..manifest.clone() };
                    self.registry.register(&manifest).await.unwrap();
                }
                candidates.push(pair);
            }
            candidates
        });
        // Only old objects are marked.
        thread::sleep(SHORT_DAY);
        candidates
    }

    /// Retention, from now on also of one more version, as if no run were about to promote it.
    fn prune(&self, version: &Version) {
        let in_use = {
            let mut in_use = self.in_use.lock().unwrap();
            in_use.retain(|other| other != version);
            in_use.clone()
        };
        let input = PruneInput { keep: 1, in_use, ..PruneInput::default() };
        self.runtime.block_on(self.registry.prune(&input, hurried_clock())).unwrap();
    }

    /// Two versions are promoted, with a rollback between, while retention would have both go.
    fn race(&self, round: usize, pair: &[Version; 2], counts: &mut Counts) {
        let [by_api, by_run] = pair;
        // In each round one part starts a little later.
        let pause = |of: Duration| thread::sleep(of * round as u32 / BATCH as u32);
        let (rollback, promotion, run) = thread::scope(|scope| {
            let run = scope.spawn(|| {
                pause(Duration::from_millis(150));
                self.promote_as_a_run(by_run)
            });
            scope.spawn(|| self.prune(by_run));
            let rollback = self.roll_back();
            scope.spawn(|| {
                pause(Duration::from_millis(600));
                self.prune(by_api);
            });
            let promotion = self.promote(by_api);
            (rollback, promotion, run.join().unwrap())
        });
        assert!(rollback.0 == 200 || somebody_was_quicker(&rollback), "{rollback:?}");
        // What was never in production may be retired, or gone, before it is promoted.
        let is_retired = promotion.1["type"] == "/problems/not-found";
        assert!(promotion.0 == 200 || is_retired, "{promotion:?}");
        counts.promoted += usize::from(promotion.0 == 200);
        counts.promoted_by_runs += usize::from(run.is_ok());
        counts.retired += usize::from(is_retired) + usize::from(matches!(run, Err(Error::Retired(_))));
        counts.stale_marks += self.stale_marks(pair);

        // Nobody else promotes now: the way back is free.
        let back = until_nobody_is_quicker(|| self.roll_back());
        assert_eq!(back.0, 200, "{back:?}");
        counts.rolled_back += 1 + usize::from(rollback.0 == 200);
        if round % 5 == 4 {
            self.up.succeed(&["models", "prune", "--keep", "1"]);
        }
    }

    fn promote(&self, version: &Version) -> (u16, Value) {
        let body = json!({ "version": version.as_str(), "force": true, "reason": "race" });
        until_nobody_is_quicker(|| self.up.post_json("/promote", &body))
    }

    fn roll_back(&self) -> (u16, Value) {
        self.up.post_json("/rollback", &json!({ "reason": "race" }))
    }

    /// Promotes past the API, as a training run does that was asked to.
    fn promote_as_a_run(&self, version: &Version) -> Result<Promoted, Error> {
        let input = PromoteInput {
            version: version.clone(),
            change_id: version.to_string(),
            expected_generation: None,
            actor: "run".to_owned(),
            reason: "it passed".to_owned(),
            gate: None,
            forced: false,
        };
        let promoted = self.runtime.block_on(self.registry.promote(&input, 0));
        if let Err(error) = &promoted {
            assert!(matches!(error, Error::Conflict { .. } | Error::Retired(_)), "{version}: {error}");
        }
        promoted
    }

    fn stale_marks(&self, pair: &[Version; 2]) -> usize {
        self.runtime.block_on(async {
            let marks = self.store.list(Key::MARKS).await.unwrap();
            let history = self.registry.history().await.unwrap();
            let is_stale = |version: &&Version| {
                marks.contains(&Key::Retired(&Key::Model(version).path()).path())
                    && history.iter().any(|promotion| promotion.record.version == **version)
            };
            pair.iter().filter(is_stale).count()
        })
    }
}

/// Sends a request again while another promotion is running. Returns the last answer.
fn until_nobody_is_quicker(mut ask: impl FnMut() -> (u16, Value)) -> (u16, Value) {
    let mut last = ask();
    wait_for(Duration::from_secs(30), || {
        let is_settled = !somebody_was_quicker(&last);
        if !is_settled {
            last = ask();
        }
        is_settled
    });
    last
}

/// The reasons that a person accepts.
fn somebody_was_quicker((status, answer): &(u16, Value)) -> bool {
    let kind = answer["type"].as_str();
    *status == 409 && matches!(kind, Some("/problems/conflict" | "/problems/operation-in-progress"))
}
