//! Faults of the parts that the system depends on: real servers, real signals, and our own proxy in between.
//!
//! F1 and so on are the numbers of the matrix of faults in docs/faults.md, with bounds and figures. Each test prints
//! its figure. Bounds that depend on the load of the machine are up to three times as wide here.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod addresses;
#[path = "../common/client.rs"]
mod client;
mod clocks;
#[path = "../common/mod.rs"]
mod common;
mod corrupt;
mod disk;
mod full_disk;
mod kills;
mod power;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/proxy/mod.rs"]
mod proxy;
mod proxy_itself;
#[path = "../common/stage.rs"]
mod stage;
mod store_away;
mod store_sick;
mod temporal;
mod tenant;
mod worker_killed;

use std::{sync::OnceLock, time::Duration};

use stage::Stage;
use tokio::runtime::Runtime;

/// Runs a future on one runtime for all tests, because connections to a store outlive the call that made them.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap()).block_on(future)
}

/// A seed, which is printed so that a failure can be repeated: `THREATWATCH_SEED=7`.
fn seed(of: &str) -> u64 {
    let seed = std::env::var("THREATWATCH_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("{of}: THREATWATCH_SEED={seed}");
    seed
}

/// The median and the longest time.
fn median_and_most(took: &[Duration]) -> (Duration, Duration) {
    let mut took = took.to_vec();
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() - 1])
}
