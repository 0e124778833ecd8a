//! Versions' probabilities on the held-out commenters of a dataset.
//!
//! Computed once and kept, because versions and datasets never change.

use std::sync::{Arc, Mutex};

use model::{Digest, Row, corpus::split, experiment};
use registry::Registry;
use tokio::sync::Semaphore;

use crate::{blocking::blocking, serving::Live};

/// Results that are kept, some megabytes each.
const MOST: usize = 4;
/// A larger dataset is not read here.
///
/// A version that was trained on one has a sample.
const MOST_ROWS: u64 = 500_000;

/// Most rows for an encoder, which reads some hundred a second and uses every core.
const MOST_BY_ENCODER: usize = 20_000;
/// Most requests that wait.
const WAITING: usize = 8;

/// Too many requests wait.
pub(crate) struct Busy;

/// The held-out rows of a dataset.
pub(crate) struct Rows {
    dataset: Digest,
    seed: u64,
    /// Row numbers in the dataset, from 0, as in the gate's flips.
    pub(crate) numbers: Vec<u64>,
    pub(crate) rows: Vec<Row>,
}

/// A version's probabilities on rows.
pub(crate) struct HeldOutVerdicts {
    version: String,
    pub(crate) rows: Arc<Rows>,
    /// One per row.
    pub(crate) probabilities: Vec<f64>,
}

impl HeldOutVerdicts {
    /// Each row's probability, and whether it is labelled a threat.
    pub(crate) fn judged(&self) -> Vec<(f64, bool)> {
        self.probabilities.iter().copied().zip(self.rows.rows.iter().map(Row::is_threat)).collect()
    }
}

/// The rows and probabilities that were requested last.
pub(crate) struct HeldOut {
    registry: Registry,
    rows: Mutex<Vec<Arc<Rows>>>,
    judged: Mutex<Vec<Arc<HeldOutVerdicts>>>,
    /// Slots for requests that wait.
    waiting: Arc<Semaphore>,
    /// Reading and judging takes seconds and a core, so one at a time.
    turn: Semaphore,
}

impl HeldOut {
    /// Starts without results.
    pub(crate) fn new(registry: Registry) -> Self {
        let (waiting, turn) = (Arc::new(Semaphore::new(WAITING)), Semaphore::new(1));
        Self { registry, rows: Mutex::default(), judged: Mutex::default(), waiting, turn }
    }

    /// The probabilities of `live` on the commenters that `of` held out.
    ///
    /// None if there are too many rows.
    ///
    /// The work goes on when the caller no longer waits, and its result is kept.
    pub(crate) async fn judged(
        self: &Arc<Self>,
        live: &Arc<Live>,
        of: &Arc<Live>,
    ) -> Result<Result<Option<Arc<HeldOutVerdicts>>, registry::Error>, Busy> {
        if let Some(judged) = self.known(live, of) {
            return Ok(Ok(Some(judged)));
        }
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| Busy)?;
        let (this, live, of) = (Arc::clone(self), Arc::clone(live), Arc::clone(of));
        let working = tokio::spawn(async move {
            let _waiting = waiting;
            let _turn = this.turn.acquire().await.expect("it is never closed");
            this.judge(&live, &of).await
        });
        Ok(working.await.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic())))
    }

    fn known(&self, live: &Live, of: &Live) -> Option<Arc<HeldOutVerdicts>> {
        let (dataset, seed) = (of.manifest.rows(), of.manifest.seed);
        kept(&self.judged, |judged: &HeldOutVerdicts| {
            judged.version == live.manifest.version.as_str()
                && judged.rows.seed == seed
                && judged.rows.dataset == *dataset
        })
    }

    async fn judge(&self, live: &Arc<Live>, of: &Live) -> Result<Option<Arc<HeldOutVerdicts>>, registry::Error> {
        // Another request may have done it meanwhile.
        if let Some(judged) = self.known(live, of) {
            return Ok(Some(judged));
        }
        let Some(rows) = self.rows(of.manifest.rows(), of.manifest.seed).await? else { return Ok(None) };
        if live.model.cascade().is_some() && rows.rows.len() > MOST_BY_ENCODER {
            return Ok(None);
        }
        let (judging, by) = (Arc::clone(&rows), Arc::clone(live));
        let probabilities = blocking(move || experiment::probabilities(&by.model, &judging.rows)).await;
        let version = live.manifest.version.to_string();
        Ok(Some(keep(&self.judged, HeldOutVerdicts { version, rows, probabilities })))
    }

    async fn rows(&self, dataset: &Digest, seed: u64) -> Result<Option<Arc<Rows>>, registry::Error> {
        if let Some(rows) = kept(&self.rows, |rows: &Rows| rows.dataset == *dataset && rows.seed == seed) {
            return Ok(Some(rows));
        }
        let manifest = self.registry.dataset(dataset).await?;
        if manifest.sentences > MOST_ROWS {
            return Ok(None);
        }
        let all = self.registry.rows(&manifest).await?;
        let (numbers, rows) = blocking(move || split::held_out_numbered(seed, all)).await;
        Ok(Some(keep(&self.rows, Rows { dataset: dataset.clone(), seed, numbers, rows })))
    }
}

fn kept<T>(all: &Mutex<Vec<Arc<T>>>, is_it: impl Fn(&T) -> bool) -> Option<Arc<T>> {
    let mut all = all.lock().expect("no holder panics");
    let at = all.iter().position(|one| is_it(one))?;
    // The last requested comes first.
    all[..=at].rotate_right(1);
    Some(Arc::clone(&all[0]))
}

fn keep<T>(all: &Mutex<Vec<Arc<T>>>, one: T) -> Arc<T> {
    let one = Arc::new(one);
    let mut all = all.lock().expect("no holder panics");
    all.insert(0, Arc::clone(&one));
    all.truncate(MOST);
    one
}
