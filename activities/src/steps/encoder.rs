//! Finds an encoder's base and fine-tunes it, with checkpoints: a dead worker loses at most a minute of work.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use encoder::{Base, BaseFiles, Encoder, Recipe, Room, State};
use model::{
    Digest, Row,
    experiment::{self, EncoderFits},
};
use rayon::prelude::*;
use temporalio_sdk::activities::ActivityContext;
use tokio::sync::mpsc;
use workflows::steps::{FindBaseInput, FoundBase, TuneInput, Tuned, TunedEncoder, Tuning};

use super::Activities;
use crate::{alive::compute, failure::Failure};

/// Sentences that are scored together.
const TOGETHER: usize = 32;
/// The reported loss is the mean of this many steps.
const RECENT: usize = 100;

/// The progress of fine-tuning, for heartbeats.
pub(super) type Progress = Arc<Mutex<Option<Tuning>>>;

impl Activities {
    pub(super) async fn find_base(&self, input: FindBaseInput) -> Result<FoundBase, Failure> {
        let base = self.base_in_bucket(input).await?;
        let millions = self.base(&base).await?.config().parameters() as f64 / 1e6;
        Ok(FoundBase { base: base.to_string(), millions })
    }

    /// Puts the base into the bucket if it is missing there, so that every worker finds it.
    async fn base_in_bucket(&self, input: FindBaseInput) -> Result<Digest, Failure> {
        let wanted = input.base.map(|base| Digest::parse(&base)).transpose();
        let wanted = wanted.map_err(|_| Failure::NoBase("the requested base is not named by a digest".to_owned()))?;
        if let Some(wanted) = &wanted
            && self.registry.has_encoder_base(wanted).await?
        {
            return Ok(wanted.clone());
        }
        let source = Arc::clone(&self.tuning.bases);
        let here = compute(move || source.here().map_err(|error| Failure::NoBase(format!("{error:#}")))).await?;
        let files = match here {
            Some(files) if wanted.as_ref().is_none_or(|wanted| *wanted == digest(&files)) => files,
            _ => {
                let published = self.tuning.bases.published();
                match &wanted {
                    Some(wanted) if *wanted != published => {
                        let reason =
                            format!("the base {} is neither in the bucket nor on this machine", wanted.short());
                        return Err(Failure::NoBase(reason));
                    }
                    _ if self.registry.has_encoder_base(&published).await? => return Ok(published),
                    _ => {}
                }
                tracing::info!("fetching the base weights of the encoder");
                let source = Arc::clone(&self.tuning.bases);
                compute(move || source.fetch().map_err(|error| Failure::NoBase(format!("{error:#}")))).await?
            }
        };
        let (digest, packed) = compute(move || {
            Base::read(&files).map_err(|error| Failure::NoBase(error.to_string()))?;
            Ok((digest(&files), files.pack()))
        })
        .await?;
        self.registry.put_encoder_base(&digest, packed).await?;
        tracing::info!(base = %digest.short(), "the bucket has the base weights of the encoder");
        Ok(digest)
    }

    /// Reads a base from the bucket. The last one stays in memory.
    async fn base(&self, wanted: &Digest) -> Result<Arc<Base>, Failure> {
        let mut kept = self.base.lock().await;
        if let Some((digest, base)) = &*kept
            && digest == wanted
        {
            return Ok(Arc::clone(base));
        }
        let packed = self.registry.encoder_base(wanted).await?;
        let packed = packed.ok_or_else(|| Failure::NoBase(format!("the bucket lost the base {}", wanted.short())))?;
        let name = wanted.clone();
        let base = compute(move || {
            let files = BaseFiles::unpack(&packed).filter(|files| digest(files) == name);
            let files = files.ok_or_else(|| Failure::NoBase(format!("the base {} has changed", name.short())))?;
            Base::read(&files).map(Arc::new).map_err(|error| Failure::NoBase(error.to_string()))
        })
        .await?;
        *kept = Some((wanted.clone(), Arc::clone(&base)));
        Ok(base)
    }

