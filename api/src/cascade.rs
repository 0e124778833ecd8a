//! The encoder's share of the verdicts: threads of its own, a bounded queue, and a time after which nobody waits.
//!
//! Sentences of concurrent requests are read together: a thread that is free takes what waits, and waits for no more.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use encoder::{Encoder, Room};
use futures_util::future::try_join_all;
use tokio::sync::oneshot;

use crate::metrics::{FallbackLabels, Metrics};

/// Sentences that a thread reads together at the most.
const TOGETHER: usize = 32;

/// Who asks why waits longer.
const EXPLAIN: Duration = Duration::from_secs(2);

/// How much of the service is the encoder's.
#[derive(Clone, Debug)]
pub struct CascadeLimits {
    /// Threads.
    pub threads: usize,
    /// Sentences that wait at the most.
    pub queue: usize,
    /// Who has waited so long for the encoder gets the fast verdict.
    pub deadline: Duration,
    /// The fast probability from which the encoder is asked, in place of what training found.
    pub pass_from: Option<f64>,
}

impl Default for CascadeLimits {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { threads, queue: 256, deadline: Duration::from_millis(250), pass_from: None }
    }
}

/// Why a sentence that the encoder should judge was judged without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Too many sentences wait.
    QueueFull,
    /// It took too long.
    Deadline,
}

impl Fallback {
    pub(crate) const ALL: [Self; 2] = [Self::QueueFull, Self::Deadline];

    /// Its name in answers and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Deadline => "deadline",
        }
    }
}

/// The threads and their queue.
pub(crate) struct EncoderThreads {
    shared: Arc<Shared>,
    limits: CascadeLimits,
    metrics: Arc<Metrics>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Sentences of the jobs.
    sentences: usize,
    /// Threads that were started.
    threads: usize,
    is_closed: bool,
}

/// Sentences of one request.
struct Job {
    encoder: Arc<Encoder>,
    sentences: Vec<String>,
    reply: oneshot::Sender<Vec<f32>>,
}

impl EncoderThreads {
    /// No thread yet: they start with the first question.
    pub(crate) fn new(limits: CascadeLimits, metrics: Arc<Metrics>) -> Self {
        let shared = Shared { queue: Mutex::default(), changed: Condvar::new(), metrics: Arc::clone(&metrics) };
        Self { shared: Arc::new(shared), limits, metrics }
    }

    /// The encoder's scores of sentences; or why there are none in time, which is counted.
    pub(crate) async fn judge(&self, encoder: &Arc<Encoder>, sentences: Vec<String>) -> Result<Vec<f32>, Fallback> {
        let scores = self.score(encoder, sentences, self.limits.queue, self.limits.deadline).await;
        if let Err(fallback) = scores {
            self.metrics.encoder_fallbacks.get_or_create(&FallbackLabels { reason: fallback.name() }).inc();
        }
        scores
    }

    /// So many sentences find room while only explanations wait: verdicts go first.
    pub(crate) fn room_to_explain(&self) -> usize {
        self.limits.queue / 2
    }

    /// Scores for an explanation, which takes no room that a verdict needs.
    pub(crate) async fn explain(&self, encoder: &Arc<Encoder>, sentences: Vec<String>) -> Result<Vec<f32>, Fallback> {
        self.score(encoder, sentences, self.room_to_explain(), EXPLAIN).await
    }

    async fn score(
        &self,
        encoder: &Arc<Encoder>,
        sentences: Vec<String>,
        room: usize,
        patience: Duration,
    ) -> Result<Vec<f32>, Fallback> {
        if sentences.is_empty() {
            return Ok(Vec::new());
        }
        if patience.is_zero() {
            return Err(Fallback::Deadline);
        }
        let replies = self.enqueue(encoder, sentences, room)?;
        match tokio::time::timeout(patience, try_join_all(replies)).await {
            Ok(Ok(scores)) => Ok(scores.concat()),
            // A thread that failed says nothing: that is as late as can be.
            Ok(Err(_)) | Err(_) => Err(Fallback::Deadline),
        }
    }

    /// All of the sentences wait, or none.
    fn enqueue(
        &self,
        encoder: &Arc<Encoder>,
        sentences: Vec<String>,
        room: usize,
    ) -> Result<Vec<oneshot::Receiver<Vec<f32>>>, Fallback> {
        let mut queue = self.shared.queue.lock().expect("no holder panics");
        if queue.sentences + sentences.len() > room {
            return Err(Fallback::QueueFull);
        }
        queue.sentences += sentences.len();
        while queue.threads < self.limits.threads {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name(format!("encoder-{}", queue.threads));
            if thread.spawn(move || shared.work()).is_err() {
                break;
            }
            queue.threads += 1;
        }
        let mut replies = Vec::new();
        for sentences in sentences.chunks(TOGETHER / 2) {
            let (reply, answer) = oneshot::channel();
            replies.push(answer);
            let encoder = Arc::clone(encoder);
            queue.jobs.push_back(Job { encoder, sentences: sentences.to_vec(), reply });
        }
        self.shared.metrics.encoder_queue.set(queue.sentences as i64);
        drop(queue);
        self.shared.changed.notify_all();
        Ok(replies)
    }
}

