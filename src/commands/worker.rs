//! `threatwatch worker`: workflows and activities, and a small server for health and metrics.

use std::{
    net::SocketAddr,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use activities::{Added, Deployment, FineTuning, Parts};
use anyhow::Context;
use poem::{
    Endpoint, Response, Route, Server,
    endpoint::make,
    http::{StatusCode, header},
    listener::TcpListener,
};
use temporalio_common::telemetry::{
    PrometheusExporterOptions, TelemetryOptions,
    metrics::{CoreMeter, TemporalMeter},
    start_prometheus_metric_exporter, telemetry_init,
};
use temporalio_sdk::{Runtime, runtime::RuntimeOptions};
use workflows::codec::{self, Codec};

use crate::{
    encoder_base::EncoderBase,
    http,
    process::Process,
    settings::{Settings, names},
    telemetry::{self, Traces},
    up::supervisor::stop_signal,
};

/// Pause between tries while a part that the worker needs is away.
const RETRY: Duration = Duration::from_secs(2);
/// First pause of a worker that lacks a key; doubles up to [`LONGEST_PAUSE`], with which the tries of an activity last hours.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// How soon a worker that lacks a key stops taking work.
const LOOK: Duration = Duration::from_millis(200);

/// Settings of a worker
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where health and metrics are served
    #[arg(long, env = "THREATWATCH_WORKER_ADDRESS", default_value = "127.0.0.1:9095")]
    address: SocketAddr,
    /// Threads for fits, counts and evaluations; without it one a core
    #[arg(long, env = "THREATWATCH_WORKER_THREADS", value_name = "NUMBER")]
    threads: Option<NonZero<usize>>,
    /// The worker deployment that this worker is a version of, where runs shall stay with the version that they started
    /// on; it takes new ones when `temporal worker deployment set-current-version` says so
    #[arg(long, env = names::DEPLOYMENT_NAME, value_name = "NAME", value_parser = deployment_name)]
    deployment_name: Option<String>,
    /// This version in the deployment; without it the version of this program
    #[arg(long, env = "THREATWATCH_BUILD_ID", value_name = "ID", value_parser = build_id)]
    build_id: Option<String>,
    /// Seconds of fine-tuning that may be lost with a worker: so often it keeps what it has learned
    #[arg(
        long,
        env = "THREATWATCH_CHECKPOINT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    checkpoint_seconds: u64,
}

impl Arguments {
    /// None where no deployment is named: Compose gives a variable that is not set as an empty one.
    fn deployment(&self) -> Option<Deployment> {
        let name = self.deployment_name.clone().filter(|name| !name.is_empty())?;
        let build_id = self.build_id.clone().filter(|id| !id.is_empty());
        let build_id = build_id.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        Some(Deployment { name, build_id })
    }
}

/// Letters, digits and what Temporal takes beside them; nothing at all for none.
fn deployment_name(text: &str) -> Result<String, String> {
    plain(text, &['-', '_'], "`-` and `_`")
}

fn build_id(text: &str) -> Result<String, String> {
    plain(text, &['-', '_', '.', '+'], "`-`, `_`, `.` and `+`")
}

fn plain(text: &str, beside: &[char], named: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || beside.contains(&c);
    // What begins with two underscores is Temporal's own.
    if text.len() <= 100 && text.chars().all(is_plain) && !text.starts_with("__") {
        return Ok(text.to_owned());
    }
    Err(format!("not of at most 100 letters, digits, {named}, or it begins with `__`"))
}

pub(super) async fn run(arguments: Arguments, settings: &Settings, extensions: Added) -> anyhow::Result<()> {
    telemetry::start_logging();
    let _traces = Traces::start("threatwatch-worker")?;
    let stop = stop_signal()?;
    let telemetry = Telemetry::start()?;
    let metrics = Arc::new(activities::Metrics::new(Box::new(Process)));
    let is_ready = Arc::new(AtomicBool::new(false));
    let server = Server::new(TcpListener::bind(arguments.address));
    let codec = settings.codec().clone();
    let endpoint = endpoint(Arc::clone(&is_ready), codec.clone(), Arc::clone(&metrics), telemetry.exporter);
    let stopped = stop.clone();
    let server = tokio::spawn(async move {
        server.run_with_graceful_shutdown(endpoint, stopped.received(), Some(Duration::from_secs(1))).await
    });

    let work = async {
        let orchestrator = settings.metered_orchestrator("worker", Some(telemetry.client_meter));
        let registry = until_ok("the object store", || settings.registry()).await;
        until_ok("Temporal", || async { Ok(orchestrator.ensure_search_attributes().await?) }).await;
        let client = orchestrator.client().await?;
        // A worker that was started anew still knows when a version was last made.
        if let Some(newest) = until_ok("the object store", || async { Ok(registry.manifests().await?) }).await.first() {
            metrics.set_last_training(newest.started as f64);
        }
        if let Some(objection) = until_ok("the object store", || async { Ok(registry.probe().await?) }).await {
            tracing::error!(objection, "the object store cannot be trusted with promotions: none will be made");
        }
        let deployment = arguments.deployment();
        let threads =
            arguments.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN);
        let bases = Arc::new(EncoderBase::of(settings));
        let tuning = FineTuning { bases, checkpoint: Duration::from_secs(arguments.checkpoint_seconds) };
        if let Some(url) = settings.get(names::URL)
            && let Err(objection) = workflows::set_api_url(&url)
        {
            tracing::warn!(objection, "{} is not used: runs have no links to the API", names::URL);
        }
        let plugin = activities::plugin(Parts { registry, metrics, tuning, threads, extensions });
        let mut pause = FIRST_PAUSE;
        loop {
            is_ready.store(true, Ordering::Relaxed);
            let since = Instant::now();
            say_working(deployment.as_ref());
            let (told, lacking) = (stop.clone(), codec.clone());
            let stop_working = async move {
                tokio::select! {
                    () = told.received() => {}
                    () = until(|| lacking.lacking().is_some()) => {}
                }
            };
            let (client, plugin) = (client.clone(), plugin.clone());
            let worked = activities::run(&telemetry.runtime, client, plugin, deployment.clone(), stop_working).await;
            is_ready.store(false, Ordering::Relaxed);
            if tokio::time::timeout(Duration::ZERO, stop.received()).await.is_ok() {
                break worked;
            }
            let Some(key) = codec.lacking() else {
                // The key may just have come.
                worked?;
                continue;
            };
            if since.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            // Each task that it takes fails, until its run has no try left; others' runs need their turn all the same.
            let (error, seconds) = (codec::Error::NoKey(key), pause.as_secs());
            tracing::error!(%error, "no work is taken for {seconds} s, or until the key is there");
            let _ = tokio::time::timeout(pause, until(|| codec.lacking().is_none())).await;
            codec.try_again();
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    };
    tokio::select! {
        worked = work => worked?,
        served = server => {
            served?.with_context(|| format!("serve health and metrics on {}", arguments.address))?;
        }
    }
    tracing::info!("stopped");
    Ok(())
}

