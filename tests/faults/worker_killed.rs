//! F1: the worker is killed in the middle of training runs.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use model::Digest;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use registry::{Key, S3Store, Store as _};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Stage, block_on, median_and_most, seed, tenant::Tenant};

/// Namespaces in which workers are killed at the same time. Most of the time each one waits.
const LANES: usize = 5;
/// Kills in each namespace; 20 in all.
const KILLS: usize = 4;
/// The time limit for resuming: about twice the 10 s and back-off of the matrix, for busy machines.
///
/// A dead worker is noticed after 8 s by its heartbeat, or after 10 s by its workflow task. Then come half a second of
/// back-off and the start of the next worker.
const RESUMED: Duration = Duration::from_secs(22);

/// The time from a moment until the first start of a step of a run.
fn resumed(tenant: &Tenant, id: &str, after: SystemTime) -> Option<Duration> {
    let started =
        tenant.events(id).into_iter().filter(|event| event["eventType"].as_str().unwrap().ends_with("_STARTED"));
    let times = started.map(|event| {
        let at = OffsetDateTime::parse(event["eventTime"].as_str().unwrap(), &Rfc3339).unwrap();
        SystemTime::from(at)
    });
    times.filter(|&at| at > after).min().map(|at| at.duration_since(after).unwrap())
}

/// Kills a worker in the middle of four runs. Returns how long each run took to resume.
fn lane(number: usize, seed: u64) -> (Tenant, Vec<Duration>) {
    let tenant = Tenant::new(&Stage::shared(), &format!("killed-{number}"));
    let workplace = tenant.worker();
    let mut worker = workplace.start_ready();
    let started = Instant::now();
    tenant.start_training("undisturbed", "never");
    assert!(tenant.result("undisturbed").contains("COMPLETED"));
    let mut whole = started.elapsed();
    let mut random = StdRng::seed_from_u64(seed + number as u64);
    let mut took = Vec::new();
    for attempt in 0.. {
        let id = format!("run-{attempt}");
        tenant.start_training(&id, "never");
        std::thread::sleep(whole.mul_f64(random.random_range(0.0..0.9)));
        worker.kill();
        let killed = SystemTime::now();
        worker = workplace.start();
        let result = tenant.result(&id);
        assert!(result.contains("COMPLETED"), "{id}: {result}\n{}", worker.log());
        assert_eq!(tenant.versions_of(&id), 1, "{id}");
        match resumed(&tenant, &id, killed) {
            Some(resumed) => took.push(resumed),
            // The run had ended before the kill, because a first run takes longer than later ones.
            None => whole = whole.mul_f64(0.7),
        }
        if took.len() == KILLS {
            return (tenant, took);
        }
        assert!(attempt < 4 * KILLS, "runs end before they are killed");
    }
    unreachable!("attempts are counted without an end")
}

#[test]
fn f1_runs_whose_worker_is_killed_at_twenty_random_moments_go_on_and_make_one_version_each() {
    let seed = seed("F1");
    let lanes: Vec<_> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|number| scope.spawn(move || lane(number, seed))).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    let took: Vec<Duration> = lanes.iter().flat_map(|(_, took)| took.clone()).collect();
    let (median, most) = median_and_most(&took);
    let mut objects = 0;
    for (tenant, _) in &lanes {
        let found = block_on(tenant.registry().verify()).unwrap();
        assert_eq!(found.problems, Vec::<String>::new());
        let store = Arc::new(S3Store::new(&tenant.s3()));
        objects += block_on(async {
            let blobs = store.list(Key::BLOBS).await.unwrap();
            for blob in &blobs {
                let digest = Digest::of(&store.get(blob).await.unwrap().unwrap());
                assert!(blob.ends_with(&digest.to_string()), "{blob} is partial");
            }
            blobs.len()
        });
    }
    eprintln!(
        "F1: {} kills, 1 version a run, 0 of {objects} blobs partial; resumed after {median:.1?}, {most:.1?} at most",
        took.len()
    );
    assert!(most <= RESUMED, "{took:?}");
}