impl Drop for EncoderThreads {
    fn drop(&mut self) {
        self.shared.queue.lock().expect("no holder panics").is_closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// What one thread does until nobody can ask any more.
    fn work(&self) {
        let mut room = Room::default();
        while let Some(jobs) = self.next() {
            let started = Instant::now();
            let texts = jobs.iter().flat_map(|job| &job.sentences);
            let encoder = &jobs[0].encoder;
            let ids: Vec<Vec<u32>> = texts.map(|text| encoder.tokens().encode(text)).collect();
            let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
            let scored = catch_unwind(AssertUnwindSafe(|| encoder.score(&ids, &mut room)));
            let Ok(scores) = scored else {
                tracing::error!("the encoder failed; its sentences get the fast verdict");
                room = Room::default();
                continue;
            };
            self.metrics.encoder_batch.observe(scores.len() as f64);
            self.metrics.encoder_seconds.observe(started.elapsed().as_secs_f64());
            let mut rest = &scores[..];
            for job in jobs {
                let (mine, others) = rest.split_at(job.sentences.len());
                rest = others;
                // Who does not wait any more is not told.
                let _ = job.reply.send(mine.to_vec());
            }
        }
    }

    /// Jobs for one encoder that somebody still waits for, as many as are read together; none at the end.
    fn next(&self) -> Option<Vec<Job>> {
        let mut queue = self.queue.lock().expect("no holder panics");
        let mut taken: Vec<Job> = Vec::new();
        let mut sentences = 0;
        loop {
            while let Some(job) = queue.jobs.front() {
                let fits = taken.first().is_none_or(|first| {
                    Arc::ptr_eq(&first.encoder, &job.encoder) && sentences + job.sentences.len() <= TOGETHER
                });
                if !fits {
                    break;
                }
                let job = queue.jobs.pop_front().expect("it is there");
                queue.sentences -= job.sentences.len();
                if !job.reply.is_closed() {
                    sentences += job.sentences.len();
                    taken.push(job);
                }
            }
            self.metrics.encoder_queue.set(queue.sentences as i64);
            if !taken.is_empty() {
                return Some(taken);
            }
            if queue.is_closed {
                return None;
            }
            queue = self.changed.wait(queue).expect("no holder panics");
        }
    }
}

#[cfg(test)]
mod tests {
    use encoder::{Base, BaseFiles, Recipe, Training};

    use super::*;

    fn encoder() -> Arc<Encoder> {
        let base = Base::read(&BaseFiles::random(1, 16, 3)).unwrap();
        Arc::new(Encoder::of(&Training::new(&base, Vec::new(), Recipe::default(), 0), &base))
    }

    fn threads(queue: usize, deadline: Duration) -> EncoderThreads {
        EncoderThreads::new(CascadeLimits { threads: 2, queue, deadline, pass_from: None }, Arc::new(Metrics::new()))
    }

    #[tokio::test]
    async fn sentences_of_many_requests_get_their_own_scores() {
        let (encoder, threads) = (encoder(), threads(10_000, Duration::from_secs(20)));
        let text = |i: usize| "we will ".repeat(i % 9 + 1);
        let ask = |from: usize| threads.judge(&encoder, (from..from + 40).map(text).collect());
        let answers = futures_util::future::join_all((0..20).map(ask)).await;
        for (from, scores) in answers.into_iter().enumerate() {
            let ids: Vec<Vec<u32>> = (from..from + 40).map(|i| encoder.tokens().encode(&text(i))).collect();
            let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
            assert_eq!(scores.unwrap(), encoder.score(&ids, &mut Room::default()));
        }
        assert_eq!(threads.judge(&encoder, Vec::new()).await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_or_waits_too_long_is_told() {
        let encoder = encoder();
        let full = threads(3, Duration::from_secs(20));
        let four = vec!["we will".to_owned(); 4];
        assert_eq!(full.judge(&encoder, four.clone()).await, Err(Fallback::QueueFull));
        assert!(full.judge(&encoder, four[..3].to_vec()).await.is_ok());
        let late = threads(100, Duration::ZERO);
        assert_eq!(late.judge(&encoder, four).await, Err(Fallback::Deadline));
        let counted = late.metrics.render().unwrap();
        assert!(counted.contains(r#"threatwatch_encoder_fallbacks_total{reason="deadline"} 1"#), "{counted}");
    }
}
