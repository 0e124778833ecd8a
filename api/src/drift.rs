//! Whether the comments of the last day look like those that the model in production was judged on.
//!
//! Each replica counts what it judges, by hour and without texts. When an hour is over it stores what it saw, so a start
//! loses nothing and every replica knows what all saw in the hours before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use model::{
    Verdict, Version,
    evaluation::drift::{FEWEST, Measure, Reference, Shift},
};
use registry::Registry;

use crate::{
    circuit::Circuit,
    metrics::{MeasureLabels, Metrics},
    serving::{Live, Serving},
};

/// Hours that are looked at together: what a day's rhythm changes is no drift.
pub(crate) const HOURS: u64 = 24;
/// How often the figures are made anew.
const LOOK: Duration = Duration::from_secs(5);
/// What others stored is read again after this time.
const READ_AGAIN: Duration = Duration::from_mins(1);
/// A replica that stops waits this long for the store, no longer.
const LEAVE: Duration = Duration::from_secs(1);
/// Comments that say enough.
pub(crate) const ENOUGH: u64 = 10 * FEWEST;

/// What this replica saw of a version's comments in an hour since 1970.
struct Hour {
    version: Version,
    hour: u64,
    seen: Reference,
    /// Tells it from what other replicas store.
    nonce: u32,
}

/// What is counted, and what was.
#[derive(Default)]
struct Seen {
    /// What is added to: an entry for each version that judges, since some requests end with the model they began with.
    open: Vec<Hour>,
    /// What is over, and not stored yet.
    over: Vec<Hour>,
    /// What all replicas stored of a version.
    stored: Option<Stored>,
}

/// What all replicas stored of a version, as far as it was read.
struct Stored {
    version: Version,
    hours: BTreeMap<u64, Reference>,
    /// When it was read.
    at: Instant,
}

/// The comments of the last day against those that a version was judged on.
pub(crate) struct Drift {
    registry: Registry,
    metrics: Arc<Metrics>,
    seen: Mutex<Seen>,
}

/// What is found of a version.
pub(crate) struct Found {
    pub(crate) version: Version,
    pub(crate) reference: Reference,
    /// The last day.
    pub(crate) seen: Reference,
    /// By hour since 1970.
    pub(crate) hours: BTreeMap<u64, Reference>,
}

impl Found {
    /// How far a measure is off; none until enough was seen.
    pub(crate) fn shift(&self, measure: Measure) -> Option<Shift> {
        let is_enough = self.seen.comments() >= ENOUGH;
        is_enough.then(|| self.reference.histogram(measure).shift(self.seen.histogram(measure))).flatten()
    }
}

