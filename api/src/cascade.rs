//! The encoder's threads, with a bounded queue and a deadline for each request.
//!
//! A free thread takes the sentences that wait, of several requests together. It does not wait for more. Work that
//! would miss its deadline is not started. Explanations are done when no verdict waits.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use encoder::{Encoder, Room};
use futures_util::future::try_join_all;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::metrics::{FallbackLabels, Metrics};

/// Most sentences that a thread reads together.
///
/// On a CPU more gains little, and other requests wait longer.
const TOGETHER: usize = 8;

/// Factor on a thread's pace for each job that it dropped as too late.
const SINKS: f64 = 0.8;
/// Time limit of an explanation.
const EXPLAIN: Duration = Duration::from_secs(2);
/// Time limit of a shadow version's verdict, for which no request waits.
const SHADOW: Duration = Duration::from_secs(20);
/// Time limit of batches from when the service stops.
const LAST: Duration = Duration::from_millis(500);

/// Limits of the encoder.
#[derive(Clone, Debug)]
pub struct CascadeLimits {
    /// Threads.
    pub threads: usize,
    /// Most sentences that wait.
    pub queue: usize,
    /// A request that has waited this long for the encoder gets the fast part's verdict.
    pub deadline: Duration,
    /// The fast part's probability from which on the encoder judges. None for the model's own.
    pub pass_from: Option<f64>,
}

impl Default for CascadeLimits {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { threads, queue: 256, deadline: Duration::from_millis(250), pass_from: None }
    }
}

/// Why the encoder did not judge a sentence that it should have judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Too many sentences wait.
    QueueFull,
    /// The encoder did not answer in time.
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
    /// Room for sentences of batches. Batches wait for room.
    batches: Semaphore,
    stopping: watch::Receiver<bool>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Queue {
    verdicts: Waiting,
    /// Done when no verdict waits.
    batches: Waiting,
    /// Done last.
    explanations: Waiting,
    /// Threads started.
    threads: usize,
    is_closed: bool,
}

impl Queue {
    fn sentences(&self) -> usize {
        self.verdicts.sentences + self.batches.sentences + self.explanations.sentences
    }
}

/// Jobs in order of arrival.
#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Sentences of the jobs.
    sentences: usize,
}

/// Sentences of one request.
struct Job {
    encoder: Arc<Encoder>,
    sentences: Vec<String>,
    /// The deadline.
    expires: Instant,
    reply: oneshot::Sender<Vec<f32>>,
}

/// What sentences are scored for. Verdicts go first, batches and shadows next, explanations last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A request waits for this verdict. A late score is of no use.
    Verdict,
    /// A request waits for many verdicts, until `until`.
    Batch { until: Instant },
    /// A shadow version's verdict: no request waits. Queued with batches.
    Shadow,
    /// An explanation of a verdict.
    Explanation,
}

