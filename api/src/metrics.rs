//! All metrics of the service for Prometheus, in one struct.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use arc_swap::ArcSwap;

use model::linear::JudgedBy;
use poem::http::StatusCode;
use prometheus_client::{
    collector::Collector,
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{cascade::Fallback, judging::label, shadow::Compared};

/// Decisions by model.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct DecisionLabels {
    pub(crate) decision: &'static str,
    pub(crate) model_version: String,
}

/// A route. Unknown paths share the handler `none`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct HandlerLabels {
    pub(crate) method: &'static str,
    pub(crate) handler: String,
}

/// A route and the class of its status, e.g. `2xx`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    method: &'static str,
    handler: String,
    status: &'static str,
}

/// The part that judged a sentence.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct JudgeLabels {
    pub(crate) judged_by: &'static str,
}

/// Why a sentence was judged without the encoder.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct FallbackLabels {
    pub(crate) reason: &'static str,
}

/// How a shadow's verdict compares to production's: see [`crate::shadow::Compared`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ComparedLabels {
    pub(crate) outcome: &'static str,
}

/// A measure of comments.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct MeasureLabels {
    pub(crate) measure: &'static str,
}

/// A reviewer's decision.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct FeedbackLabels {
    pub(crate) label: &'static str,
    /// Whether the model in production gave the same label: `yes`, `no`, `unjudged`.
    pub(crate) agreed: &'static str,
}

/// The model that serves.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ModelLabels {
    pub(crate) version: String,
    pub(crate) trainer: String,
}

/// A part that the service depends on.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct PartLabels {
    pub(crate) part: &'static str,
}

type OfRoutesByName = BTreeMap<&'static str, BTreeMap<String, Arc<OfRoute>>>;
/// Counters by method and handler. A request finds them without building labels or searching series.
type OfRoutes = ArcSwap<OfRoutesByName>;

/// The counters of one route.
pub(crate) struct OfRoute {
    labels: HandlerLabels,
    requests: Family<RequestLabels, Counter>,
    /// By class of status; made at the first answer of the class.
    by_status: [OnceLock<Counter>; CLASSES.len()],
    duration: Histogram,
    request_size: Sum,
    response_size: Sum,
}

/// Classes of status.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl OfRoute {
    /// Method and handler.
    pub(crate) fn names(&self) -> (&str, &str) {
        (self.labels.method, &self.labels.handler)
    }

    /// Counts an answered request, with the lengths of both bodies in bytes.
    pub(crate) fn count(&self, status: StatusCode, (request, response): (usize, usize), took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let make = || {
            let HandlerLabels { method, handler } = self.labels.clone();
            self.requests.get_or_create(&RequestLabels { method, handler, status: CLASSES[class] }).clone()
        };
        self.by_status[class].get_or_init(make).inc();
        self.request_size.observe(request as f64);
        self.response_size.observe(response as f64);
        self.duration.observe(took.as_secs_f64());
    }
}

/// The counters of one model's verdicts.
#[derive(Clone)]
pub(crate) struct Verdicts {
    threats: Counter,
    harmless: Counter,
}

impl Verdicts {
    pub(crate) fn count(&self, is_threat: bool) {
        if is_threat {
            self.threats.inc()
        } else {
            self.harmless.inc()
        };
    }
}

/// The service's metrics.
pub struct Metrics {
    registry: Registry,
    http_requests: Family<RequestLabels, Counter>,
    http_request_duration: Family<HandlerLabels, Histogram>,
    http_request_size: Family<HandlerLabels, Sum>,
    http_response_size: Family<HandlerLabels, Sum>,
    of_routes: OfRoutes,
    pub(crate) http_in_flight: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) part_up: Family<PartLabels, Gauge>,
    predictions: Family<DecisionLabels, Counter>,
    pub(crate) probability: Histogram,
    pub(crate) inference: Histogram,
    pub(crate) unknown_share: Histogram,
    sentences: Family<JudgeLabels, Counter>,
    /// The same, in the order of [`JudgedBy::ALL`].
    pub(crate) sentences_by: [Counter; JudgedBy::ALL.len()],
    pub(crate) encoder_fallbacks: Family<FallbackLabels, Counter>,
    pub(crate) encoder_queue: Gauge,
    pub(crate) encoder_batch: Histogram,
    pub(crate) encoder_seconds: Histogram,
    pub(crate) shadow_share: Gauge<f64, AtomicU64>,
    pub(crate) shadow_comments: Family<ComparedLabels, Counter>,
    pub(crate) shadow_difference: Histogram,
    pub(crate) shadow_dropped: Counter,
    pub(crate) drift_comments: Gauge,
    pub(crate) drift_psi: Family<MeasureLabels, Gauge<f64, AtomicU64>>,
    pub(crate) drift_p_value: Family<MeasureLabels, Gauge<f64, AtomicU64>>,
    pub(crate) feedback: Family<FeedbackLabels, Counter>,
    pub(crate) model: Family<ModelLabels, Gauge>,
    pub(crate) generation: Gauge,
    pub(crate) loaded: Gauge<f64, AtomicU64>,
    pub(crate) trained: Gauge<f64, AtomicU64>,
    pub(crate) load_failures: Counter,
}