fn say_working(deployment: Option<&Deployment>) {
    match deployment {
        None => tracing::info!(task_queue = workflows::TASK_QUEUE, "working"),
        Some(Deployment { name, build_id }) => tracing::info!(
            task_queue = workflows::TASK_QUEUE,
            deployment = name,
            build_id,
            "working; new runs come here once this is the current version of the deployment"
        ),
    }
}

/// Waits until it is so.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Tries until it succeeds, saying once every few seconds what is missing.
async fn until_ok<T, F>(what: &str, attempt: impl Fn() -> F) -> T
where
    F: Future<Output = anyhow::Result<T>>,
{
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => tracing::warn!("waiting for {what}: {error:#}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// What `doctor` compares.
#[derive(Debug, serde::Serialize)]
struct PayloadKeys {
    /// As `id:fingerprint`, the one that encrypts first.
    payload_keys: Vec<String>,
    /// One that a payload was encrypted with and that is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacking: Option<String>,
}

impl PayloadKeys {
    fn of(codec: &Codec) -> Self {
        let payload_keys = codec.names().iter().map(|name| format!("{}:{}", name.id, name.fingerprint)).collect();
        Self { payload_keys, lacking: codec.lacking().map(|name| name.to_string()) }
    }
}

/// The SDK's metrics and what makes them.
struct Telemetry {
    runtime: Runtime,
    client_meter: TemporalMeter,
    /// Where the SDK's own exporter listens; its registry is private.
    exporter: SocketAddr,
}

impl Telemetry {
    fn start() -> anyhow::Result<Self> {
        let exporter = start_prometheus_metric_exporter(
            PrometheusExporterOptions::builder()
                .socket_addr(SocketAddr::from(([127, 0, 0, 1], 0)))
                .counters_total_suffix(true)
                .unit_suffix(true)
                .use_seconds_for_durations(true)
                .build(),
        )?;
        let meter: Arc<dyn CoreMeter> = exporter.meter.clone();
        let options = || TelemetryOptions::builder().metrics(Arc::clone(&meter)).build();
        let runtime = RuntimeOptions::builder().telemetry_options(options()).build().map_err(anyhow::Error::msg)?;
        let client_meter = telemetry_init(options())?.get_temporal_metric_meter().context("the SDK has no meter")?;
        Ok(Self { runtime: Runtime::from_current_tokio(runtime)?, client_meter, exporter: exporter.bound_addr })
    }
}

fn endpoint(
    is_ready: Arc<AtomicBool>,
    codec: Codec,
    metrics: Arc<activities::Metrics>,
    exporter: SocketAddr,
) -> impl Endpoint {
    let ready = move |_| {
        let status = if is_ready.load(Ordering::Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let state = PayloadKeys::of(&codec);
        let body = serde_json::to_string(&state).expect("names are JSON");
        async move { Response::builder().status(status).content_type("application/json").body(body) }
    };
    let metrics = move |_| {
        let metrics = Arc::clone(&metrics);
        async move { read_metrics(&metrics, exporter).await }
    };
    Route::new()
        .at("/health/live", make(|_| async { StatusCode::OK }))
        .at("/health/ready", make(ready))
        .at("/metrics", make(metrics))
}

/// Our metrics, then the SDK's.
async fn read_metrics(metrics: &activities::Metrics, exporter: SocketAddr) -> Response {
    let ours = metrics.render().map_err(anyhow::Error::from);
    let sdk = http::get_text(&format!("http://{exporter}/metrics")).await;
    match ours.and_then(|ours| Ok(ours + &sdk?)) {
        Ok(text) => {
            Response::builder().header(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8").body(text)
        }
        Err(error) => Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).body(format!("{error:#}\n")),
    }
}
