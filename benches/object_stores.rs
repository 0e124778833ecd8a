//! Compares MinIO and SeaweedFS on one machine: duration of a promotion, and of the import of a large file.
//!
//! ```text
//! cargo bench --profile dev --bench object_stores -- [FILE]
//! ```
//!
//! `minio` must be on PATH. FILE is a corpus to import (`measure perturb` makes one of any size); without it only
//! promotions are measured. `threatwatch up` starts each store, and both run all the time.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made ends the program")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../model/registry/tests/common/mod.rs"]
mod models;

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use common::{Up, free_ports};
use model::Version;
use models::{promotion, registered};
use registry::{Registry, S3Settings, S3Store};
use tokio::runtime::Runtime;

/// Number of rounds. The stores are measured in turns.
const ROUNDS: u64 = 4;
/// Promotions per round, one after the other.
const PROMOTIONS: u64 = 50;

struct Contender {
    name: &'static str,
    up: Up,
    registry: Registry,
    versions: [Version; 2],
    promoted: Vec<Duration>,
    imported: Vec<Duration>,
}

impl Contender {
    fn start(runtime: &Runtime, name: &'static str, path: &str) -> Self {
        let up = Up::start_with(tempfile::tempdir().unwrap(), free_ports(), &[], &[("PATH", path)]);
        assert!(!up.pids(if name == "MinIO" { "minio" } else { "weed" }).is_empty(), "{name} does not run");
        let settings = S3Settings { bucket: "measured".to_owned(), ..up.settings().s3().unwrap() };
        runtime.block_on(async {
            let store = S3Store::new(&settings);
            store.ensure_bucket().await.unwrap();
            let registry = Registry::new(Arc::new(store));
            let versions = [registered(&registry, 0).await, registered(&registry, 1).await];
            Self { name, up, registry, versions, promoted: Vec::new(), imported: Vec::new() }
        })
    }

    /// The registry's part of a promotion: its reads, and the deciding write.
    fn promote(&mut self, runtime: &Runtime, round: u64) {
        runtime.block_on(async {
            for generation in round * PROMOTIONS..(round + 1) * PROMOTIONS {
                let version = &self.versions[(generation % 2) as usize];
                let input = promotion(version, &format!("change-{generation}"), Some(generation));
                let started = Instant::now();
                assert!(self.registry.promote(&input, 0).await.unwrap().is_new);
                self.promoted.push(started.elapsed());
            }
        });
    }

    /// Each round imports into a new bucket, because an existing dataset is not written again.
    fn import(&mut self, runtime: &Runtime, round: u64, file: &Path) {
        let settings = S3Settings { bucket: format!("import-{round}"), ..self.up.settings().s3().unwrap() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let sentences = runtime.block_on(async {
            let store = S3Store::new(&settings);
            store.ensure_bucket().await.unwrap();
            let started = Instant::now();
            let imported = Registry::new(Arc::new(store)).import_dataset("measured.jsonl", file.to_owned(), now).await;
            self.imported.push(started.elapsed());
            imported.unwrap().sentences
        });
        let took = self.imported.last().unwrap();
        println!("{:<10} imported {sentences} sentences in {:.1} s", self.name, took.as_secs_f64());
    }

    fn report(&mut self) {
        self.promoted.sort_unstable();
        let at = |share: f64| {
            let milliseconds = self.promoted[(share * (self.promoted.len() - 1) as f64) as usize].as_secs_f64() * 1e3;
            format!("{milliseconds:.1} ms")
        };
        let (n, p50, p99, most) = (self.promoted.len(), at(0.5), at(0.99), at(1.0));
        println!("{:<10} {n} promotions: p50 {p50}, p99 {p99}, longest {most}", self.name);
    }
}

fn main() {
    common::install_crypto();
    let runtime = Runtime::new().unwrap();
    // `cargo bench` passes `--bench`.
    let file = env::args().skip(1).find(|argument| !argument.starts_with("--")).map(PathBuf::from);
    let path = env::var("PATH").unwrap();
    let has_minio = |folder: &Path| folder.join("minio").is_file();
    assert!(env::split_paths(&path).any(|folder| has_minio(&folder)), "`minio` is not on PATH");
    let without = env::join_paths(env::split_paths(&path).filter(|folder| !has_minio(folder))).unwrap();
    let mut contenders = [
        Contender::start(&runtime, "MinIO", &path),
        Contender::start(&runtime, "SeaweedFS", without.to_str().unwrap()),
    ];
    for round in 0..ROUNDS {
        for contender in &mut contenders {
            contender.promote(&runtime, round);
        }
        contenders.reverse();
    }
    for round in 0..file.iter().len() as u64 * 2 {
        for contender in &mut contenders {
            contender.import(&runtime, round, file.as_deref().unwrap());
        }
        contenders.reverse();
    }
    contenders.iter_mut().for_each(Contender::report);
}
