//! `threatwatch up`: every part on this machine, each as a separate process, with durable state.

/// Prints a line. If standard output cannot be written (a full disk), the line is lost and `up` continues.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod parts;
mod ports;
pub(crate) mod supervisor;
mod waiting;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use registry::{Error, Registry, S3Store};
use workflows::{
    orchestrator,
    steps::{AutoPromote, TrainReport, TrainRequest},
};

pub use self::ports::{Ports, free_listener};
use self::{
    parts::Part,
    supervisor::{Supervisor, wait_until},
    waiting::waiting,
};
use crate::{
    corpus_file,
    following::follow,
    http, programs,
    settings::{
        STATE_DIR, Settings, env_file, from_environment, names, read_pairs, temporal_environment, tools, write_pairs,
        write_private,
    },
};

/// The settings of `up`.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder for all state.
    pub state_dir: PathBuf,
    /// A file to import and train on.
    pub data: Option<PathBuf>,
    /// The ports of the parts.
    pub ports: Ports,
}

/// A part that is not ready after this time has failed.
const START_UP: Duration = Duration::from_mins(1);
/// A store on a busy disk may accept no write for this long.
const STORE_START_UP: Duration = Duration::from_mins(3);
/// A store that accepts no write for this long is restarted, the next time after twice this time.
const SILENCE: Duration = Duration::from_secs(20);

/// Starts every part, trains and promotes a first model, and keeps the parts running until it is stopped.
///
/// Runs on the calling thread. The parts end when that thread ends.
pub async fn up(options: Options) -> anyhow::Result<()> {
    // Before anything is downloaded or started: a wrong file name should fail within a second.
    if let Some(file) = &options.data {
        corpus_file::check(file)?;
    }
    let stop = supervisor::stop_signal()?;
    let state = State::open(&options.state_dir)?;
    let external = External::from_environment();
    options.ports.require_free(&external)?;
    let mut supervisor = Supervisor::new(state.logs.clone());
    let outcome = tokio::select! {
        started = start(&options, &state, &external, &mut supervisor) => started,
        () = stop.received() => Err(anyhow::anyhow!("stopped before everything was up")),
    };
    match outcome {
        Ok(()) => {
            stop.received().await;
            say!("\nstopping");
            supervisor.stop().await;
            say!("stopped; the next `up` continues from here");
            Ok(())
        }
        Err(error) => {
            supervisor.stop().await;
            Err(error)
        }
    }
}

/// Parts that `up` does not run.
#[derive(Clone, Debug, Default)]
pub(crate) struct External {
    pub(crate) temporal: Option<String>,
    pub(crate) s3: Option<String>,
}

impl External {
    fn from_environment() -> Self {
        Self { temporal: from_environment(names::TEMPORAL_ADDRESS), s3: from_environment(names::S3_ENDPOINT) }
    }
}

/// The state directory, locked by this process.
struct State {
    dir: PathBuf,
    logs: PathBuf,
    _lock: fs::File,
}

impl State {
    fn open(dir: &Path) -> anyhow::Result<Self> {
        let create = |path: &Path| fs::create_dir_all(path).with_context(|| format!("create {}", path.display()));
        create(dir)?;
        let dir = dir.canonicalize()?;
        // The folder contains corpora: texts of other people.
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .with_context(|| format!("make {} private", dir.display()))?;
        let logs = dir.join("logs");
        create(&logs)?;
        let path = dir.join("lock");
        let lock = fs::File::create(&path).with_context(|| format!("open {}", path.display()))?;
        if lock.try_lock().is_err() {
            bail!(
                "another `threatwatch up` is running on {}: stop it, or give this one its own --state-dir and ports",
                dir.display()
            );
        }
        Ok(Self { dir, logs, _lock: lock })
    }
}

async fn start(
    options: &Options,
    state: &State,
    external: &External,
    supervisor: &mut Supervisor,
) -> anyhow::Result<()> {
    let environment = environment(options, state, external)?;
    start_servers(options, state, external, &environment, supervisor).await?;
    write_pairs(&env_file(&state.dir), &environment)?;
    let settings = Settings::load(&state.dir)?;

    let store = settings.s3()?.endpoint;
    let until = format!("takes writes on {store}, each once");
    let registry = waiting("object store", &until, Box::pin(open_store(settings.store()?, supervisor))).await?;
    start_ourselves(options, state, &environment, supervisor).await?;
    if let Some(file) = &options.data {
        import(&registry, file).await?;
    }
    if registry.production().await?.is_none() {
        first_model(&settings, "threatwatch up", &|words| say!("{words}")).await?;
    }
    // Without a model the parts still run: the web page says what to do.
    if registry.production().await?.is_some() {
        let ready = format!("{}/health/ready", options.ports.api_url());
        let serves = async { wait_until("a model that the API serves", START_UP, || http::is_ok(&ready)).await };
        waiting("API", "serves the model in production", Box::pin(serves))
            .await
            .with_context(|| supervisor.last_words("api"))?;
    }
    print_links(options, external, &settings);
    Ok(())
}

