//! The service under faults, hostile clients and load: real processes, real sockets, a proxy between API and store.
//!
//! F12 and so on are the numbers of the matrix of faults. One `up` serves every test, and one test measures at a time.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod hostile;
mod keys;
mod load;
mod process;
mod proxy;
mod requests;
mod wrk;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use registry::{Key, S3Store, Store as _};
use serde_json::json;

use common::{Up, block_on};

/// What a test runs on, for itself alone.
struct Stage {
    up: Arc<Up>,
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    /// The `up` that tests share. It runs for as long as any test has it or waits for its turn.
    fn enter() -> Self {
        static SHARED: Mutex<Weak<Up>> = Mutex::new(Weak::new());
        static ALONE: Mutex<()> = Mutex::new(());
        let mut shared = locked(&SHARED);
        let up = shared.upgrade().unwrap_or_else(|| Arc::new(Up::start()));
        *shared = Arc::downgrade(&up);
        drop(shared);
        Self { up, _alone: locked(&ALONE) }
    }

    /// The version in production and its generation.
    fn production(&self) -> (String, u64) {
        let production = self.up.get_json("/models/production");
        (production["version"].as_str().unwrap().to_owned(), production["generation"].as_u64().unwrap())
    }

    /// A version that is not in production.
    fn other_version(&self) -> String {
        let (live, _) = self.production();
        let models = self.up.get_json("/models");
        let mut versions = models["models"].as_array().unwrap().iter().map(|model| model["version"].as_str().unwrap());
        versions.find(|version| *version != live).unwrap().to_owned()
    }

    /// Puts the other version into production.
    fn promote_the_other(&self) {
        let body = json!({ "version": self.other_version(), "force": true, "reason": "the other one" });
        let (status, done) = self.up.post_json("/promote", &body);
        assert_eq!(status, 200, "{done}");
    }

    /// The replicas that reported what they serve.
    fn replicas(&self) -> BTreeSet<String> {
        let store = S3Store::new(&self.up.settings().s3().unwrap());
        let reports = block_on(store.list(Key::REPORTS)).unwrap();
        reports.iter().map(|report| report.rsplit('/').next().unwrap().to_owned()).collect()
    }

    /// Removes the reports of replicas that were killed: no promotion waits for them.
    fn forget_all_but(&self, replicas: &BTreeSet<String>) {
        let store = S3Store::new(&self.up.settings().s3().unwrap());
        block_on(async {
            for report in store.list(Key::REPORTS).await.unwrap() {
                if !replicas.contains(report.rsplit('/').next().unwrap()) {
                    store.delete(&report).await.unwrap();
                }
            }
        });
    }
}

/// A test that failed has spoilt nothing for the others.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