impl EncoderThreads {
    /// Starts no thread. The first request starts them.
    pub(crate) fn new(limits: CascadeLimits, metrics: Arc<Metrics>, stopping: watch::Receiver<bool>) -> Self {
        let batches = Semaphore::new(limits.queue);
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new(), metrics });
        Self { shared, limits, batches, stopping }
    }

    /// The encoder's scores of sentences, or why there are none in time.
    ///
    /// A failure is counted, except for a shadow version.
    pub(crate) async fn judge(
        &self,
        encoder: &Arc<Encoder>,
        sentences: Vec<String>,
        purpose: Purpose,
    ) -> Result<Vec<f32>, Fallback> {
        let scores = self.score(encoder, sentences, purpose).await;
        if let Err(fallback) = scores
            && purpose != Purpose::Shadow
        {
            let labels = FallbackLabels { reason: fallback.name() };
            self.shared.metrics.encoder_fallbacks.get_or_create(&labels).inc();
        }
        scores
    }

    /// Most sentences of explanations that may wait.
    pub(crate) fn room_to_explain(&self) -> usize {
        self.limits.queue / 2
    }

    /// Scores for an explanation. Verdicts go first.
    pub(crate) async fn explain(&self, encoder: &Arc<Encoder>, sentences: Vec<String>) -> Result<Vec<f32>, Fallback> {
        self.score(encoder, sentences, Purpose::Explanation).await
    }

    async fn score(
        &self,
        encoder: &Arc<Encoder>,
        sentences: Vec<String>,
        purpose: Purpose,
    ) -> Result<Vec<f32>, Fallback> {
        if sentences.is_empty() {
            return Ok(Vec::new());
        }
        let patience = match purpose {
            Purpose::Verdict => self.limits.deadline,
            Purpose::Batch { until } => until.saturating_duration_since(Instant::now()),
            Purpose::Shadow => SHADOW,
            Purpose::Explanation => EXPLAIN,
        };
        let is_in_turn = matches!(purpose, Purpose::Batch { .. } | Purpose::Shadow);
        let expires = Instant::now() + patience;
        let scoring = async {
            let mut _room = None;
            if is_in_turn {
                let sentences = sentences.len().min(self.limits.queue) as u32;
                _room = Some(self.batches.acquire_many(sentences).await);
            }
            let replies = self.enqueue(encoder, sentences, purpose, expires)?;
            // A thread that failed, or dropped the job as too late, sends no reply.
            try_join_all(replies).await.map_err(|_| Fallback::Deadline)
        };
        let stopping = async {
            if !is_in_turn || self.stopping.clone().wait_for(|is_stopping| *is_stopping).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(LAST).await;
        };
        tokio::select! {
            scores = tokio::time::timeout(patience, scoring) => scores.map_or(Err(Fallback::Deadline), |scores| Ok(scores?.concat())),
            () = stopping => Err(Fallback::Deadline),
        }
    }

    /// Queues all of the sentences, or none.
    fn enqueue(
        &self,
        encoder: &Arc<Encoder>,
        mut sentences: Vec<String>,
        purpose: Purpose,
        expires: Instant,
    ) -> Result<Vec<oneshot::Receiver<Vec<f32>>>, Fallback> {
        let mut queue = self.shared.queue.lock().expect("no holder panics");
        let (waiting, room) = match purpose {
            Purpose::Verdict => (&mut queue.verdicts, self.limits.queue),
            Purpose::Batch { .. } | Purpose::Shadow => (&mut queue.batches, self.limits.queue),
            Purpose::Explanation => (&mut queue.explanations, self.room_to_explain()),
        };
        if waiting.sentences + sentences.len() > room {
            return Err(Fallback::QueueFull);
        }
        waiting.sentences += sentences.len();
        let mut replies = Vec::new();
        while !sentences.is_empty() {
            let rest = sentences.split_off(sentences.len().min(TOGETHER));
            let (reply, answer) = oneshot::channel();
            replies.push(answer);
            let encoder = Arc::clone(encoder);
            waiting.jobs.push_back(Job { encoder, sentences, expires, reply });
            sentences = rest;
        }
        while queue.threads < self.limits.threads {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name(format!("encoder-{}", queue.threads));
            if thread.spawn(move || shared.work()).is_err() {
                break;
            }
            queue.threads += 1;
        }
        self.shared.tell(&queue);
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
    /// The loop of one thread, until the queue is closed.
    fn work(&self) {
        // Seconds per sentence, as this thread measured them.
        let (mut room, mut pace) = (Room::default(), 0.0);
        while let Some(jobs) = self.next(&mut pace) {
            let started = Instant::now();
            let scored = catch_unwind(AssertUnwindSafe(|| {
                let texts = jobs.iter().flat_map(|job| &job.sentences).map(String::as_str);
                jobs[0].encoder.score_texts(texts, &mut room)
            }));
            let Ok(scores) = scored else {
                tracing::error!("the encoder failed; its sentences get the fast part's verdict");
                room = Room::default();
                continue;
            };
            let took = started.elapsed().as_secs_f64();
            pace = 0.8 * pace + 0.2 * took / scores.len().max(1) as f64;
            self.metrics.encoder_batch.observe(scores.len() as f64);
            self.metrics.encoder_seconds.observe(took);
            let mut rest = &scores[..];
            for job in jobs {
                let (mine, others) = rest.split_at(job.sentences.len());
                rest = others;
                // A request that no longer waits gets no reply.
                let _ = job.reply.send(mine.to_vec());
            }
        }
    }

    /// Jobs of one encoder that can meet their deadlines, up to [`TOGETHER`] sentences.
    ///
    /// None when the queue is closed.
    fn next(&self, pace: &mut f64) -> Option<Vec<Job>> {
        let mut queue = self.queue.lock().expect("no holder panics");
        loop {
            let mut taken = queue.verdicts.take(pace);
            if taken.is_empty() {
                taken = queue.batches.take(pace);
            }
            if taken.is_empty() {
                taken = queue.explanations.take(pace);
            }
            self.tell(&queue);
            if !taken.is_empty() {
                return Some(taken);
            }
            if queue.is_closed {
                return None;
            }
            queue = self.changed.wait(queue).expect("no holder panics");
        }
    }

    fn tell(&self, queue: &Queue) {
        self.metrics.encoder_queue.set(queue.sentences() as i64);
    }
}

