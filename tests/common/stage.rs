//! The `up` that the tests of one binary share, one test at a time.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use registry::{Key, S3Store, Store as _};
use serde_json::json;

use crate::common::{Up, block_on};

/// The shared `up`, held by one test at a time.
pub(crate) struct Stage {
    pub(crate) up: Arc<Up>,
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    /// The `up` that tests share. It runs for as long as any test has it or waits for its turn.
    pub(crate) fn enter() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let up = Self::shared();
        Self { up, _alone: locked(&ALONE) }
    }

    /// The same for a test that uses its own namespace and bucket.
    pub(crate) fn shared() -> Arc<Up> {
        static SHARED: Mutex<Weak<Up>> = Mutex::new(Weak::new());
        let mut shared = locked(&SHARED);
        let up = shared.upgrade().unwrap_or_else(|| Arc::new(Up::start()));
        *shared = Arc::downgrade(&up);
        up
    }

    /// The version in production and its generation.
    pub(crate) fn production(&self) -> (String, u64) {
        let production = self.up.get_json("/models/production");
        (production["version"].as_str().unwrap().to_owned(), production["generation"].as_u64().unwrap())
    }

    /// A version that is not in production.
    pub(crate) fn other_version(&self) -> String {
        let (live, _) = self.production();
        let models = self.up.get_json("/models");
        let mut versions = models["models"].as_array().unwrap().iter().map(|model| model["version"].as_str().unwrap());
        versions.find(|version| *version != live).unwrap().to_owned()
    }

    /// Puts the other version into production.
    pub(crate) fn promote_the_other(&self) {
        let body = json!({ "version": self.other_version(), "force": true, "reason": "the other one" });
        let (status, done) = self.up.post_json("/promote", &body);
        assert_eq!(status, 200, "{done}");
    }

    /// The replicas that have reported a generation.
    pub(crate) fn replicas(&self) -> BTreeSet<String> {
        let store = S3Store::new(&self.up.settings().s3().unwrap());
        let reports = block_on(store.list(Key::REPORTS)).unwrap();
        reports.iter().map(|report| report.rsplit('/').next().unwrap().to_owned()).collect()
    }

    /// Removes the reports of killed replicas, so that no promotion waits for them.
    pub(crate) fn forget_all_but(&self, replicas: &BTreeSet<String>) {
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

/// A lock that ignores poisoning: a failed test does not affect the others.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
