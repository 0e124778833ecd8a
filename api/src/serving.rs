//! The model that serves, replaced by an atomic swap, and the loop that follows production.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use model::{Digest, Generation, Model};
use poem::http::StatusCode;
use registry::{Bundle, Cache, LoadedModel, ModelManifest, Production, Promotion, RENEW, Registry, ReplicaId};
use tokio::sync::Notify;

use crate::{
    circuit::{Circuit, Outage},
    kind::Kind,
    metrics::{Metrics, ModelLabels, Verdicts},
    problem::Problem,
};

/// Pause between looks at production. A promotion is live within two of them.
const POLL: Duration = Duration::from_millis(500);
/// A replica that stops waits at most this long for the store.
const LEAVE: Duration = Duration::from_secs(1);
/// Pause after a failed write to disk.
const KEEP_AGAIN: Duration = Duration::from_mins(1);
/// Time limit of the first try to read what is in production.
const FIRST_PATIENCE: Duration = Duration::from_millis(1200);
/// Pause after a model could not be loaded.
const RETRY: Duration = Duration::from_secs(5);

/// A loaded model.
pub(crate) struct Live {
    pub(crate) generation: Generation,
    pub(crate) manifest: ModelManifest,
    pub(crate) model: Model,
    /// Digest of the promotion record; none for a version that was requested by name.
    record: Option<Digest>,
    /// Counters of its verdicts, made at the first verdict.
    pub(crate) verdicts: OnceLock<Verdicts>,
}

impl Live {
    /// A version that was requested by name: generation 0.
    pub(crate) fn pinned(loaded: LoadedModel, pass_from: Option<f64>) -> Self {
        let LoadedModel { manifest, model, .. } = loaded;
        Self {
            generation: Generation(0),
            manifest,
            model: passing_from(model, pass_from),
            record: None,
            verdicts: OnceLock::new(),
        }
    }

    /// Whether it is, or was, in production.
    pub(crate) fn is_in_production(&self) -> bool {
        self.record.is_some()
    }
}

/// Sets the fast part's probability from which on the encoder judges, if one is configured.
fn passing_from(model: Model, pass_from: Option<f64>) -> Model {
    match pass_from {
        Some(pass_from) => model.passing_from(pass_from),
        None => model,
    }
}

impl From<Production> for Live {
    fn from(production: Production) -> Self {
        let Production { promotion, manifest, model } = production;
        let (generation, record) = (promotion.record.generation, Some(promotion.digest));
        Self { generation, manifest, model, record, verdicts: OnceLock::new() }
    }
}

/// The model that serves, and the state of following production.
pub(crate) struct Serving {
    registry: Registry,
    store: Circuit,
    cache: Option<Cache>,
    metrics: Arc<Metrics>,
    live: ArcSwapOption<Live>,
    changed: Notify,
    wanted: Notify,
    trouble: Mutex<Option<String>>,
    /// Whether the store has answered what is in production since the process started.
    is_known: AtomicBool,
    /// The generation that is not on disk yet.
    to_keep: Mutex<Option<ToKeep>>,
    replica: ReplicaId,
    /// The fast part's probability from which on the encoder judges. None for the model's own.
    pass_from: Option<f64>,
    /// The generation that this replica reported last (0 for no model), and when.
    reported: Mutex<Option<(Generation, Instant)>>,
}

/// A verified generation to write to disk.
#[derive(Clone)]
struct ToKeep {
    bundle: Bundle,
    generation: Generation,
    record: Digest,
    /// When the last write failed.
    failed: Option<Instant>,
}

/// The state in which a newer model would not be noticed.
pub(crate) struct Stale {
    /// Since when.
    pub(crate) since: SystemTime,
    /// Why.
    pub(crate) reason: String,
}

impl Serving {
    /// Starts without a model.
    pub(crate) fn new(
        registry: Registry,
        store: Circuit,
        cache: Option<Cache>,
        pass_from: Option<f64>,
        metrics: Arc<Metrics>,
        replica: ReplicaId,
    ) -> Self {
        Self {
            pass_from,
            registry,
            store,
            cache,
            metrics,
            live: ArcSwapOption::empty(),
            changed: Notify::new(),
            wanted: Notify::new(),
            trouble: Mutex::new(None),
            is_known: AtomicBool::new(false),
            to_keep: Mutex::new(None),
            replica,
            reported: Mutex::new(None),
        }
    }

