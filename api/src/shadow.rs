//! A shadow version judges a share of production's comments. Its verdicts are compared, never shown.
//!
//! Requests do not wait for it: a copy of the comment waits in a short queue in memory until the shadow version has
//! judged it. If the queue is full, the copy is dropped.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use model::Verdict;
use registry::{Registry, ShadowOrder};
use tokio::sync::mpsc;

use crate::{
    cascade::{EncoderThreads, Purpose},
    circuit::Circuit,
    judging::Heard,
    metrics::{ComparedLabels, Metrics},
    serving::Live,
};

/// How often the store is asked for a new order.
const LOOK: Duration = Duration::from_secs(2);
/// Most comments that wait.
const QUEUE: usize = 256;

/// How the shadow version's verdict compares with production's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// Both give the same label.
    Same,
    /// A threat by the shadow version only.
    OnlyShadow,
    /// A threat by production only.
    OnlyProduction,
}

impl Compared {
    pub(crate) const ALL: [Self; 3] = [Self::Same, Self::OnlyShadow, Self::OnlyProduction];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::OnlyShadow => "only_shadow",
            Self::OnlyProduction => "only_production",
        }
    }

    fn of(production: &Verdict, shadow: &Verdict) -> Self {
        match (production.is_threat, shadow.is_threat) {
            (false, true) => Self::OnlyShadow,
            (true, false) => Self::OnlyProduction,
            _ => Self::Same,
        }
    }
}

/// The comparison since this order, by this replica.
#[derive(Default)]
pub(crate) struct Tally {
    counts: [AtomicU64; 3],
    pub(crate) dropped: AtomicU64,
    /// Sum of the differences of probabilities.
    difference: Mutex<f64>,
}

impl Tally {
    pub(crate) fn count(&self, compared: Compared) -> u64 {
        self.counts[compared as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn compared(&self) -> u64 {
        Compared::ALL.into_iter().map(|compared| self.count(compared)).sum()
    }

    /// Mean of the shadow version's probability minus production's.
    pub(crate) fn mean_difference(&self) -> f64 {
        *self.difference.lock().expect("no holder panics") / self.compared().max(1) as f64
    }
}

/// The order that this replica follows.
pub(crate) struct Following {
    pub(crate) order: ShadowOrder,
    /// The version, or why it does not judge.
    pub(crate) live: Result<Arc<Live>, String>,
    pub(crate) tally: Tally,
}

/// A comment that production judged.
struct Sample {
    text: String,
    verdict: Verdict,
    following: Arc<Following>,
}

/// The shadow version and its queue.
pub(crate) struct Shadow {
    registry: Registry,
    pass_from: Option<f64>,
    encoder: Arc<EncoderThreads>,
    metrics: Arc<Metrics>,
    following: ArcSwapOption<Following>,
    sender: mpsc::Sender<Sample>,
    receiver: tokio::sync::Mutex<mpsc::Receiver<Sample>>,
}

impl Shadow {
    /// Starts without an order.
    pub(crate) fn new(
        registry: Registry,
        pass_from: Option<f64>,
        encoder: Arc<EncoderThreads>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (following, receiver) = (ArcSwapOption::empty(), tokio::sync::Mutex::new(receiver));
        Self { registry, pass_from, encoder, metrics, following, sender, receiver }
    }

    /// The order that is followed, if any.
    pub(crate) fn following(&self) -> Option<Arc<Following>> {
        self.following.load_full()
    }

    /// Offers a comment and production's verdict.
    ///
    /// A share of the comments is queued for the shadow version.
    pub(crate) fn offer(&self, text: &str, verdict: &Verdict) {
        let Some(following) = &*self.following.load() else { return };
        if following.live.is_err() || rand::random::<f64>() >= following.order.share {
            return;
        }
        let Ok(place) = self.sender.try_reserve() else {
            self.drop_one(&following.tally);
            return;
        };
        place.send(Sample { text: text.to_owned(), verdict: verdict.clone(), following: Arc::clone(following) });
    }

    /// Judges the queued comments for ever, one at a time.
    pub(crate) async fn judge(self: Arc<Self>) {
        let mut receiver = self.receiver.lock().await;
        while let Some(Sample { text, verdict, following }) = receiver.recv().await {
            let Ok(live) = &following.live else { continue };
            let hearing = AssertUnwindSafe(self.encoder.hear(live, &text, Purpose::Shadow)).catch_unwind();
            let Ok(Heard { verdict: shadow, fallback: None, .. }) = hearing.await else {
                self.drop_one(&following.tally);
                continue;
            };
            let compared = Compared::of(&verdict, &shadow);
            let difference = shadow.probability - verdict.probability;
            self.metrics.shadow_comments.get_or_create(&ComparedLabels { outcome: compared.name() }).inc();
            self.metrics.shadow_difference.observe(difference);
            following.tally.counts[compared as usize].fetch_add(1, Ordering::Relaxed);
            *following.tally.difference.lock().expect("no holder panics") += difference;
            // Requests come first.
            tokio::task::yield_now().await;
        }
    }

    fn drop_one(&self, tally: &Tally) {
        self.metrics.shadow_dropped.inc();
        tally.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Follows the orders for ever.
    pub(crate) async fn follow(&self, store: &Circuit) {
        loop {
            match store.guard(self.look()).await {
                Ok(Ok(())) => tokio::time::sleep(LOOK).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the order for a shadow version cannot be read");
                    tokio::time::sleep(LOOK).await;
                }
                Err(_) => store.answering().await,
            }
        }
    }

    async fn look(&self) -> Result<(), registry::Error> {
        let known = self.following();
        let order = self.registry.shadow(known.as_ref().map(|known| &known.order)).await?;
        let is_same = match (&known, &order) {
            (Some(known), Some(order)) => known.order == *order && known.live.is_ok(),
            (None, Some(order)) => order.version.is_none(),
            (Some(_), None) => false,
            (None, None) => true,
        };
        if is_same {
            return Ok(());
        }
        let Some((order, version)) = order.and_then(|order| order.version.clone().map(|version| (order, version)))
        else {
            self.swap(None);
            return Ok(());
        };
        let live = match self.registry.load(&version).await {
            Ok(loaded) => Ok(Arc::new(Live::pinned(loaded, self.pass_from))),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => Err(error.to_string()),
        };
        let is_told = known.is_some_and(|known| known.order == order && known.live.is_err() && live.is_err());
        if !is_told {
            tracing::info!(model.version = %version, share = order.share, "a shadow version judges comments");
            self.swap(Some(Following { order, live, tally: Tally::default() }));
        }
        Ok(())
    }

    fn swap(&self, following: Option<Following>) {
        let share = following.as_ref().filter(|it| it.live.is_ok()).map_or(0.0, |it| it.order.share);
        self.metrics.shadow_share.set(share);
        self.following.store(following.map(Arc::new));
    }
}
