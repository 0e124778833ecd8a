//! What versions say of the held-out commenters of a dataset: judged once and kept, since neither ever changes.

use std::sync::{Arc, Mutex};

use model::{Digest, Row, corpus::split, experiment};
use registry::Registry;
use tokio::sync::Semaphore;

use crate::serving::Live;

/// What is kept: some megabytes each.
const MOST: usize = 4;
/// A larger dataset is not read for this; of such a one a version has a sample.
const MOST_ROWS: u64 = 500_000;

/// The held-out rows of a dataset.
pub(crate) struct Rows {
    dataset: Digest,
    seed: u64,
    /// Numbers from 1, as `dataset audit` has them.
    pub(crate) numbers: Vec<u64>,
    pub(crate) rows: Vec<Row>,
}

/// What a version says of rows.
pub(crate) struct Said {
    version: String,
    pub(crate) rows: Arc<Rows>,
    /// By row.
    pub(crate) probabilities: Vec<f64>,
}

impl Said {
    /// Each row's probability, and whether it is labelled a threat.
    pub(crate) fn judged(&self) -> Vec<(f64, bool)> {
        self.probabilities.iter().copied().zip(self.rows.rows.iter().map(Row::is_threat)).collect()
    }
}

/// The rows and verdicts that were asked for last.
pub(crate) struct HeldOut {
    registry: Registry,
    rows: Mutex<Vec<Arc<Rows>>>,
    said: Mutex<Vec<Arc<Said>>>,
    /// Reading and judging takes seconds and a core: one at a time.
    turn: Semaphore,
}

impl HeldOut {
    /// Nothing is judged yet.
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry, rows: Mutex::default(), said: Mutex::default(), turn: Semaphore::new(1) }
    }

    /// What `live` says of the commenters that `of` held out; none where the dataset is too large.
    pub(crate) async fn judged(&self, live: &Arc<Live>, of: &Live) -> Result<Option<Arc<Said>>, registry::Error> {
        let _turn = self.turn.acquire().await.expect("it is never closed");
        let Some(rows) = self.rows(of.manifest.rows(), of.manifest.seed).await? else { return Ok(None) };
        let version = live.manifest.version.to_string();
        let is_it = |said: &Said| said.version == version && Arc::ptr_eq(&said.rows, &rows);
        if let Some(said) = kept(&self.said, is_it) {
            return Ok(Some(said));
        }
        let (live, judging) = (Arc::clone(live), Arc::clone(&rows));
        let probabilities =
            tokio::task::spawn_blocking(move || experiment::probabilities(&live.model, &judging.rows)).await;
        let probabilities = probabilities.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()));
        Ok(Some(keep(&self.said, Said { version, rows, probabilities })))
    }

    async fn rows(&self, dataset: &Digest, seed: u64) -> Result<Option<Arc<Rows>>, registry::Error> {
        if let Some(rows) = kept(&self.rows, |rows: &Rows| rows.dataset == *dataset && rows.seed == seed) {
            return Ok(Some(rows));
        }
        let manifest = self.registry.dataset(dataset).await?;
        if manifest.sentences > MOST_ROWS {
            return Ok(None);
        }
        let (numbers, rows) = split::held_out_numbered(seed, self.registry.rows(&manifest).await?);
        let numbers = numbers.into_iter().map(|number| number + 1).collect();
        Ok(Some(keep(&self.rows, Rows { dataset: dataset.clone(), seed, numbers, rows })))
    }
}

fn kept<T>(all: &Mutex<Vec<Arc<T>>>, is_it: impl Fn(&T) -> bool) -> Option<Arc<T>> {
    let mut all = all.lock().expect("no holder panics");
    let at = all.iter().position(|one| is_it(one))?;
    // The last one asked for comes first.
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
