//! `threatwatch serve`: the API.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use registry::{Cache, Registry, ReplicaId};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::{
    process::Process,
    settings::{Settings, names},
    telemetry::{self, Traces},
    up::supervisor::stop_signal,
};

/// The limit of open files to set. It is more than the service needs.
const MANY_FILES: u64 = 65_536;

/// Settings of the API
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Address of the API, the web page and Swagger; an address that is not loopback needs API keys and TLS
    #[arg(long, env = "THREATWATCH_ADDRESS", default_value = "127.0.0.1:8086")]
    address: SocketAddr,
    /// A host name of the service, in addition to the loopback names; may be given several times
    #[arg(long = "host", env = "THREATWATCH_HOSTS", value_name = "NAME", value_delimiter = ',')]
    hosts: Vec<String>,
    /// An origin whose web pages may use the API, e.g. `https://forum.example`; may be given several times
    #[arg(long = "cors-origin", env = "THREATWATCH_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    origins: Vec<String>,
    /// The TLS certificate chain, PEM; read again when the file changes
    #[arg(long, env = "THREATWATCH_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, PEM; read again when the file changes
    #[arg(long, env = "THREATWATCH_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Serve on an address that is not loopback without TLS, and without API keys until one is made
    #[arg(long, env = "THREATWATCH_INSECURE")]
    insecure: bool,
    /// Require API keys even if none was ever made, and on a loopback address, too
    #[arg(long, env = "THREATWATCH_REQUIRE_KEYS")]
    require_keys: bool,
    /// Folder for the last models and the digests of API keys; without it `cache` in the state directory
    #[arg(long, env = "THREATWATCH_CACHE_DIR", value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Seconds after SIGTERM in which new connections are still accepted, while readiness already fails
    #[arg(long, env = "THREATWATCH_LINGER_SECONDS", value_name = "SECONDS", default_value_t = 1)]
    linger_seconds: u16,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    cascade: Cascade,
    #[command(flatten)]
    perspective: Perspective,
}

/// Limits of the encoder, if the model has one
#[derive(Debug, clap::Args)]
struct Cascade {
    /// Threads of the encoder; without it one per core
    #[arg(long, env = "THREATWATCH_ENCODER_THREADS", value_name = "NUMBER")]
    encoder_threads: Option<NonZeroUsize>,
    /// Most sentences that may wait for the encoder; if the queue is full, a comment gets the fast verdict
    #[arg(long, env = "THREATWATCH_ENCODER_QUEUE", value_name = "NUMBER", default_value = "256")]
    encoder_queue: NonZeroUsize,
    /// Milliseconds that a comment waits for the encoder; then it gets the fast verdict
    #[arg(long, env = "THREATWATCH_ENCODER_DEADLINE_MILLISECONDS", value_name = "NUMBER", default_value = "250")]
    encoder_deadline_milliseconds: NonZeroU32,
    /// The encoder judges sentences with at least this fast probability; without it the model's value; 0 for all
    #[arg(long, env = "THREATWATCH_ENCODER_PASS_FROM", value_name = "PROBABILITY", value_parser = probability)]
    encoder_pass_from: Option<f64>,
}

fn probability(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "not a number from 0 to 1".to_owned())
}

impl From<Cascade> for api::CascadeLimits {
    fn from(cascade: Cascade) -> Self {
        let defaults = Self::default();
        Self {
            threads: cascade.encoder_threads.map_or(defaults.threads, NonZeroUsize::get),
            queue: cascade.encoder_queue.get(),
            deadline: Duration::from_millis(cascade.encoder_deadline_milliseconds.get().into()),
            pass_from: cascade.encoder_pass_from,
        }
    }
}