impl Waiting {
    /// The first jobs of one encoder.
    ///
    /// Jobs that would be late are dropped, which ends their requests' wait.
    ///
    /// `pace` is the time per sentence in seconds. Each dropped job lowers it; otherwise one slow moment would stop the
    /// work for good.
    fn take(&mut self, pace: &mut f64) -> Vec<Job> {
        let (mut taken, mut sentences): (Vec<Job>, usize) = (Vec::new(), 0);
        let now = Instant::now();
        while let Some(job) = self.jobs.front() {
            let together = sentences + job.sentences.len();
            let fits =
                taken.first().is_none_or(|first| Arc::ptr_eq(&first.encoder, &job.encoder) && together <= TOGETHER);
            if !fits {
                break;
            }
            let job = self.jobs.pop_front().expect("it is there");
            self.sentences -= job.sentences.len();
            let done = now + Duration::from_secs_f64(*pace * together as f64);
            if job.reply.is_closed() {
                continue;
            }
            if done < job.expires {
                sentences = together;
                taken.push(job);
            } else {
                *pace *= SINKS;
            }
        }
        taken
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

    fn start(threads: usize, queue: usize, deadline: Duration) -> EncoderThreads {
        let limits = CascadeLimits { threads, queue, deadline, pass_from: None };
        EncoderThreads::new(limits, Arc::new(Metrics::new()), watch::channel(false).1)
    }

    #[tokio::test]
    async fn sentences_of_many_requests_get_their_own_scores() {
        let (encoder, threads) = (encoder(), start(2, 10_000, Duration::from_secs(20)));
        let text = |i: usize| "we will ".repeat(i % 9 + 1);
        let ask = |from: usize| threads.judge(&encoder, (from..from + 40).map(text).collect(), Purpose::Verdict);
        let answers = futures_util::future::join_all((0..20).map(ask)).await;
        for (from, scores) in answers.into_iter().enumerate() {
            let ids: Vec<Vec<u32>> = (from..from + 40).map(|i| encoder.tokens().encode(&text(i))).collect();
            let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
            assert_eq!(scores.unwrap(), encoder.score(&ids, &mut Room::default()));
        }
        assert_eq!(threads.judge(&encoder, Vec::new(), Purpose::Verdict).await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_or_waits_too_long_is_told() {
        let encoder = encoder();
        let full = start(2, 3, Duration::from_secs(20));
        let four = vec!["we will".to_owned(); 4];
        assert_eq!(full.judge(&encoder, four.clone(), Purpose::Verdict).await, Err(Fallback::QueueFull));
        assert!(full.judge(&encoder, four[..3].to_vec(), Purpose::Verdict).await.is_ok());
        // There are no threads.
        let late = start(0, 100, Duration::from_millis(30));
        let started = Instant::now();
        assert_eq!(late.judge(&encoder, four.clone(), Purpose::Verdict).await, Err(Fallback::Deadline));
        assert!(started.elapsed() >= Duration::from_millis(30), "it waited");
        let counted = late.shared.metrics.render().unwrap();
        assert!(counted.contains(r#"threatwatch_encoder_fallbacks_total{reason="deadline"} 1"#), "{counted}");
        // Jobs of requests that gave up are not done and take no room.
        let mut queue = late.shared.queue.lock().unwrap();
        assert_eq!(
            (queue.verdicts.sentences, queue.verdicts.take(&mut 0.0).len(), queue.verdicts.sentences),
            (4, 0, 0)
        );
    }

    #[test]
    fn verdicts_go_before_explanations_and_what_would_be_late_is_not_begun() {
        let (encoder, threads) = (encoder(), start(0, 100, Duration::from_secs(20)));
        let text = |word: &str| vec![word.to_owned()];
        let soon = Instant::now() + Duration::from_secs(1);
        let _why = threads.enqueue(&encoder, text("why"), Purpose::Explanation, soon).unwrap();
        let _first = threads.enqueue(&encoder, text("first"), Purpose::Verdict, soon).unwrap();
        let _second = threads.enqueue(&encoder, text("second"), Purpose::Verdict, soon).unwrap();
        let words =
            |jobs: Option<Vec<Job>>| jobs.unwrap().iter().flat_map(|job| job.sentences.clone()).collect::<Vec<_>>();
        assert_eq!(words(threads.shared.next(&mut 0.0)), ["first", "second"], "together");
        assert_eq!(words(threads.shared.next(&mut 0.0)), ["why"]);
        let late = threads.enqueue(&encoder, text("late"), Purpose::Verdict, soon).unwrap();
        threads.shared.queue.lock().unwrap().is_closed = true;
        let mut pace = 2.0;
        assert!(threads.shared.next(&mut pace).is_none(), "two seconds a sentence are too slow");
        assert!(pace < 2.0, "the next may be done");
        assert!(late.into_iter().all(|mut late| late.try_recv().is_err()));
    }
}
