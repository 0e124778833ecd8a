//! The model that serves, behind an atomic swap, and the loop that follows production.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use model::{Generation, Model};
use registry::{ModelManifest, Promotion, RENEW, Registry, ReplicaId};
use tokio::sync::Notify;

use crate::metrics::{Metrics, ModelLabels};

/// A promotion is live within two of these.
const POLL: Duration = Duration::from_millis(500);
/// A model that does not load is tried again at this pace.
const RETRY: Duration = Duration::from_secs(5);

/// A loaded model.
pub(crate) struct Live {
    pub(crate) generation: Generation,
    pub(crate) manifest: ModelManifest,
    pub(crate) model: Model,
}

/// What serves now, and what follows production.
pub struct Serving {
    registry: Registry,
    metrics: Arc<Metrics>,
    live: ArcSwapOption<Live>,
    changed: Notify,
    wanted: Notify,
    trouble: Mutex<Option<String>>,
    replica: ReplicaId,
    /// The generation that this replica reported last, 0 for no model, and when.
    reported: Mutex<Option<(Generation, Instant)>>,
}

impl Serving {
    /// Serves nothing yet.
    #[must_use]
    pub fn new(registry: Registry, metrics: Arc<Metrics>, replica: ReplicaId) -> Self {
        Self {
            registry,
            metrics,
            live: ArcSwapOption::empty(),
            changed: Notify::new(),
            wanted: Notify::new(),
            trouble: Mutex::new(None),
            replica,
            reported: Mutex::new(None),
        }
    }

    /// The model that serves, if any.
    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    /// Why the newest generation does not serve, if it does not.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().expect("no holder panics").clone()
    }

    /// Waits until `generation` or a later one serves; false when `patience` runs out first.
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

    /// Follows production for ever: a new generation is loaded, verified, then swapped in.
    ///
    /// Whatever goes wrong, the model that serves goes on serving.
    pub(crate) async fn follow_production(self: Arc<Self>) {
        let mut newest: Option<Promotion> = None;
        loop {
            let pause = match self.load_newest(&mut newest).await {
                Ok(()) => {
                    *self.trouble.lock().expect("no holder panics") = None;
                    POLL
                }
                Err(error) => {
                    self.report(error.to_string());
                    if error.is_transient() { POLL } else { RETRY }
                }
            };
            self.tell().await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Says which generation this replica serves, when that changes and once a minute. Whoever promotes waits for it;
    /// verdicts do not depend on it.
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

    /// Takes the report back: nobody waits for a replica that stops.
    pub(crate) async fn leave(&self) {
        let reported = self.reported.lock().expect("no holder panics").take();
        if let Some(generation) = reported
            && let Err(error) = self.registry.forget_replica(&self.replica, generation.0).await
        {
            tracing::warn!(%error, "the report of this replica stays behind");
        }
    }

    /// Looks for newer generations and loads the newest.
    async fn load_newest(&self, newest: &mut Option<Promotion>) -> Result<(), registry::Error> {
        match newest {
            None => *newest = self.registry.production().await?,
            Some(promotion) => {
                while let Some(next) = self.registry.promotion(promotion.record.generation.next()).await? {
                    *promotion = next;
                }
            }
        }
        let Some(promotion) = newest else { return Ok(()) };
        let generation = promotion.record.generation;
        if self.live().is_some_and(|live| live.generation == generation) {
            return Ok(());
        }
        let loaded = self.load(promotion).await.inspect_err(|_| {
            self.metrics.load_failures.inc();
        })?;
        self.swap(loaded);
        Ok(())
    }

    async fn load(&self, promotion: &Promotion) -> Result<Live, registry::Error> {
        let record = &promotion.record;
        let loaded = self.registry.load(&record.version).await?;
        if loaded.manifest_digest != record.manifest {
            let path = registry::Key::Model(&record.version).path();
            let reason = "it is not the manifest that was promoted".to_owned();
            return Err(registry::Error::Corrupt { path, reason });
        }
        Ok(Live { generation: record.generation, manifest: loaded.manifest, model: loaded.model })
    }

    fn swap(&self, live: Live) {
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

    /// Says once what is wrong, not at every try.
    fn report(&self, reason: String) {
        let mut trouble = self.trouble.lock().expect("no holder panics");
        if trouble.as_ref() != Some(&reason) {
            tracing::warn!(reason, "production cannot be followed; the model that serves goes on");
            *trouble = Some(reason);
        }
    }
}
