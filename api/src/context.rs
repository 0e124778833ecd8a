//! What every handler may use, and requests to the object store and Temporal.

use std::sync::Arc;

use registry::{Registry, Trust};
use tokio::sync::{Semaphore, watch};
use workflows::{Orchestrator, orchestrator};

use crate::{
    Service,
    cascade::EncoderThreads,
    circuit::{Circuit, Outage},
    drift::Drift,
    held_out::HeldOut,
    keys::KeyRing,
    metrics::{Metrics, PartLabels},
    pinned::Pinned,
    problem::Problem,
    routes::PerspectiveSettings,
    serving::Serving,
    shadow::Shadow,
};

/// What every handler may use.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) registry: Registry,
    pub(crate) store: Circuit,
    pub(crate) orchestrator: Arc<Orchestrator>,
    pub(crate) temporal: Circuit,
    pub(crate) temporal_ui: Option<Arc<str>>,
    /// The Temporal namespace of our runs, for links.
    pub(crate) temporal_namespace: Arc<str>,
    pub(crate) serving: Arc<Serving>,
    pub(crate) trust: Trust,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) encoder: Arc<EncoderThreads>,
    pub(crate) pinned: Arc<Pinned>,
    pub(crate) shadow: Arc<Shadow>,
    pub(crate) drift: Arc<Drift>,
    pub(crate) held_out: Arc<HeldOut>,
    pub(crate) keys: Arc<KeyRing>,
    /// Slots for streams.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) perspective: Arc<PerspectiveSettings>,
    /// Most bytes of a body with one comment, or of a line.
    pub(crate) longest_body: usize,
    /// Most characters of a comment.
    pub(crate) longest_text: usize,
    pub(crate) stopping: watch::Receiver<bool>,
    /// Whether each request is a span.
    pub(crate) traces: bool,
}

impl Context {
    /// Everything that handlers need. Sends no request yet.
    pub(crate) fn new(service: Service, stopping: watch::Receiver<bool>) -> Self {
        let Service { registry, cache, limits, .. } = service;
        let metrics = Arc::new(service.metrics);
        let circuit = |part| {
            let up = metrics.part_up.get_or_create(&PartLabels { part }).clone();
            Circuit::new(part, up)
        };
        let (store, temporal) = (circuit("object_store"), circuit("temporal"));
        let (of_serving, of_keys) = (cache.clone(), cache);
        let serving = Serving::new(
            registry.clone(),
            store.clone(),
            of_serving,
            service.cascade.pass_from,
            Arc::clone(&metrics),
            service.replica,
        );
        let encoder = Arc::new(EncoderThreads::new(service.cascade.clone(), Arc::clone(&metrics), stopping.clone()));
        let pass_from = service.cascade.pass_from;
        let shadow = Shadow::new(registry.clone(), pass_from, Arc::clone(&encoder), Arc::clone(&metrics));
        let (needs_keys, rate) = (service.needs_keys, limits.requests_per_second);
        let keys = KeyRing::new(registry.clone(), store.clone(), of_keys, needs_keys, rate);
        Self {
            traces: service.traces,
            trust: Trust::new(registry.clone()),
            pinned: Arc::new(Pinned::new(registry.clone(), service.cascade.pass_from)),
            drift: Arc::new(Drift::new(registry.clone(), Arc::clone(&metrics))),
            held_out: Arc::new(HeldOut::new(registry.clone())),
            registry,
            store,
            // Wrong settings are reported by the first request that needs Temporal.
            temporal_namespace: service.orchestrator.namespace().unwrap_or_default().into(),
            orchestrator: Arc::new(service.orchestrator),
            temporal,
            temporal_ui: service.temporal_ui.map(Into::into),
            serving: Arc::new(serving),
            shadow: Arc::new(shadow),
            encoder,
            metrics,
            keys: Arc::new(keys),
            streams: Arc::new(Semaphore::new(limits.streams)),
            perspective: Arc::new(service.perspective),
            longest_body: limits.body,
            longest_text: limits.text,
            stopping,
        }
    }

    /// Asks the store. Gives up as soon as the store is known to be away.
    pub(crate) fn ask_store<T>(
        &self,
        asking: impl Future<Output = Result<T, registry::Error>>,
    ) -> impl Future<Output = Result<T, Problem>> {
        let answer = self.store.guard(asking);
        async move {
            match answer.await {
                Ok(answer) => answer.map_err(Problem::from),
                Err(Outage { reason, .. }) => {
                    Err(Problem::store_unavailable(format!("The service keeps trying. The last error: {reason}.")))
                }
            }
        }
    }

    /// Refuses a request that needs Temporal while Temporal is away.
    pub(crate) fn require_temporal(&self) -> Result<(), Problem> {
        match self.temporal.outage() {
            None => Ok(()),
            Some(outage) => Err(orchestrator::Error::Unreachable(outage.reason).into()),
        }
    }

    /// Asks Temporal. Gives up as soon as Temporal is known to be away.
    pub(crate) fn ask_temporal<T>(
        &self,
        asking: impl Future<Output = Result<T, orchestrator::Error>>,
    ) -> impl Future<Output = Result<T, orchestrator::Error>> {
        let answer = self.temporal.guard(asking);
        async move {
            let unreachable = |Outage { reason, .. }| Err(orchestrator::Error::Unreachable(reason));
            answer.await.unwrap_or_else(unreachable)
        }
    }
}
