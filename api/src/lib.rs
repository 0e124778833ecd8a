//! The HTTP service: verdicts, models, promotion, the web page.
//!
//! Predictions need memory only. They work without Temporal and without the object store.

mod audit;
mod blocking;
mod body;
mod caller;
mod cascade;
mod circuit;
mod context;
mod dialect;
mod drift;
mod figures;
mod held_out;
mod judging;
mod keys;
mod kind;
mod limits;
mod many;
mod metrics;
mod names;
mod page;
mod pinned;
mod problem;
mod request_id;
mod routes;
mod server;
mod serving;
mod shadow;
mod slow;
mod tls;
mod trace;
mod written;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use poem::{Endpoint, EndpointExt, Response, Route, get, middleware::CatchPanic};
use registry::{Cache, Registry, ReplicaId, Trust};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use workflows::{Orchestrator, orchestrator};

pub use self::request_id::current as request_id;
pub use self::{
    cascade::CascadeLimits, limits::Limits, metrics::Metrics, names::Names, routes::PerspectiveSettings,
    tls::CertificateFiles,
};
use self::{context::Context, keys::KeyRing, limits::Guarded, problem::Methods, server::Server, tls::Certificate};

/// The parts and settings of the service.
pub struct Service {
    /// Datasets, models, history.
    pub registry: Registry,
    /// Temporal.
    pub orchestrator: Orchestrator,
    /// The address of Temporal's Web UI, e.g. `http://127.0.0.1:8233`; none if there is none.
    pub temporal_ui: Option<String>,
    /// The metrics.
    pub metrics: Metrics,
    /// The name of this replica.
    pub replica: ReplicaId,
    /// The disk cache of models and API keys, for a start without the store.
    pub cache: Option<Cache>,
    /// Limits on requests and connections.
    pub limits: Limits,
    /// Limits of the encoder.
    pub cascade: CascadeLimits,
    /// Settings for clients of Perspective API.
    pub perspective: PerspectiveSettings,
    /// Accepted hosts and origins.
    pub names: Names,
    /// Whether a key is required even if none was ever made.
    pub needs_keys: bool,
    /// The certificate; without it connections are not encrypted.
    pub certificate: Option<CertificateFiles>,
    /// How long it accepts new connections after the signal to stop, while readiness fails.
    pub linger: Duration,
    /// Whether each request is an OpenTelemetry span, by the tracer that the process has set.
    pub traces: bool,
}

impl Service {
    /// A service for this machine: no TLS, no cache, loopback names, no key until one is made.
    #[must_use]
    pub fn new(registry: Registry, orchestrator: Orchestrator, replica: ReplicaId) -> Self {
        Self {
            registry,
            orchestrator,
            temporal_ui: None,
            metrics: Metrics::new(),
            replica,
            cache: None,
            limits: Limits::default(),
            cascade: CascadeLimits::default(),
            perspective: PerspectiveSettings::default(),
            names: Names::default(),
            needs_keys: false,
            certificate: None,
            linger: Duration::ZERO,
            traces: false,
        }
    }
}

/// Pause between tries to check the store's guarantees for promotions.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// How often the store and Temporal are probed.
const LOOK: Duration = Duration::from_millis(500);
/// Time limit of a probe.
///
/// Two late probes in a row count as an outage: with [`LOOK`], a request waits at most 2.5 s.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the start waits for the store to list the keys.
const FIRST_LOOK: Duration = Duration::from_millis(1500);

/// Listens on `address` and answers until `stop` resolves.
///
/// Calls `bound` with the actual address: the system chooses a port for port 0.
///
/// Refuses to start if keys are required and the store says that there is none.
pub async fn serve(
    service: Service,
    address: SocketAddr,
    bound: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (limits, names, linger) = (service.limits.clone(), service.names.clone(), service.linger);
    let needs_keys = service.needs_keys;
    let certificate = service.certificate.clone().map(Certificate::read).transpose()?;
    let stopping = watch::Sender::new(false);
    let context = Context::new(service, stopping.subscribe());
    require_keys(&context.keys, needs_keys).await?;
    let listener = server::listen(address).with_context(|| format!("listen on {address}"))?;
    bound(listener.local_addr()?);
    let tls = certificate.as_ref().map(Certificate::acceptor).transpose()?;
    let mut background = in_background(&context);
    if let Some(certificate) = certificate {
        background.spawn(certificate.follow());
    }
    let (serving, metrics) = (Arc::clone(&context.serving), Arc::clone(&context.metrics));
    let (drift, store) = (Arc::clone(&context.drift), context.store.clone());
    let endpoint = Arc::new(endpoint(context, &limits, names));
    let connections = limits.connections;
    Server { listener, tls, endpoint, metrics, connections, linger, stopping }.run(stop).await;
    // The tasks must have ended, or a report could follow.
    background.shutdown().await;
    tokio::join!(serving.leave(), drift.leave(&store));
    Ok(())
}

