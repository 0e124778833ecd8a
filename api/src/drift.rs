//! Compares the last 24 hours' comments with those that production was evaluated on.
//!
//! Each replica counts what it judges, by hour and without texts. When an hour is over, it stores its counts. A restart
//! loses no stored hour, and every replica can read the counts of all replicas.

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

/// Hours that are compared together.
///
/// A whole day, because changes over the day are not drift.
pub(crate) const HOURS: u64 = 24;
/// How often the figures are computed.
const LOOK: Duration = Duration::from_secs(5);
/// How often the counts of other replicas are read.
const READ_AGAIN: Duration = Duration::from_mins(1);
/// A replica that stops waits at most this long for the store.
const LEAVE: Duration = Duration::from_secs(1);
/// Fewest comments for a figure.
pub(crate) const ENOUGH: u64 = 10 * FEWEST;

/// The counts of this replica for one version and one hour.
struct Hour {
    version: Version,
    hour: u64,
    seen: Reference,
    /// Distinguishes it from the counts of other replicas.
    nonce: u32,
}

/// Counts of this replica and of all replicas.
#[derive(Default)]
struct Seen {
    /// The current counts, one entry for each version that judges.
    ///
    /// After a promotion, requests that began before still end with the old version.
    open: Vec<Hour>,
    /// Hours that are over and not stored yet.
    over: Vec<Hour>,
    /// The counts that all replicas stored for a version.
    stored: Option<Stored>,
}

/// The counts that all replicas stored for a version, as last read.
struct Stored {
    version: Version,
    hours: BTreeMap<u64, Reference>,
    /// When they were read.
    at: Instant,
}

/// The comments of the last day, compared with those that a version was evaluated on.
pub(crate) struct Drift {
    registry: Registry,
    metrics: Arc<Metrics>,
    seen: Mutex<Seen>,
}

/// The comparison for one version.
pub(crate) struct Found {
    pub(crate) version: Version,
    pub(crate) reference: Reference,
    /// The last day.
    pub(crate) seen: Reference,
    /// By hour since 1970.
    pub(crate) hours: BTreeMap<u64, Reference>,
}

impl Found {
    /// How far a measure has shifted. None below [`ENOUGH`] comments.
    pub(crate) fn shift(&self, measure: Measure) -> Option<Shift> {
        let is_enough = self.seen.comments() >= ENOUGH;
        is_enough.then(|| self.reference.histogram(measure).shift(self.seen.histogram(measure))).flatten()
    }
}

impl Drift {
    /// Starts without counts.
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

    /// The comparison for the version that serves. None if the version has no reference.
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

    /// Stores finished hours, reads those of other replicas, sets the metrics, for ever.
    pub(crate) async fn follow(&self, store: &Circuit, serving: &Serving) {
        loop {
            let live = serving.live();
            if let Some(live) = &live
                && let Ok(Err(error)) = store.guard(self.exchange(&live.manifest.version)).await
            {
                tracing::debug!(%error, "counts for drift cannot be stored or read");
            }
            self.tell(live.as_deref().and_then(|live| self.found(live)).as_ref());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stores the counts of this replica that are not stored yet, including the current hour.
    pub(crate) async fn leave(&self, store: &Circuit) {
        {
            let mut seen = self.lock();
            let open = std::mem::take(&mut seen.open);
            seen.over.extend(open);
        }
        if tokio::time::timeout(LEAVE, store.guard(self.store())).await.is_err() {
            tracing::warn!("counts for drift of the last comments are lost, because the object store does not answer");
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
        // Other replicas store at other times.
        let is_known = |stored: &Stored| stored.version == *version && stored.at.elapsed() < READ_AGAIN;
        if !self.lock().stored.as_ref().is_some_and(is_known) {
            let hours = self.registry.drift(version, now.saturating_sub(HOURS - 1)).await?;
            self.lock().stored = Some(Stored { version: version.clone(), hours, at: Instant::now() });
        }
        Ok(())
    }

    /// Stores hours that are over and moves them to the counts known from the store.
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
                // A figure of another model or of an earlier day would be wrong.
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