impl Drift {
    /// Nothing is seen yet.
    pub(crate) fn new(registry: Registry, metrics: Arc<Metrics>) -> Self {
        Self { registry, metrics, seen: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no holder panics")
    }

    /// Counts a comment that production judged.
    pub(crate) fn count(&self, live: &Live, text: &str, verdict: &Verdict) {
        let Some(reference) = &live.manifest.reference else { return };
        let measures = [verdict.probability, verdict.unknown_share, text.chars().count() as f64];
        let hour = hour();
        let mut seen = self.lock();
        let is_open = |open: &Hour| open.hour == hour && open.version == live.manifest.version;
        if let Some(open) = seen.open.iter_mut().find(|open| is_open(open)) {
            open.seen.add(measures);
            return;
        }
        let mut first = reference.emptied();
        first.add(measures);
        let version = live.manifest.version.clone();
        seen.open.push(Hour { version, hour, seen: first, nonce: rand::random() });
    }

    /// What is known of the version that serves; none where it has no reference.
    pub(crate) fn found(&self, live: &Live) -> Option<Found> {
        let (version, reference) = (live.manifest.version.clone(), live.manifest.reference.as_deref()?.clone());
        let from = hour().saturating_sub(HOURS - 1);
        let seen = self.lock();
        let stored = seen.stored.as_ref().filter(|stored| stored.version == version);
        let mut hours: BTreeMap<u64, Reference> = stored.map(|stored| stored.hours.clone()).unwrap_or_default();
        for own in seen.over.iter().chain(&seen.open).filter(|own| own.version == version) {
            hours.entry(own.hour).or_insert_with(|| reference.emptied()).add_all(&own.seen);
        }
        drop(seen);
        hours.retain(|hour, _| *hour >= from);
        let mut sum = reference.emptied();
        for hour in hours.values() {
            sum.add_all(hour);
        }
        Some(Found { version, reference, seen: sum, hours })
    }

    /// Stores what is over, reads what others stored, and tells Prometheus, for ever.
    pub(crate) async fn follow(&self, store: &Circuit, serving: &Serving) {
        loop {
            let live = serving.live();
            if let Some(live) = &live
                && let Ok(Err(error)) = store.guard(self.exchange(&live.manifest.version)).await
            {
                tracing::debug!(%error, "measures of comments cannot be stored or read");
            }
            self.tell(live.as_deref().and_then(|live| self.found(live)).as_ref());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stores what this replica saw and did not store yet, also of the hour that is not over.
    pub(crate) async fn leave(&self, store: &Circuit) {
        {
            let mut seen = self.lock();
            let open = std::mem::take(&mut seen.open);
            seen.over.extend(open);
        }
        if tokio::time::timeout(LEAVE, store.guard(self.store())).await.is_err() {
            tracing::warn!("measures of the last comments are lost, because the store does not answer");
        }
    }

    async fn exchange(&self, version: &Version) -> Result<(), registry::Error> {
        let now = hour();
        {
            let mut seen = self.lock();
            let (over, open) = std::mem::take(&mut seen.open).into_iter().partition(|open| open.hour != now);
            seen.open = open;
            let over: Vec<Hour> = over;
            seen.over.extend(over);
        }
        self.store().await?;
        // Others store when they like.
        let is_known = |stored: &Stored| stored.version == *version && stored.at.elapsed() < READ_AGAIN;
        if !self.lock().stored.as_ref().is_some_and(is_known) {
            let hours = self.registry.drift(version, now.saturating_sub(HOURS - 1)).await?;
            self.lock().stored = Some(Stored { version: version.clone(), hours, at: Instant::now() });
        }
        Ok(())
    }

    /// Stores what is over. What is stored is forgotten once it is among what is known from the store.
    async fn store(&self) -> Result<(), registry::Error> {
        loop {
            let Some((version, hour, nonce, of_hour)) =
                self.lock().over.first().map(|it| (it.version.clone(), it.hour, it.nonce, it.seen.clone()))
            else {
                return Ok(());
            };
            self.registry.put_drift(&version, hour, nonce, &of_hour).await?;
            let mut seen = self.lock();
            seen.over.retain(|it| it.nonce != nonce);
            if let Some(stored) = &mut seen.stored
                && stored.version == version
            {
                stored.hours.entry(hour).or_insert_with(|| of_hour.emptied()).add_all(&of_hour);
            }
        }
    }

    fn tell(&self, found: Option<&Found>) {
        let metrics = &self.metrics;
        metrics.drift_comments.set(found.map_or(0, |found| found.seen.comments() as i64));
        for measure in Measure::ALL {
            let labels = MeasureLabels { measure: measure.name() };
            if let Some(Shift { psi, p_value }) = found.and_then(|found| found.shift(measure)) {
                metrics.drift_psi.get_or_create(&labels).set(psi);
                metrics.drift_p_value.get_or_create(&labels).set(p_value);
            } else {
                // A figure of another model or of a day that is over would be wrong.
                metrics.drift_psi.remove(&labels);
                metrics.drift_p_value.remove(&labels);
            }
        }
    }
}

/// The hour since 1970, UTC.
fn hour() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 3600)
}
