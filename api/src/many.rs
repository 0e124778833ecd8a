//! Many comments at once: judged in parallel, answered in order.

use std::{
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt as _, future::join_all, stream};
use tokio::task::{JoinError, JoinHandle};

use crate::{
    cascade::Purpose,
    context::Context,
    judging::{Asked, Judged},
    serving::Live,
};

/// Comments per task: worth a task, and few enough to spread over the cores.
pub(crate) const SHARE: usize = 32;

/// The encoder's time limit for a list.
///
/// Comments that it has not judged by then get the fast part's verdict.
const LIST: Duration = Duration::from_secs(25);
/// The encoder's time limit for a comment of a stream, from its turn on.
const LINE: Duration = Duration::from_secs(20);

/// Concurrent tasks: twice the cores, because some tasks wait for the encoder.
fn tasks() -> usize {
    2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A task that is aborted when its handle is dropped.
struct Task<T>(JoinHandle<T>);

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An item to judge, and how its answer is made.
pub(crate) trait Item: Send + 'static {
    /// The answer.
    type Answer: Send + 'static;

    /// The text, or none if the item is invalid.
    fn text(&self) -> Option<&str>;

    /// Makes the answer. `judged` is none if there is no text.
    fn answer(self, judged: Option<Judged>, live: &Live, explain: bool) -> Self::Answer;
}

impl Context {
    /// Judges a stream of comments, one task per share, and answers in the same order.
    ///
    /// Holds only the shares that are being judged. Ends when its reader goes away. `until` is the encoder's deadline
    /// for all comments.
    pub(crate) fn judge_stream<I: Item, S: Stream<Item = Vec<I>> + Send>(
        &self,
        live: &Arc<Live>,
        explain: bool,
        shares: S,
        until: Option<Instant>,
    ) -> impl Stream<Item = Vec<I::Answer>> + Send + use<I, S> {
        let (context, live) = (self.clone(), Arc::clone(live));
        let judge = move |share: Vec<I>| {
            let (context, live) = (context.clone(), Arc::clone(&live));
            let until = until.unwrap_or_else(|| Instant::now() + LINE);
            let asked = Asked { explain, purpose: Purpose::Batch { until } };
            let task = Task(tokio::spawn(async move {
                let one = async |item: I| {
                    let judged = match item.text() {
                        Some(text) => Some(context.judge(&live, text, asked).await),
                        None => None,
                    };
                    item.answer(judged, &live, explain)
                };
                join_all(share.into_iter().map(one)).await
            }));
            async move { task.await.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic())) }
        };
        shares.map(judge).buffered(tasks())
    }

    /// Judges a list. A list of one comment is treated as `/predict` does.
    pub(crate) async fn judge_list<I: Item>(
        &self,
        live: &Arc<Live>,
        explain: bool,
        mut items: Vec<I>,
    ) -> Vec<I::Answer> {
        if items.len() == 1
            && let Some(item) = items.pop()
        {
            let asked = Asked { explain, ..Asked::ALONE };
            let judged = match item.text() {
                Some(text) => Some(self.judge(live, text, asked).await),
                None => None,
            };
            return vec![item.answer(judged, live, explain)];
        }
        let mut rest = items.into_iter();
        let mut shares = Vec::new();
        loop {
            let share: Vec<I> = rest.by_ref().take(SHARE).collect();
            if share.is_empty() {
                break;
            }
            shares.push(share);
        }
        self.judge_stream(live, explain, stream::iter(shares), Some(Instant::now() + LIST)).concat().await
    }
}