    /// Fine-tunes and reports its progress in `progress`.
    pub(super) async fn tune(
        &self,
        ctx: &ActivityContext,
        input: TuneInput,
        progress: Progress,
    ) -> Result<Tuned, Failure> {
        let base = self.base(&Digest::parse(&input.base).map_err(|_| Failure::NoBase("no digest".to_owned()))?).await?;
        let (rows, _) = self.rows(input.sample.as_ref().unwrap_or(&input.dataset), input.seed).await?;
        let recipe = Recipe::default();
        let work = work(&input, &recipe);
        let saved = self.registry.newest_checkpoint(&work).await?;
        let (stop, (save, mut saves)) = (Stop::default(), mpsc::channel(1));
        let part = Part { base, rows, recipe, input, threads: self.threads, checkpoint: self.tuning.checkpoint };
        let stopped = Arc::clone(&stop.0);
        let learning = compute(move || part.learn(saved.as_deref(), &stopped, &progress, &save));
        tokio::pin!(learning);
        let saving = async {
            while let Some((step, bytes)) = saves.recv().await {
                // The next checkpoint comes a minute later.
                if let Err(error) = self.registry.put_checkpoint(&work, step, bytes).await {
                    tracing::warn!(%error, step, "a checkpoint could not be stored");
                }
            }
        };
        tokio::pin!(saving);
        let mut is_saving = true;
        let made = loop {
            tokio::select! {
                made = &mut learning => break made?,
                () = &mut saving, if is_saving => is_saving = false,
                () = ctx.cancelled() => {
                    drop(stop);
                    self.forget_if_unwanted(ctx, &work).await;
                    return Err(Failure::Cancelled);
                }
            }
        };
        // A checkpoint that is still being written would be left behind.
        if is_saving {
            saving.await;
        }
        let made = self.registry.put_artifact(made).await?;
        self.registry.delete_checkpoints(&work).await?;
        Ok(Tuned { made })
    }

    /// Deletes the checkpoints of a cancelled run. If only the worker is stopping, they are still needed.
    async fn forget_if_unwanted(&self, ctx: &ActivityContext, work: &Digest) {
        let Some(id) = ctx.info().workflow_id.clone() else { return };
        let asking = async {
            if !workflows::goes_on(&ctx.client(), &id, ctx.info().workflow_run_id.as_deref()).await {
                let _ = self.registry.delete_checkpoints(work).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), asking).await;
    }

    /// The result of fine-tuning for a trainer, in the order of its rows.
    pub(super) async fn tuned(&self, tuned: &TunedEncoder, assigned: &[usize]) -> Result<EncoderFits, Failure> {
        let bytes = self.registry.artifact(&tuned.encoder).await?;
        let mut unseen = vec![0.0; assigned.len()];
        for (fold, blob) in tuned.unseen.iter().enumerate() {
            let scores = self.registry.artifact(blob).await?;
            let scores = scores.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            let places = assigned.iter().zip(&mut unseen).filter(|(of, _)| **of == fold).map(|(_, score)| score);
            for (place, score) in places.zip(scores) {
                *place = score;
            }
        }
        let encoder = compute(move || Encoder::decode(&bytes).map_err(Failure::Encoder)).await?;
        Ok(EncoderFits { unseen, encoder: Arc::new(encoder) })
    }
}

/// Tells a computation to stop, because nothing waits for it any more.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn digest(files: &BaseFiles) -> Digest {
    Digest::parse(&files.digest()).expect("a digest of a base is one of SHA-256")
}

/// The digest of everything that determines the result. The next attempt finds its checkpoints by it.
fn work(input: &TuneInput, recipe: &Recipe) -> Digest {
    let all = serde_json::json!({ "input": input, "recipe": recipe, "code": env!("CARGO_PKG_VERSION") });
    Digest::of(all.to_string().as_bytes())
}

