//! Histories of released workflows, replayed by today's code: a run that is under way survives the next release.
//!
//! `RECORD_HISTORIES=1 cargo test --test end_to_end` writes them anew, and so do `promotion`, `fine_tuning`, `feedback`,
//! `backtest` and `versions`; add to them, do not replace what was released. `threatwatch history save ID FILE` adds one.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, path::Path, sync::Arc};

use registry::{MemoryStore, Registry};
use temporalio_client::WorkflowHistory;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

#[derive(Debug)]
struct Nothing;

impl prometheus_client::collector::Collector for Nothing {
    fn encode(&self, _: prometheus_client::encoding::DescriptorEncoder) -> Result<(), std::fmt::Error> {
        Ok(())
    }
}

#[tokio::test]
async fn every_recorded_history_replays() {
    let registry = Registry::new(Arc::new(MemoryStore::default()));
    let metrics = Arc::new(activities::Metrics::new(Box::new(Nothing)));
    let nowhere = tempfile::tempdir().unwrap();
    let settings = threatwatch::settings::Settings::load(nowhere.path()).unwrap();
    let bases = Arc::new(threatwatch::encoder_base::EncoderBase::of(&settings));
    let tuning = activities::FineTuning { bases, checkpoint: std::time::Duration::from_mins(1) };
    let options = WorkflowReplayerOptions::new()
        .worker_plugin(activities::plugin(activities::Parts {
            registry,
            metrics,
            tuning,
            threads: std::num::NonZero::<usize>::MIN,
            extensions: activities::Added::default(),
        }))
        .build();
    let replayer = WorkflowReplayer::new(options).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut replayed = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let history = WorkflowHistory::from_json(&fs::read(&path).unwrap()).unwrap();
        if let Err(error) = replayer.replay_workflow(history).await {
            panic!("{}: {error}", path.display());
        }
        replayed += 1;
    }
    assert!(replayed >= 20, "{replayed} histories");
}