/// Sizes: only their sum and count are used.
pub(crate) type Sum = Histogram;

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Empty metrics, with those of `process`.
    #[must_use]
    pub fn with_process(process: Box<dyn Collector>) -> Self {
        let mut this = Self::new();
        this.registry.register_collector(process);
        this
    }

    /// Empty metrics.
    #[must_use]
    pub fn new() -> Self {
        // A verdict takes microseconds, a request well under a millisecond. 0.1 s is the usual goal for a web page.
        const DURATION: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
        const INFERENCE: [f64; 12] = [2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 5e-4, 1e-3, 1e-2, 0.05, 0.25, 1.0];
        const SIZE: [f64; 5] = [256.0, 1024.0, 4096.0, 16_384.0, 262_144.0];
        const BATCH: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        const DIFFERENCE: [f64; 11] = [-0.5, -0.2, -0.1, -0.05, -0.01, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0];
        const TENTHS: [f64; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
        let sentences = Family::<JudgeLabels, Counter>::default();
        let mut this = Self {
            registry: Registry::default(),
            http_requests: Family::default(),
            http_request_duration: Family::new_with_constructor(|| Histogram::new(DURATION)),
            http_request_size: Family::new_with_constructor(|| Histogram::new(SIZE)),
            http_response_size: Family::new_with_constructor(|| Histogram::new(SIZE)),
            of_routes: OfRoutes::default(),
            http_in_flight: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            part_up: Family::default(),
            predictions: Family::default(),
            probability: Histogram::new(TENTHS),
            inference: Histogram::new(INFERENCE),
            unknown_share: Histogram::new(TENTHS),
            sentences_by: JudgedBy::ALL
                .map(|judged_by| sentences.get_or_create(&JudgeLabels { judged_by: judged_by.name() }).clone()),
            sentences,
            encoder_fallbacks: Family::default(),
            encoder_queue: Gauge::default(),
            encoder_batch: Histogram::new(BATCH),
            encoder_seconds: Histogram::new(DURATION),
            shadow_share: Gauge::default(),
            shadow_comments: Family::default(),
            shadow_difference: Histogram::new(DIFFERENCE),
            shadow_dropped: Counter::default(),
            drift_comments: Gauge::default(),
            drift_psi: Family::default(),
            drift_p_value: Family::default(),
            feedback: Family::default(),
            model: Family::default(),
            generation: Gauge::default(),
            loaded: Gauge::default(),
            trained: Gauge::default(),
            load_failures: Counter::default(),
        };
        this.register();
        // A series that exists from the start shows its first increase.
        for reason in Fallback::ALL.map(Fallback::name) {
            drop(this.encoder_fallbacks.get_or_create(&FallbackLabels { reason }));
        }
        for label in [true, false].map(label) {
            for agreed in ["yes", "no", "unjudged"] {
                drop(this.feedback.get_or_create(&FeedbackLabels { label, agreed }));
            }
        }
        for outcome in Compared::ALL.map(Compared::name) {
            drop(this.shadow_comments.get_or_create(&ComparedLabels { outcome }));
        }
        this
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("http_requests", "Requests answered, by route and class of status", self.http_requests.clone());
        r.register(
            "http_request_duration_seconds",
            "Time from the request's head to the answer",
            self.http_request_duration.clone(),
        );
        r.register("http_request_size_bytes", "Length of request bodies", self.http_request_size.clone());
        r.register("http_response_size_bytes", "Length of response bodies", self.http_response_size.clone());
        r.register("http_requests_in_flight", "Requests that are being answered", self.http_in_flight.clone());
        r.register("http_connections", "Connections that are open", self.connections.clone());
        r.register(
            "http_connections_refused",
            "Connections refused because too many were open",
            self.connections_refused.clone(),
        );
        r.register(
            "threatwatch_part_up",
            "1 while a part that the service depends on answers, else 0",
            self.part_up.clone(),
        );
        self.register_judging();
        self.register_watching();
    }

    /// Metrics of verdicts and of the parts that give them.
    fn register_judging(&mut self) {
        let r = &mut self.registry;
        r.register("threatwatch_predictions", "Comments judged, by decision and model", self.predictions.clone());
        r.register("threatwatch_probability", "Probabilities of answered comments", self.probability.clone());
        r.register("threatwatch_inference_seconds", "Time to judge one comment", self.inference.clone());
        r.register(
            "threatwatch_oov_ratio",
            "Share of a comment's features that the model does not know",
            self.unknown_share.clone(),
        );
        r.register("threatwatch_sentences", "Sentences judged, by the part that judged them", self.sentences.clone());
        r.register(
            "threatwatch_encoder_fallbacks",
            "Comments that got the fast part's verdict because the encoder had no time, by reason",
            self.encoder_fallbacks.clone(),
        );
        r.register("threatwatch_encoder_queue", "Sentences that wait for the encoder", self.encoder_queue.clone());
        r.register(
            "threatwatch_encoder_batch_sentences",
            "Sentences that the encoder read together",
            self.encoder_batch.clone(),
        );
        r.register(
            "threatwatch_encoder_seconds",
            "Time of the encoder for one batch of sentences",
            self.encoder_seconds.clone(),
        );
        r.register(
            "threatwatch_shadow_share",
            "Share of the comments that the shadow version also judges; 0 without a shadow version",
            self.shadow_share.clone(),
        );
        r.register(
            "threatwatch_shadow_comments",
            "Comments that the shadow version judged, by how its verdict compares with production's",
            self.shadow_comments.clone(),
        );
        r.register(
            "threatwatch_shadow_difference",
            "The shadow version's probability minus production's",
            self.shadow_difference.clone(),
        );
        r.register(
            "threatwatch_shadow_dropped",
            "Comments that the shadow version did not judge because it was behind",
            self.shadow_dropped.clone(),
        );
    }

    /// Metrics of drift, feedback and the model that serves.
    fn register_watching(&mut self) {
        let r = &mut self.registry;
        r.register(
            "threatwatch_drift_comments",
            "Comments of the last 24 hours that are compared with those that the model was evaluated on",
            self.drift_comments.clone(),
        );
        r.register(
            "threatwatch_drift_psi",
            "Population stability index of the last 24 hours' comments, by measure; check it from 0.25 on",
            self.drift_psi.clone(),
        );
        r.register(
            "threatwatch_drift_p_value",
            "Probability that chance alone makes the last 24 hours' comments differ this much, by measure",
            self.drift_p_value.clone(),
        );
        r.register(
            "threatwatch_feedback",
            "Decisions of reviewers, by label and by whether the model in production gave the same label",
            self.feedback.clone(),
        );
        r.register("threatwatch_model_info", "1 for the model that serves", self.model.clone());
        r.register(
            "threatwatch_model_generation",
            "Generation that serves; 0 without a model",
            self.generation.clone(),
        );
        r.register(
            "threatwatch_model_loaded_timestamp_seconds",
            "When the model that serves was loaded, in seconds since 1970",
            self.loaded.clone(),
        );
        r.register(
            "threatwatch_model_trained_timestamp_seconds",
            "Start of the run that trained the model that serves, in seconds since 1970",
            self.trained.clone(),
        );
        r.register(
            "threatwatch_model_load_failures",
            "Promoted models that could not be loaded or verified",
            self.load_failures.clone(),
        );
    }

    /// The counters of a route; made at its first request.
    pub(crate) fn of_route(&self, method: &'static str, handler: &str) -> Arc<OfRoute> {
        let find = |routes: &OfRoutesByName| routes.get(method)?.get(handler).map(Arc::clone);
        if let Some(found) = find(&self.of_routes.load()) {
            return found;
        }
        let labels = HandlerLabels { method, handler: handler.to_owned() };
        let made = Arc::new(OfRoute {
            requests: self.http_requests.clone(),
            by_status: Default::default(),
            duration: self.http_request_duration.get_or_create(&labels).clone(),
            request_size: self.http_request_size.get_or_create(&labels).clone(),
            response_size: self.http_response_size.get_or_create(&labels).clone(),
            labels,
        });
        // Two requests that make them at the same time count in the same series.
        self.of_routes.rcu(|routes| {
            let mut routes = OfRoutesByName::clone(routes);
            routes.entry(method).or_default().insert(handler.to_owned(), Arc::clone(&made));
            routes
        });
        made
    }

    /// The counters of a model's verdicts.
    pub(crate) fn verdicts_of(&self, model_version: &str) -> Verdicts {
        let counter = |is_threat| {
            let labels = DecisionLabels { decision: label(is_threat), model_version: model_version.to_owned() };
            self.predictions.get_or_create(&labels).clone()
        };
        Verdicts { threats: counter(true), harmless: counter(false) }
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