/// The fold of each row.
pub(super) fn folds_of(is_sample: bool, rows: &[Row], config: &experiment::Config) -> Result<Vec<usize>, Failure> {
    if is_sample { Ok(experiment::folds_of_sample(rows, config)?) } else { Ok(experiment::folds_of_all(rows, config)) }
}

/// One encoder to fine-tune.
struct Part {
    base: Arc<Base>,
    rows: Vec<Row>,
    recipe: Recipe,
    input: TuneInput,
    threads: usize,
    checkpoint: Duration,
}

impl Part {
    /// Continues from a checkpoint, or starts; returns the bytes of the encoder, or of the fold's scores.
    fn learn(
        &self,
        saved: Option<&[u8]>,
        stopped: &AtomicBool,
        progress: &Progress,
        save: &mpsc::Sender<(u64, Vec<u8>)>,
    ) -> Result<Vec<u8>, Failure> {
        let Self { base, rows, recipe, input, .. } = self;
        let config = experiment::Config { seed: input.seed, ..experiment::Config::default() };
        let assigned = folds_of(input.sample.is_some(), rows, &config)?;
        let without = input.without.map_or(config.folds, |fold| fold as usize);
        let mut training = experiment::encoder_training(base, rows, &assigned, without, *recipe, input.seed);
        if training.steps() == 0 {
            return Err(model::trainers::Error::Empty("no sentence is left to learn from").into());
        }
        match saved.map(|bytes| State::decode(bytes, base)) {
            Some(Ok(state)) => {
                tracing::info!(part = input.part(), step = state.step(), "continues from a checkpoint");
                training = training.resume(state);
            }
            Some(Err(error)) => tracing::warn!(part = input.part(), %error, "starts from the beginning"),
            None => {}
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .thread_name(|number| format!("fine-tuning-{number}"))
            .start_handler(|_| be_nice())
            .build()
            .map_err(|_| Failure::Panicked)?;
        let (started, mut kept, mut sentences) = (Instant::now(), Instant::now(), 0);
        let mut losses: VecDeque<f32> = VecDeque::new();
        while !training.is_done() {
            if stopped.load(Ordering::Relaxed) {
                return Err(Failure::Cancelled);
            }
            let stepped = pool.install(|| training.step());
            if !stepped.loss.is_finite() {
                return Err(Failure::Diverged(stepped.step));
            }
            sentences += stepped.sentences;
            losses.push_back(stepped.loss);
            if losses.len() > RECENT {
                losses.pop_front();
            }
            *progress.lock().expect("no holder panics") = Some(Tuning {
                part: input.part(),
                step: stepped.step,
                of: stepped.of,
                loss: losses.iter().sum::<f32>() / losses.len() as f32,
                sentences_per_second: sentences as f32 / started.elapsed().as_secs_f32(),
            });
            // Only one checkpoint is written at a time.
            if kept.elapsed() > self.checkpoint
                && let Ok(place) = save.try_reserve()
            {
                kept = Instant::now();
                place.send((stepped.step, training.state().encode(base)));
            }
        }
        let encoder = Encoder::of(&training, base);
        let Some(_) = input.without else { return Ok(encoder.encode()) };
        let unseen = rows.iter().zip(&assigned).filter(|&(_, &fold)| fold == without);
        let texts: Vec<&str> = unseen.map(|(row, _)| row.text.as_str()).collect();
        let score = |texts: &[&str]| {
            if stopped.load(Ordering::Relaxed) {
                return Err(Failure::Cancelled);
            }
            Ok(encoder.score_texts(texts.iter().copied(), &mut Room::default()))
        };
        let scores: Result<Vec<Vec<f32>>, Failure> = pool.install(|| texts.par_chunks(TOGETHER).map(score).collect());
        Ok(scores?.concat().into_iter().flat_map(f32::to_le_bytes).collect())
    }
}

/// Lowers the thread's priority, so that verdicts and heartbeats go first.
fn be_nice() {
    #[cfg(target_os = "linux")]
    {
        // On Linux each thread has its own priority. If it cannot be changed, it stays.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10);
    }
}
