//! `threatwatch worker`: runs workflows and activities, and serves health and metrics.

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

/// Pause between attempts to reach a part that the worker needs.
const RETRY: Duration = Duration::from_secs(2);
/// First pause of a worker that lacks a key. It doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// With this pause the attempts of an activity last for hours.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// How often a condition is checked: a worker that lacks a key stops taking work within this time.
const LOOK: Duration = Duration::from_millis(200);

/// Settings of a worker
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Address for health and metrics
    #[arg(long, env = "THREATWATCH_WORKER_ADDRESS", default_value = "127.0.0.1:9095")]
    address: SocketAddr,
    /// Threads for fits, counts and evaluations; without it one per core
    #[arg(long, env = "THREATWATCH_WORKER_THREADS", value_name = "NUMBER")]
    threads: Option<NonZero<usize>>,
    /// Worker deployment of which this worker is a version; runs stay on the version that started them, and new runs
    /// come to this one after `temporal worker deployment set-current-version`
    #[arg(long, env = names::DEPLOYMENT_NAME, value_name = "NAME", value_parser = deployment_name)]
    deployment_name: Option<String>,
    /// Id of this version in the deployment; without it the version of this program
    #[arg(long, env = "THREATWATCH_BUILD_ID", value_name = "ID", value_parser = build_id)]
    build_id: Option<String>,
    /// Seconds between checkpoints of fine-tuning: if a worker dies, at most this much work is lost
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
    /// None if no deployment is named. Compose passes an unset variable as an empty one.
    fn deployment(&self) -> Option<Deployment> {
        let name = self.deployment_name.clone().filter(|name| !name.is_empty())?;
        let build_id = self.build_id.clone().filter(|id| !id.is_empty());
        let build_id = build_id.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        Some(Deployment { name, build_id })
    }
}

/// Accepts letters, digits and the signs that Temporal accepts. An empty name means none.
fn deployment_name(text: &str) -> Result<String, String> {
    plain(text, &['-', '_'], "`-` and `_`")
}

fn build_id(text: &str) -> Result<String, String> {
    plain(text, &['-', '_', '.', '+'], "`-`, `_`, `.` and `+`")
}

fn plain(text: &str, beside: &[char], named: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || beside.contains(&c);
    // Names that begin with two underscores are reserved by Temporal.
    if text.len() <= 100 && text.chars().all(is_plain) && !text.starts_with("__") {
        return Ok(text.to_owned());
    }
    Err(format!("must have at most 100 letters, digits, {named}, and must not begin with `__`"))
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
        // A restarted worker still reports when the last version was made.
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
                // The key may have arrived meanwhile.
                worked?;
                continue;
            };
            if since.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            // Tasks with that key fail until their run has no attempt left. Other runs still need this worker.
            let (error, seconds) = (codec::Error::NoKey(key), pause.as_secs());
            tracing::error!(%error, "no work is taken for {seconds} s, or until the key is available");
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

/// Waits until the condition holds.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Tries until it succeeds, and logs every few seconds what is missing.
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

/// The keys that `doctor` compares.
#[derive(Debug, serde::Serialize)]
struct PayloadKeys {
    /// As `id:fingerprint`. The first key encrypts.
    payload_keys: Vec<String>,
    /// A key with which a payload was encrypted, and which this worker does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacking: Option<String>,
}

impl PayloadKeys {
    fn of(codec: &Codec) -> Self {
        let payload_keys = codec.names().iter().map(|name| format!("{}:{}", name.id, name.fingerprint)).collect();
        Self { payload_keys, lacking: codec.lacking().map(|name| name.to_string()) }
    }
}

/// The SDK's metrics and the runtime that records them.
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
