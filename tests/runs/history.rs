//! A run's history, as the server stores it.

use std::collections::BTreeMap;

use serde_json::Value;
use temporalio_client::{UntypedWorkflow, WorkflowFetchHistoryOptions};

use crate::common::{Up, block_on};

/// The events of a run.
pub(crate) struct History {
    events: Vec<Value>,
}

/// What a run cost beside its activities, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) run: f64,
    /// Of activities that could only follow each other.
    pub(crate) longest_path: f64,
}

impl Cost {
    pub(crate) fn overhead(self) -> f64 {
        self.run - self.longest_path
    }
}

struct Activity {
    /// The event of the decision that scheduled it.
    decided: u64,
    started: f64,
    /// The event of its end, and when.
    ended: (u64, f64),
}

impl History {
    /// The newest run of an id.
    pub(crate) fn of(up: &Up, workflow_id: &str) -> Self {
        let orchestrator = up.settings().orchestrator("test");
        let json = block_on(async {
            let client = orchestrator.client().await.unwrap();
            let handle = client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
            handle.fetch_history(WorkflowFetchHistoryOptions::default()).to_json().await.unwrap()
        });
        Self::read(&json)
    }

    /// As `tests/histories` has them.
    pub(crate) fn read(json: &[u8]) -> Self {
        let mut whole: Value = serde_json::from_slice(json).unwrap();
        Self { events: serde_json::from_value(whole["events"].take()).unwrap() }
    }

    /// The events of a kind, by the name of their attributes without `EventAttributes`.
    pub(crate) fn events(&self, kind: &str) -> impl Iterator<Item = &Value> {
        let name = format!("{kind}EventAttributes");
        self.events.iter().filter(move |event| event["attributes"].get(&name).is_some())
    }

    /// The outermost failure of a run that failed: its type and its message.
    pub(crate) fn failure(&self) -> Option<(String, String)> {
        let event = self.events("WorkflowExecutionFailed").next()?;
        let failure = &event["attributes"]["WorkflowExecutionFailedEventAttributes"]["failure"];
        let kind = &failure["applicationFailureInfo"]["type"];
        Some((kind.as_str().unwrap_or_default().to_owned(), failure["message"].as_str()?.to_owned()))
    }

    /// What a run cost; its activities must all have succeeded.
    ///
    /// An activity follows another one if the decision to start it was taken after the other's end. Time between
    /// scheduling and starting an activity is the orchestration's, and so are pauses between tries.
    pub(crate) fn cost(&self) -> Cost {
        let mut decisions = BTreeMap::new();
        for event in self.events("WorkflowTaskCompleted") {
            let of = &event["attributes"]["WorkflowTaskCompletedEventAttributes"];
            decisions.insert(id(event), of["started_event_id"].as_u64().unwrap());
        }
        let mut activities: BTreeMap<u64, Activity> = BTreeMap::new();
        for event in self.events("ActivityTaskScheduled") {
            let of = &event["attributes"]["ActivityTaskScheduledEventAttributes"];
            let decided = decisions[&of["workflow_task_completed_event_id"].as_u64().unwrap()];
            activities.insert(id(event), Activity { decided, started: 0.0, ended: (0, 0.0) });
        }
        for event in self.events("ActivityTaskStarted") {
            let of = event["attributes"]["ActivityTaskStartedEventAttributes"]["scheduled_event_id"].as_u64().unwrap();
            activities.get_mut(&of).unwrap().started = seconds(event);
        }
        for event in self.events("ActivityTaskCompleted") {
            let of = &event["attributes"]["ActivityTaskCompletedEventAttributes"]["scheduled_event_id"];
            activities.get_mut(&of.as_u64().unwrap()).unwrap().ended = (id(event), seconds(event));
        }
        let mut paths: Vec<(u64, f64)> = Vec::new();
        for activity in activities.values() {
            assert!(activity.ended.0 > 0, "an activity did not succeed");
            let before = paths.iter().filter(|(ended, _)| *ended < activity.decided).map(|(_, path)| *path);
            let path = before.fold(0.0, f64::max) + activity.ended.1 - activity.started;
            paths.push((activity.ended.0, path));
        }
        let run = seconds(self.events.last().unwrap()) - seconds(&self.events[0]);
        Cost { run, longest_path: paths.iter().map(|(_, path)| *path).fold(0.0, f64::max) }
    }
}

fn id(event: &Value) -> u64 {
    event["event_id"].as_u64().unwrap()
}

/// When the server wrote an event.
fn seconds(event: &Value) -> f64 {
    let text = event["event_time"].as_str().unwrap();
    let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap();
    at.unix_timestamp_nanos() as f64 / 1e9
}

#[test]
fn the_longest_path_is_of_activities_that_could_only_follow_each_other() {
    // Two side by side (2 s and 3 s), then one (1 s); the run has 0.5 s beside them.
    let at = |second: f64| format!("2026-11-26T10:00:{second:06.3}Z");
    let event = |id: u64, second: f64, kind: &str, attributes: Value| {
        let name = format!("{kind}EventAttributes");
        serde_json::json!({ "event_id": id, "event_time": at(second), "attributes": { name: attributes } })
    };
    let done = |started: u64| serde_json::json!({ "started_event_id": started });
    let by = |decision: u64| serde_json::json!({ "workflow_task_completed_event_id": decision });
    let of = |scheduled: u64| serde_json::json!({ "scheduled_event_id": scheduled });
    let events = serde_json::json!({ "events": [
        event(1, 0.0, "WorkflowExecutionStarted", Value::Null),
        event(3, 0.1, "WorkflowTaskCompleted", done(2)),
        event(4, 0.1, "ActivityTaskScheduled", by(3)),
        event(5, 0.1, "ActivityTaskScheduled", by(3)),
        event(6, 0.2, "ActivityTaskStarted", of(4)),
        event(7, 0.2, "ActivityTaskStarted", of(5)),
        event(8, 2.2, "ActivityTaskCompleted", of(4)),
        event(9, 3.2, "ActivityTaskCompleted", of(5)),
        event(11, 3.4, "WorkflowTaskCompleted", done(10)),
        event(12, 3.4, "ActivityTaskScheduled", by(11)),
        event(13, 3.4, "ActivityTaskStarted", of(12)),
        event(14, 4.4, "ActivityTaskCompleted", of(12)),
        event(15, 4.5, "WorkflowExecutionCompleted", Value::Null),
    ]});
    let cost = History::read(events.to_string().as_bytes()).cost();
    assert!((cost.longest_path - 4.0).abs() < 1e-3 && (cost.overhead() - 0.5).abs() < 1e-3, "{cost:?}");
}