/// Limits of the API
#[derive(Debug, clap::Args)]
struct Limits {
    /// Most characters in a comment
    #[arg(long, env = "THREATWATCH_MAX_TEXT_CHARACTERS", value_name = "NUMBER", default_value = "20000")]
    max_text_characters: NonZeroUsize,
    /// Most bytes in a request body
    #[arg(long, env = "THREATWATCH_MAX_BODY_BYTES", value_name = "NUMBER", default_value = "262144")]
    max_body_bytes: NonZeroU32,
    /// Most bytes in a request body with many comments
    #[arg(long, env = "THREATWATCH_MAX_BATCH_BYTES", value_name = "NUMBER", default_value = "8388608")]
    max_batch_bytes: NonZeroU32,
    /// Most streams of comments at once
    #[arg(long, env = "THREATWATCH_MAX_STREAMS", value_name = "NUMBER", default_value = "8")]
    max_streams: NonZeroUsize,
    /// Most connections at once; fewer if the limit of open files is lower
    #[arg(long, env = "THREATWATCH_MAX_CONNECTIONS", value_name = "NUMBER", default_value = "2000")]
    max_connections: NonZeroUsize,
    /// Most requests at once
    #[arg(long, env = "THREATWATCH_MAX_REQUESTS", value_name = "NUMBER", default_value = "512")]
    max_requests: NonZeroUsize,
    /// Most requests per second with one API key; 0 for no limit
    #[arg(long, env = "THREATWATCH_MAX_REQUESTS_PER_SECOND", value_name = "NUMBER", default_value_t = 1000)]
    max_requests_per_second: u32,
}

impl From<Limits> for api::Limits {
    fn from(limits: Limits) -> Self {
        Self {
            text: limits.max_text_characters.get(),
            body: limits.max_body_bytes.get() as usize,
            batch_body: limits.max_batch_bytes.get() as usize,
            streams: limits.max_streams.get(),
            connections: limits.max_connections.get(),
            requests: limits.max_requests.get(),
            requests_per_second: NonZeroU32::new(limits.max_requests_per_second),
        }
    }
}

/// Answers to clients of Perspective API
#[derive(Debug, clap::Args)]
struct Perspective {
    /// A Perspective attribute to answer with the threat score, e.g. `TOXICITY`; may be given several times
    #[arg(
        long = "perspective-alias",
        env = "THREATWATCH_PERSPECTIVE_ALIASES",
        value_name = "NAME",
        value_delimiter = ','
    )]
    aliases: Vec<String>,
    /// A language that the models support; may be given several times
    #[arg(
        long = "perspective-language",
        env = "THREATWATCH_PERSPECTIVE_LANGUAGES",
        value_name = "CODE",
        value_delimiter = ',',
        default_value = "en"
    )]
    languages: Vec<String>,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    telemetry::start_logging();
    let traces = Traces::start("threatwatch-api")?;
    let stop = stop_signal()?;
    let Perspective { aliases, languages } = arguments.perspective;
    let perspective = api::PerspectiveSettings::new(&aliases, &languages).map_err(anyhow::Error::msg)?;
    let certificate = arguments.tls_certificate.zip(arguments.tls_key);
    let certificate = certificate.map(|(certificate, key)| api::CertificateFiles { certificate, key });
    let is_public = !arguments.address.ip().is_loopback() && !arguments.insecure;
    if is_public && certificate.is_none() {
        bail!(
            "{} is not a loopback address: give --tls-certificate and --tls-key, and make API keys with `threatwatch \
             keys new NAME --role ROLE`; or serve without them with --insecure",
            arguments.address
        );
    }
    allow_many_files();
    let s3 = settings.s3()?;
    let cache = Cache::new(&arguments.cache_dir.unwrap_or_else(|| settings.state_dir().join("cache")), &s3.place());
    // The API does not create the bucket. It starts without it and waits for it without a time limit.
    let registry = Registry::new(Arc::new(settings.store()?));
    let replica = ReplicaId::new(&rustix::system::uname().nodename().to_string_lossy());
    let temporal_ui = settings.get(names::TEMPORAL_UI).map(|url| url.trim_end_matches('/').to_owned());
    let served = api::Names::new(&arguments.hosts, &arguments.origins).map_err(anyhow::Error::msg)?;
    let service = api::Service {
        names: served.with_temporal_ui(temporal_ui.as_deref()),
        temporal_ui,
        metrics: api::Metrics::with_process(Box::new(Process)),
        cache: Some(cache),
        limits: arguments.limits.into(),
        cascade: arguments.cascade.into(),
        perspective,
        needs_keys: is_public || arguments.require_keys,
        certificate,
        linger: Duration::from_secs(arguments.linger_seconds.into()),
        traces: traces.is_on(),
        ..api::Service::new(registry, settings.orchestrator("api"), replica)
    };
    let bound = |address| tracing::info!(%address, "listening");
    api::serve(service, arguments.address, bound, async move { stop.received().await })
        .await
        .with_context(|| format!("serve the API on {}", arguments.address))
}

/// Raises the limit of open files: each connection is a file, and the default limit is low.
fn allow_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = match limit.maximum {
        Some(most) => Some(most.min(MANY_FILES)),
        None => Some(MANY_FILES),
    };
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}