/// Opens the registry, once the store accepts writes and can be trusted with promotions.
///
/// A store that has just started may not accept writes yet. If `up` runs it and it accepts none for too long, it is
/// restarted.
async fn open_store(store: S3Store, supervisor: &Supervisor) -> anyhow::Result<Registry> {
    let registry = Registry::new(Arc::new(store.clone()));
    let started = Instant::now();
    let mut restart_at = SILENCE;
    loop {
        let opened: Result<_, Error> = async {
            store.ensure_bucket().await?;
            registry.probe().await
        }
        .await;
        let error = match opened {
            Ok(None) => return Ok(registry),
            Ok(Some(reason)) => bail!("the object store cannot be trusted with promotions: {reason}"),
            Err(error) => error,
        };
        let is_slow = error.is_transient() && supervisor.runs("s3");
        if started.elapsed() > if is_slow { STORE_START_UP } else { START_UP } {
            return Err(error).with_context(|| supervisor.last_words("s3"));
        }
        if is_slow && started.elapsed() > restart_at {
            supervisor.restart("s3");
            say!("  ! the object store accepts no write: {error}");
            restart_at *= 2;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The settings of every part.
fn environment(options: &Options, state: &State, external: &External) -> anyhow::Result<BTreeMap<String, String>> {
    let ports = &options.ports;
    let mut environment = match &external.s3 {
        Some(endpoint) => external_credentials(endpoint)?,
        None => own_credentials(&state.dir.join("s3-credentials"))?,
    };
    let settings = [
        (names::TEMPORAL_ADDRESS, external.temporal.clone().unwrap_or_else(|| ports.temporal_address())),
        (names::S3_ENDPOINT, external.s3.clone().unwrap_or_else(|| ports.s3_url())),
        (names::URL, ports.api_url()),
        (names::WORKER_URL, ports.worker_url()),
    ];
    environment.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    for name in [names::S3_BUCKET, names::AWS_REGION, names::TEMPORAL_UI] {
        if let Some(value) = from_environment(name) {
            environment.insert(name.to_owned(), value);
        }
    }
    match external.temporal {
        None => {
            environment.insert(names::TEMPORAL_UI.to_owned(), ports.temporal_ui_url());
            environment.insert(names::TEMPORAL_IS_OWN.to_owned(), "1".to_owned());
        }
        // For commands in other shells. The file cannot hold values with several lines.
        Some(_) => environment.extend(temporal_environment().filter(|(_, value)| !value.contains('\n')).map(
            |(name, value)| {
                let is_path = name.ends_with("_PATH") || name == "TEMPORAL_CONFIG_FILE";
                let value = if is_path { absolute(&value) } else { value };
                (name, value)
            },
        )),
    }
    // A start without the variable must not serve the bucket from before a restore: the last bucket stays in use.
    let mut kept = read_pairs(&env_file(&state.dir))?;
    let is_same_store = kept.get(names::S3_ENDPOINT) == environment.get(names::S3_ENDPOINT);
    if let Some(bucket) = kept.remove(names::S3_BUCKET).filter(|_| is_same_store && external.s3.is_none()) {
        environment.entry(names::S3_BUCKET.to_owned()).or_insert(bucket);
    }
    // Without the keys, earlier runs could not be read: the last key file stays in use.
    let kept = kept.remove(names::PAYLOAD_KEY_FILE);
    if let Some(file) = from_environment(names::PAYLOAD_KEY_FILE).map(|file| absolute(&file)).or(kept) {
        environment.insert(names::PAYLOAD_KEY_FILE.to_owned(), file);
    }
    Ok(environment)
}

/// Makes a path absolute, so that commands in every folder can use it.
fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

/// The credentials for an external store: from the environment, like its endpoint.
fn external_credentials(endpoint: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let find = |name: &str| {
        let value =
            from_environment(name).with_context(|| format!("S3_ENDPOINT is {endpoint}, and {name} is not set"))?;
        Ok((name.to_owned(), value))
    };
    [names::AWS_ACCESS_KEY_ID, names::AWS_SECRET_ACCESS_KEY].into_iter().map(find).collect()
}

/// The credentials of the store that `up` runs: made once and kept in a separate file.
///
/// Credentials in the environment
/// are for another store and are not used.
fn own_credentials(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut kept = read_pairs(path)?;
    for (name, length) in [(names::AWS_ACCESS_KEY_ID, 10), (names::AWS_SECRET_ACCESS_KEY, 32)] {
        kept.entry(name.to_owned()).or_insert_with(|| {
            let mut bytes = vec![0; length];
            rand::fill(&mut bytes[..]);
            hex::encode(bytes)
        });
    }
    write_pairs(path, &kept)?;
    Ok(kept)
}

/// Starts Temporal and the object store unless they are external, and waits until Temporal answers.
async fn start_servers(
    options: &Options,
    state: &State,
    external: &External,
    environment: &BTreeMap<String, String>,
    supervisor: &mut Supervisor,
) -> anyhow::Result<()> {
    let tools = tools(&state.dir);
    let say = |text: &str| say!("  {text}");
    if external.temporal.is_none() {
        let program = programs::temporal(&tools, &say)?;
        supervisor.start(Part::temporal(program, &state.dir, &options.ports, environment))?;
    }
    if external.s3.is_none() {
        let server = programs::s3_server(&tools, &say)?;
        supervisor.start(Part::s3(server, &state.dir, &options.ports, environment)?)?;
    }
    write_pairs(&env_file(&state.dir), environment)?;
    let settings = Settings::load(&state.dir)?;
    let orchestrator = settings.orchestrator("up");
    if external.temporal.is_some() {
        // Waiting does not correct a wrong setting.
        if let Err(error @ orchestrator::Error::Settings(_)) = orchestrator.client().await {
            return Err(error.into());
        }
    }
    let answers = async { wait_until("Temporal", START_UP, || async { orchestrator.client().await.is_ok() }).await };
    let until = format!("answers on {}", orchestrator.place().unwrap_or_default());
    waiting("Temporal", &until, Box::pin(answers)).await.with_context(|| supervisor.last_words("temporal"))
}

/// Starts the worker and the API.
async fn start_ourselves(
    options: &Options,
    state: &State,
    environment: &BTreeMap<String, String>,
    supervisor: &mut Supervisor,
) -> anyhow::Result<()> {
    let ports = &options.ports;
    supervisor.start(Part::worker(&state.dir, ports, environment)?)?;
    supervisor.start(Part::api(&state.dir, ports, environment)?)?;
    let worker = format!("{}/health/ready", ports.worker_url());
    let works = async { wait_until("the worker", START_UP, || http::is_ok(&worker)).await };
    let until = "has found Temporal and the object store, and takes work";
    waiting("worker", until, Box::pin(works)).await.with_context(|| supervisor.last_words("worker"))?;
    let api = format!("{}/health/live", ports.api_url());
    let listens = async { wait_until("the API", START_UP, || http::is_ok(&api)).await };
    let until = format!("listens on {}", ports.api_url());
    waiting("API", &until, Box::pin(listens)).await.with_context(|| supervisor.last_words("api"))
}

async fn import(registry: &Registry, file: &Path) -> anyhow::Result<()> {
    let manifest = corpus_file::import(registry, file).await?;
    say!(
        "  dataset {}: {} sentences, {} threats, {} rows quarantined",
        manifest.digest.short(),
        manifest.sentences,
        manifest.threats,
        manifest.quarantined
    );
    Ok(())
}

/// Trains a first model on the newest import, otherwise on the sample, and promotes it if the gate passes.
pub(crate) async fn first_model(
    settings: &Settings,
    actor: &str,
    say: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<TrainReport> {
    say("  training and judging a first model: a few seconds on the sample corpus, longer on a large one of yours");
    let request = TrainRequest {
        auto_promote: AutoPromote::IfGatePasses,
        actor: Some(actor.to_owned()),
        reason: Some("first model".to_owned()),
        ..TrainRequest::default()
    };
    let orchestrator = settings.orchestrator("up");
    let started = orchestrator.train(request, "train-first-model").await?;
    let report = follow(&orchestrator, &started, &ProgressBar::new(0)).await?;
    say(&match report.generation {
        Some(generation) => format!(
            "  {} is in production, generation {generation}: PR-AUC {:.3} by cross-validation",
            report.version, report.candidates[0].cross_validation.sentence.pr_auc
        ),
        None => format!("  ! the gate refuses {}: {}", report.version, report.gate.failures()),
    });
    Ok(report)
}

fn print_links(options: &Options, external: &External, settings: &Settings) {
    let ports = &options.ports;
    let temporal_ui = settings.get(names::TEMPORAL_UI);
    let temporal = temporal_ui.unwrap_or_else(|| format!("of {}", external.temporal.clone().unwrap_or_default()));
    let rows = [
        ("Web page", ports.api_url() + "/"),
        ("Swagger UI", ports.api_url() + "/docs"),
        ("Temporal Web UI", temporal),
        ("Metrics of the API", ports.api_url() + "/metrics"),
        ("Metrics of the worker", ports.worker_url() + "/metrics"),
        ("Object store", external.s3.clone().unwrap_or_else(|| ports.s3_url())),
    ];
    say!("\nthreatwatch is up. Ctrl-C stops it; the next `up` continues with the same state.\n");
    say!("  For this machine only: no TLS, and no API keys until you make one (`threatwatch keys new`).\n");
    for (what, link) in rows {
        say!("  {what:<22} {link}");
    }
    say!("  {:<22} {}", "Logs", options.state_dir.join("logs").display());
    let cli = programs::installed_temporal(&tools(&options.state_dir));
    let cli = cli.map_or_else(|| "temporal".to_owned(), |installed| installed.display().to_string());
    let flag = address_flag(settings);
    let (api, ours) = (ports.api_url(), program(&options.state_dir));
    say!("\nThree things to try:\n");
    say!("  1. Judge a comment: open {api}/, or");
    say!("     curl {api}/predict -H 'Content-Type: application/json' -d '{{\"text\":\"I will find you.\"}}'");
    say!("  2. Train a model, and watch it in the Temporal Web UI:");
    say!("     {cli} workflow start --type TrainWorkflow --task-queue threatwatch{flag}");
    say!("  3. See what there is, put a version into production, and go back:");
    say!("     {ours} models list");
    say!("     {ours} promote VERSION --reason \"to see how it goes\"");
    say!("     {ours} rollback\n");
    say!("  For the best model (over an hour on two cores):  {ours} train --trainer stacked_encoder --promote\n");
}

/// The command to print in examples: this program as it was called.
///
/// It has `--state-dir` if the state directory is not the default.
fn program(state_dir: &Path) -> String {
    let called = std::env::args().next().unwrap_or_else(|| "threatwatch".to_owned());
    if state_dir == Path::new(STATE_DIR) { called } else { format!("{called} --state-dir {}", state_dir.display()) }
}

/// The `--address` flag for the Temporal CLI; empty for its default address.
fn address_flag(settings: &Settings) -> String {
    match settings.get(names::TEMPORAL_ADDRESS) {
        Some(address) if address != Ports::default().temporal_address() => format!(" --address {address}"),
        _ => String::new(),
    }
}

/// Stores values that were chosen once, so that a restart uses them again.
pub(crate) fn remember<T: serde::Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    write_private(path, &serde_json::to_string(value)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_bucket_of_the_last_start_stays_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let options = Options { state_dir: dir.path().to_owned(), data: None, ports: Ports::default() };
        let start = || {
            let environment = environment(&options, &state, &External::default()).unwrap();
            write_pairs(&env_file(&state.dir), &environment).unwrap();
            environment.get(names::S3_BUCKET).cloned()
        };
        assert_eq!(start(), None);
        let mut pairs = read_pairs(&env_file(&state.dir)).unwrap();
        pairs.insert(names::S3_BUCKET.to_owned(), "restored".to_owned());
        write_pairs(&env_file(&state.dir), &pairs).unwrap();
        assert_eq!(start().as_deref(), Some("restored"));
        assert_eq!(start().as_deref(), Some("restored"), "and at every later start");
        // The bucket of another store is not ours.
        pairs.insert(names::S3_ENDPOINT.to_owned(), "http://elsewhere:9000".to_owned());
        write_pairs(&env_file(&state.dir), &pairs).unwrap();
        assert_eq!(start(), None);
    }

    #[test]
    fn the_keys_of_our_own_store_are_made_once_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s3-credentials");
        let made = own_credentials(&path).unwrap();
        assert_eq!(made.len(), 2);
        assert!(made.values().all(|value| value.len() >= 20));
        assert_eq!(own_credentials(&path).unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
