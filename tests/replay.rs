//! Replays histories of released workflows with today's code: a running run survives the next release.
//!
//! `RECORD_HISTORIES=1 cargo test --test end_to_end` records new ones, and so do `promotion`, `fine_tuning`,
//! `feedback`, `backtest` and `versions`. Add histories; never replace a released one. `threatwatch history save ID
//! FILE` adds one.
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

/// Every way in which a run goes: a history of it, how that ends, and whether a step of it was tried again.
const SHAPES: [(&str, &str, &str, bool); 10] = [
    ("completed", "train", "Completed", false),
    ("failed", "train-failed", "Failed", false),
    ("refused by the gate", "train-gate-refused", "Completed", false),
    ("refused by the gate, and that is a failure", "promote-refused", "Failed", false),
    ("approved", "train-approved", "Completed", false),
    ("rejected", "train-rejected", "Completed", false),
    ("expired", "train-expired", "Completed", false),
    ("cancelled", "train-cancelled", "Canceled", false),
    ("retried", "train-retried", "Completed", true),
    ("resumed from a checkpoint", "train-resumed", "Completed", true),
];

#[test]
fn there_is_a_history_of_every_way_that_a_run_goes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    for (way, name, end, is_tried_again) in SHAPES {
        let json =
            fs::read(folder.join(format!("{name}.json"))).unwrap_or_else(|_| panic!("none of a run that is {way}"));
        let history: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let events = history["events"].as_array().unwrap();
        let last = &events[events.len() - 1]["attributes"];
        assert!(last.get(format!("WorkflowExecution{end}EventAttributes")).is_some(), "{way}: {last}");
        let attempt =
            |event: &serde_json::Value| event["attributes"]["ActivityTaskStartedEventAttributes"]["attempt"].as_i64();
        assert_eq!(events.iter().filter_map(attempt).any(|attempt| attempt > 1), is_tried_again, "{way}");
    }
}