    /// The model that serves, if any.
    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    /// Why the newest generation does not serve, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().expect("no holder panics").clone()
    }

    /// Why a newer model would not be noticed, if so.
    ///
    /// The store does not answer, or has not answered yet.
    pub(crate) fn stale(&self) -> Option<Stale> {
        if let Some(Outage { since, reason }) = self.store.outage() {
            return Some(Stale { since, reason });
        }
        let is_known = self.is_known.load(Ordering::Relaxed);
        let reason = || "it has not answered since this replica started".to_owned();
        (!is_known).then(|| Stale { since: self.store.answered(), reason: reason() })
    }

    /// The problem if there is no model to judge with.
    pub(crate) fn missing(&self) -> Problem {
        if let Some(Stale { reason, .. }) = self.stale() {
            let detail =
                format!("The object store does not answer ({reason}), and this replica has no model on its disk.");
            return Problem::store_unavailable(detail);
        }
        match self.trouble() {
            Some(trouble) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, Kind::NoModel, trouble),
            None => Problem::no_model(),
        }
    }

    /// Waits until `generation` or a later one serves. False if `patience` runs out first.
    pub(crate) async fn reaches(&self, generation: Generation, patience: Duration) -> bool {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if self.live().is_some_and(|live| live.generation >= generation) {
                    return;
                }
                self.wanted.notify_one();
                changed.await;
            }
        };
        tokio::time::timeout(patience, waiting).await.is_ok()
    }

    /// Follows production for ever: loads a new generation, verifies it, swaps it in.
    ///
    /// Starts with the model on disk, if there is one. On any failure the model that serves stays.
    pub(crate) async fn follow_production(self: Arc<Self>) {
        self.load_cached().await;
        let mut newest: Option<Promotion> = None;
        loop {
            // Gives up as soon as the store is known to be away, and tries again when it is back.
            let pause = match self.store.guard(self.load_newest(&mut newest)).await {
                Ok(Ok(())) => {
                    *self.trouble.lock().expect("no holder panics") = None;
                    POLL
                }
                Ok(Err(error)) => {
                    self.report(error.to_string());
                    if error.is_transient() { POLL } else { RETRY }
                }
                Err(_) => {
                    self.store.answering().await;
                    continue;
                }
            };
            self.keep().await;
            let _ = self.store.guard(self.tell()).await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Serves the model on disk, until the store answers what is in production.
    async fn load_cached(&self) {
        let Some(cache) = self.cache.clone() else { return };
        if let Ok(Some(production)) = tokio::task::spawn_blocking(move || cache.production()).await {
            self.swap(production.into());
        }
    }

    /// Reports which generation this replica serves: at each change and once a minute.
    ///
    /// A promotion waits for this report. Verdicts do not depend on it.
    async fn tell(&self) {
        let serves = self.live().map_or(Generation(0), |live| live.generation);
        let told = *self.reported.lock().expect("no holder panics");
        let telling = match told {
            Some((generation, at)) if generation == serves && at.elapsed() < RENEW => return,
            Some((generation, _)) if generation == serves => self.registry.renew_report(&self.replica, serves).await,
            told => self.registry.report_serving(&self.replica, serves, told.map(|(before, _)| before)).await,
        };
        match telling {
            Ok(()) => *self.reported.lock().expect("no holder panics") = Some((serves, Instant::now())),
            Err(error) => tracing::debug!(%error, "this replica cannot report what it serves"),
        }
    }

    /// Writes the model to disk if needed, and deletes this replica's report.
    ///
    /// Without the report no promotion waits for this replica.
    pub(crate) async fn leave(&self) {
        let reported = self.reported.lock().expect("no holder panics").take();
        let leaving = async {
            let Some((generation, _)) = reported else { return };
            let forgetting = self.store.guard(self.registry.forget_replica(&self.replica, generation));
            if !matches!(forgetting.await, Ok(Ok(()))) {
                tracing::warn!("this replica's report could not be deleted, because the object store does not answer");
            }
        };
        let _ = tokio::join!(tokio::time::timeout(LEAVE, self.keep()), tokio::time::timeout(LEAVE, leaving));
    }

    /// Looks for newer generations and loads the newest.
    async fn load_newest(&self, newest: &mut Option<Promotion>) -> Result<(), registry::Error> {
        self.find_newest(newest).await?;
        // From here on it is known what is in production, even if the model does not load.
        self.is_known.store(true, Ordering::Relaxed);
        let Some(promotion) = newest else {
            self.serve_nothing();
            return Ok(());
        };
        if self.live().is_some_and(|live| live.record.as_ref() == Some(&promotion.digest)) {
            return Ok(());
        }
        let loaded = self.load(promotion).await.inspect_err(|_| {
            self.metrics.load_failures.inc();
        })?;
        self.swap(loaded);
        Ok(())
    }

    /// Finds the newest promotion.
    ///
    /// Asks again if an answer is late, with twice the time at each try.
    async fn find_newest(&self, newest: &mut Option<Promotion>) -> Result<(), registry::Error> {
        let mut patience = FIRST_PATIENCE;
        loop {
            let looking = async {
                match newest {
                    None => *newest = self.registry.production().await?,
                    Some(promotion) => {
                        while let Some(next) = self.registry.promotion(promotion.record.generation.next()).await? {
                            *promotion = next;
                        }
                    }
                }
                Ok(())
            };
            match tokio::time::timeout(patience, looking).await {
                Ok(looked) => return looked,
                Err(_) => patience *= 2,
            }
        }
    }

    /// Drops the model from disk: the store has no history.
    fn serve_nothing(&self) {
        if self.live.swap(None).is_some() {
            tracing::warn!("nothing is in production: the model from disk is no longer served");
            self.metrics.model.clear();
            self.metrics.generation.set(0);
        }
    }

    async fn load(&self, promotion: &Promotion) -> Result<Live, registry::Error> {
        let bundle = self.registry.bundle(promotion).await?;
        let production = bundle.clone().open(&promotion.digest).await?;
        if self.cache.is_some() {
            let (generation, record) = (promotion.record.generation, promotion.digest.clone());
            *self.to_keep.lock().expect("no holder panics") = Some(ToKeep { bundle, generation, record, failed: None });
        }
        Ok(production.into())
    }

    /// Writes the generation that serves to disk, for a start without the store.
    ///
    /// Retries a full disk once a minute.
    async fn keep(&self) {
        let to_keep = self.to_keep.lock().expect("no holder panics").clone();
        let (Some(cache), Some(to_keep)) = (self.cache.clone(), to_keep) else { return };
        if to_keep.failed.is_some_and(|at| at.elapsed() < KEEP_AGAIN) {
            return;
        }
        let trying = to_keep.clone();
        let keep = move || cache.keep(&trying.bundle, trying.generation, &trying.record);
        let left = match tokio::task::spawn_blocking(keep).await {
            Ok(Err(error)) => {
                tracing::warn!(%error, "the model cannot be written to disk for a start without the object store");
                Some(ToKeep { failed: Some(Instant::now()), ..to_keep })
            }
            _ => None,
        };
        *self.to_keep.lock().expect("no holder panics") = left;
    }

    fn swap(&self, mut live: Live) {
        live.model = passing_from(live.model, self.pass_from);
        let labels = ModelLabels { version: live.manifest.version.to_string(), trainer: live.manifest.trainer.clone() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        tracing::info!(model.version = %live.manifest.version, generation = live.generation.0, "serving");
        self.metrics.model.clear();
        self.metrics.model.get_or_create(&labels).set(1);
        self.metrics.generation.set(live.generation.0 as i64);
        self.metrics.loaded.set(now);
        self.metrics.trained.set(live.manifest.started as f64);
        self.live.store(Some(Arc::new(live)));
        self.changed.notify_waiters();
    }

    /// Logs the reason once, not at every try.
    fn report(&self, reason: String) {
        let mut trouble = self.trouble.lock().expect("no holder panics");
        if trouble.as_ref() != Some(&reason) {
            tracing::warn!(reason, "the model in production cannot be read; the model that serves stays");
            *trouble = Some(reason);
        }
    }
}
