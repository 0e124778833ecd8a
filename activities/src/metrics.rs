//! The worker's metrics for Prometheus, in addition to the SDK's metrics, in one struct.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::{FutureExt, future::BoxFuture};
use prometheus_client::{
    collector::Collector,
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use temporalio_sdk::{
    activities::ActivityError,
    interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next},
};

/// How attempts of an activity ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    activity: String,
    outcome: &'static str,
}

/// An activity.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActivityLabels {
    activity: String,
}

/// The result of the gate.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GateLabels {
    result: &'static str,
}

/// The worker's metrics.
pub struct Metrics {
    registry: Registry,
    outcomes: Family<OutcomeLabels, Counter>,
    seconds: Family<ActivityLabels, Histogram>,
    pub(crate) rows_ingested: Counter,
    pub(crate) rows_quarantined: Counter,
    gate_results: Family<GateLabels, Counter>,
    last_training: Gauge<f64, AtomicU64>,
}

impl Metrics {
    /// Empty metrics, and those of `process`.
    #[must_use]
    pub fn new(process: Box<dyn Collector>) -> Self {
        // From the write of a small object to a fit of an hour.
        const SECONDS: [f64; 10] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3600.0];
        let mut this = Self {
            registry: Registry::default(),
            outcomes: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            rows_ingested: Counter::default(),
            rows_quarantined: Counter::default(),
            gate_results: Family::default(),
            last_training: Gauge::default(),
        };
        let r = &mut this.registry;
        r.register_collector(process);
        r.register("threatwatch_activity_outcomes", "Attempts of activities, by how they ended", this.outcomes.clone());
        r.register("threatwatch_activity_seconds", "Duration of attempts of activities", this.seconds.clone());
        r.register(
            "threatwatch_rows_ingested",
            "Usable sentences of datasets found by runs",
            this.rows_ingested.clone(),
        );
        r.register("threatwatch_rows_quarantined", "Malformed rows of those datasets", this.rows_quarantined.clone());
        r.register("threatwatch_gate_results", "Candidates judged by the gate", this.gate_results.clone());
        r.register(
            "threatwatch_last_training_timestamp_seconds",
            "When a version was last registered, in seconds since 1970; 0 if never",
            this.last_training.clone(),
        );
        for result in ["pass", "fail"] {
            drop(this.gate_results.get_or_create(&GateLabels { result }));
        }
        this
    }

    /// The text that Prometheus reads, without the end mark, so that more can follow.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text.trim_end().trim_end_matches("# EOF").to_owned())
    }

    /// Sets when a version was last registered: seconds since 1970.
    pub fn set_last_training(&self, seconds: f64) {
        self.last_training.set(seconds);
    }

    pub(crate) fn trained_now(&self) {
        self.set_last_training(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()));
    }

    pub(crate) fn gated(&self, passed: bool) {
        let result = if passed { "pass" } else { "fail" };
        self.gate_results.get_or_create(&GateLabels { result }).inc();
    }

    fn count(&self, activity: &str, outcome: &'static str, started: Instant) {
        let activity = activity.to_owned();
        self.seconds
            .get_or_create(&ActivityLabels { activity: activity.clone() })
            .observe(started.elapsed().as_secs_f64());
        self.outcomes.get_or_create(&OutcomeLabels { activity, outcome }).inc();
    }
}

/// Counts every attempt of every activity.
pub(crate) struct Counted(pub(crate) Arc<Metrics>);

impl ActivityInboundInterceptor for Counted {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let counted = async move {
            let activity = input.activity_info().activity_type.clone();
            let started = Instant::now();
            let result = next.run(input).await;
            let outcome = match &result {
                Ok(_) => "completed",
                Err(ActivityError::Cancelled { .. }) => "cancelled",
                Err(_) => "failed",
            };
            self.0.count(&activity, outcome, started);
            result
        };
        let counted: BoxFuture<'a, _> = counted.boxed();
        counted
    }
}
