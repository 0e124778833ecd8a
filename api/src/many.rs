//! Many comments at once: judged in parallel, answered in order.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, future::join_all, stream};

use crate::{
    cascade::Purpose,
    context::Context,
    judging::{Asked, Judged},
    serving::Live,
};

/// Comments that one task judges: enough to make a task worth its while, few enough to share among cores.
pub(crate) const SHARE: usize = 32;

/// Tasks at once: all cores have work while some wait for the encoder.
fn tasks() -> usize {
    2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What is to be judged, and what becomes of it.
pub(crate) trait Item: Send + 'static {
    /// What is answered.
    type Answer: Send + 'static;

    /// The text, or none where the item is wrong.
    fn text(&self) -> Option<&str>;

    /// The answer; `judged` is none where there is no text.
    fn answer(self, judged: Option<Judged>, live: &Live, explain: bool) -> Self::Answer;
}

impl Context {
    /// Judges what a stream brings, [`SHARE`] comments a task; answers in the same order. It holds what is under way and no
    /// more.
    pub(crate) fn judge_stream<I: Item, S: Stream<Item = Vec<I>> + Send>(
        &self,
        live: &Arc<Live>,
        explain: bool,
        shares: S,
    ) -> impl Stream<Item = Vec<I::Answer>> + Send + use<I, S> {
        let (context, live) = (self.clone(), Arc::clone(live));
        let judge = move |share: Vec<I>| {
            let (context, live) = (context.clone(), Arc::clone(&live));
            let asked = Asked { explain, purpose: Purpose::Batch };
            let task = tokio::spawn(async move {
                let one = async |item: I| {
                    let judged = match item.text() {
                        Some(text) => Some(context.judge(&live, text, asked).await),
                        None => None,
                    };
                    item.answer(judged, &live, explain)
                };
                join_all(share.into_iter().map(one)).await
            });
            async move { task.await.unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic())) }
        };
        shares.map(judge).buffered(tasks())
    }

    /// Judges a list.
    pub(crate) async fn judge_list<I: Item>(&self, live: &Arc<Live>, explain: bool, items: Vec<I>) -> Vec<I::Answer> {
        let mut rest = items.into_iter();
        let mut shares = Vec::new();
        loop {
            let share: Vec<I> = rest.by_ref().take(SHARE).collect();
            if share.is_empty() {
                break;
            }
            shares.push(share);
        }
        self.judge_stream(live, explain, stream::iter(shares)).concat().await
    }
}