/// Refuses to start if keys are required and none exists.
///
/// Does not wait for a store that is away.
async fn require_keys(keys: &KeyRing, needs_keys: bool) -> anyhow::Result<()> {
    let may_go_on = keys.is_known() && !(needs_keys && keys.has_none());
    if may_go_on {
        return Ok(());
    }
    let is_answered = matches!(tokio::time::timeout(FIRST_LOOK, keys.look()).await, Ok(Ok(())));
    if needs_keys && is_answered && keys.has_none() {
        bail!(
            "this address requires API keys, and there is none: make one with `threatwatch keys new NAME --role \
             operate`, or serve without keys with --insecure"
        );
    }
    Ok(())
}

/// Starts the background tasks.
fn in_background(context: &Context) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&context.serving).follow_production());
    tasks.spawn(probe_the_store(context.trust.clone()));
    tasks.spawn(Arc::clone(&context.shadow).judge());
    let (shadow, store) = (Arc::clone(&context.shadow), context.store.clone());
    tasks.spawn(async move { shadow.follow(&store).await });
    let (drift, serving, store) = (Arc::clone(&context.drift), Arc::clone(&context.serving), context.store.clone());
    tasks.spawn(async move { drift.follow(&store, &serving).await });
    let keys = Arc::clone(&context.keys);
    tasks.spawn(async move { keys.follow().await });
    let (store, registry) = (context.store.clone(), context.registry.clone());
    tasks.spawn(async move {
        let ask = || async { registry.ping().await.map_err(|error| error.to_string()) };
        store.watch(LOOK, PATIENCE, ask).await;
    });
    let (temporal, orchestrator) = (context.temporal.clone(), Arc::clone(&context.orchestrator));
    tasks.spawn(async move {
        let ask = || async {
            orchestrator.ping().await.map_err(|error| match error {
                orchestrator::Error::Unreachable(reason) => reason,
                error => error.to_string(),
            })
        };
        temporal.watch(LOOK, PATIENCE, ask).await;
    });
    tasks
}

/// Checks once whether the store has the guarantees that promotions need.
///
/// Waits for the store if it is away.
async fn probe_the_store(trust: Trust) {
    loop {
        match trust.objection().await {
            Ok(None) => return,
            Ok(Some(reason)) => {
                tracing::error!(reason, "the object store cannot be trusted with promotions");
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "the object store does not answer the check of its guarantees for promotions");
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }
}

/// The OpenAPI document, as `/openapi.json` answers it.
#[must_use]
pub fn openapi() -> String {
    let registry = Registry::new(Arc::new(registry::MemoryStore::default()));
    let orchestrator = Orchestrator::new(None, String::new(), None);
    let service = Service::new(registry, orchestrator, ReplicaId::new(""));
    routes::document(&routes::service(&Context::new(service, watch::channel(false).1)))
}

fn endpoint(context: Context, limits: &Limits, names: Names) -> impl Endpoint<Output = Response> + use<> {
    let api = routes::service(&context);
    let (spec, swagger) = (routes::document(&api), routes::swagger(&api));
    let methods = Methods::of(&api.spec());
    let of_routes = methods.clone();
    let routes = Route::new()
        .at("/openapi.json", get(page::json(spec)))
        .at("/docs", get(page::swagger(swagger)))
        .at("/metrics", get(page::metrics(Arc::clone(&context.metrics))))
        .at("/problems", get(page::problems()))
        .at("/problems/:kind", get(page::problem()))
        .at("/$discovery/rest", get(routes::Discovery))
        .nest("/", api);
    let inner = page::Files { rest: routes }
        .with(CatchPanic::new().with_handler(problem::panicked))
        .catch_all_error(move |error| problem::from_error(error, of_routes.clone()));
    Guarded {
        inner,
        metrics: context.metrics,
        names,
        keys: context.keys,
        places: Semaphore::new(limits.requests),
        body: limits.body,
        batch_body: limits.batch_body,
        bodies: Semaphore::new(limits::BODIES.max(limits.body).max(limits.batch_body)),
        stopping: context.stopping,
        methods,
        traces: context.traces,
    }
}
