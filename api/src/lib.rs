//! The HTTP service: verdicts, what is in production, the web page.
//!
//! Predictions touch nothing but memory. Temporal and the object store may both be away and they go on.

mod figures;
mod limits;
mod metrics;
mod page;
mod problem;
mod routes;
mod serving;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use poem::{
    Endpoint, EndpointExt, Route, Server,
    listener::{Acceptor, Listener, TcpListener},
    middleware::CatchPanic,
};
use registry::{Registry, ReplicaId, Trust};
use workflows::Orchestrator;

pub use self::{metrics::Metrics, serving::Serving};

/// Requests in flight when the service is told to stop end within this time.
const DRAIN: Duration = Duration::from_secs(5);

/// What the service works with.
pub struct Service {
    /// Datasets, models, history.
    pub registry: Registry,
    /// Temporal.
    pub orchestrator: Orchestrator,
    /// Where people see runs, e.g. `http://127.0.0.1:8233`; none where there is no Web UI.
    pub temporal_ui: Option<String>,
    /// What the service counts.
    pub metrics: Metrics,
    /// What this replica calls itself.
    pub replica: ReplicaId,
}

/// What every handler may use.
#[derive(Clone)]
struct Context {
    registry: Registry,
    orchestrator: Arc<Orchestrator>,
    temporal_ui: Option<Arc<str>>,
    serving: Arc<Serving>,
    trust: Trust,
    metrics: Arc<Metrics>,
}

/// Pause between tries to ask the store whether it may be trusted with promotions.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Listens on `address`, tells `bound` where (a port of 0 is chosen by the system), and answers until `stop` resolves.
pub async fn serve(
    service: Service,
    address: SocketAddr,
    bound: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let metrics = Arc::new(service.metrics);
    let serving = Arc::new(Serving::new(service.registry.clone(), Arc::clone(&metrics), service.replica));
    let context = Context {
        registry: service.registry.clone(),
        orchestrator: Arc::new(service.orchestrator),
        temporal_ui: service.temporal_ui.map(Into::into),
        serving: Arc::clone(&serving),
        trust: Trust::new(service.registry.clone()),
        metrics,
    };
    let acceptor = TcpListener::bind(address).into_acceptor().await?;
    let listening = acceptor.local_addr().into_iter().find_map(|a| a.as_socket_addr().copied());
    bound(listening.unwrap_or(address));
    let refresh = tokio::spawn(Arc::clone(&serving).follow_production());
    let asking = tokio::spawn(ask_the_store(context.trust.clone()));
    Server::new_with_acceptor(acceptor)
        .idle_timeout(limits::IDLE)
        .run_with_graceful_shutdown(endpoint(context), stop, Some(DRAIN))
        .await?;
    refresh.abort();
    asking.abort();
    // Only when it has really ended can no report follow.
    let _ = refresh.await;
    serving.leave().await;
    Ok(())
}

/// Finds out once, however long the store is away, whether it may be trusted with promotions.
async fn ask_the_store(trust: Trust) {
    loop {
        match trust.objection().await {
            Ok(None) => return,
            Ok(Some(reason)) => {
                tracing::error!(reason, "the object store cannot be trusted with promotions");
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "the object store cannot be asked whether it may be trusted with promotions");
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }
}

/// The OpenAPI document, as `/openapi.json` answers it.
#[must_use]
pub fn openapi() -> String {
    let registry = Registry::new(Arc::new(registry::MemoryStore::default()));
    let metrics = Arc::new(Metrics::new());
    let context = Context {
        serving: Arc::new(Serving::new(registry.clone(), Arc::clone(&metrics), ReplicaId::new(""))),
        trust: Trust::new(registry.clone()),
        registry,
        orchestrator: Arc::new(Orchestrator::new(None, String::new(), None)),
        temporal_ui: None,
        metrics,
    };
    routes::service(&context).spec()
}

fn endpoint(context: Context) -> impl Endpoint {
    let api = routes::service(&context);
    let (spec, swagger) = (api.spec(), api.swagger_ui_html());
    let routes = Route::new()
        .at("/openapi.json", page::json(spec))
        .at("/docs", page::swagger(swagger))
        .at("/metrics", page::metrics(Arc::clone(&context.metrics)))
        .nest("/", api);
    page::Files { rest: routes }
        .with(CatchPanic::new().with_handler(problem::panicked))
        .catch_all_error(problem::from_error)
        .with(limits::Limits::new(context.metrics))
}
