//! The activities: each loads what its input names, calls the pure crate, and stores what came of it.
//!
//! Each may run again at any time: outputs are named by their content or by the run, so a second time changes nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use model::{
    Row, artifact,
    corpus::split,
    counts::{CountsByFold, FoldCounter},
    experiment, gate,
    linear::Scratch,
    steps::{
        AwaitInput, CountInput, Counted, EvaluateInput, Evaluated, FindRollbackInput, FoundRollback, GateInput, Gated,
        GatherInput, Gathered, IngestInput, Ingested, MergeInput, PromoteInput, Promoted, PruneInput, Pruned,
        RecallInput, Recalled, RegisterInput, Registered, Replicas, SampleInput, Sampled, TrainInput, Trained,
    },
    trainers,
};
use registry::{DatasetManifest, LoadedModel, ModelManifest, Promotion, Registry, Serving, Trust};
use temporalio_client::Client;
use temporalio_sdk::activities::{ActivityContext, ActivityError, activities};
use tokio::sync::Semaphore;
use workflows::signatures;

use crate::{
    alive::{alive, compute},
    failure::Failure,
    metrics::Metrics,
    sources::SOURCES,
};

/// Replicas look for a new generation twice a second: one that does not serve it after this time will not soon.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often their reports are read meanwhile.
const LOOK: Duration = Duration::from_millis(200);
/// How long a candidate's speed is measured.
const MEASURE: Duration = Duration::from_millis(100);

/// The activities and what they may touch: the registry and the metrics, nothing else.
pub struct Activities {
    registry: Registry,
    /// Whether the store may be trusted with promotions.
    trust: Trust,
    metrics: Arc<Metrics>,
    /// Threads for computations that take long.
    threads: usize,
    /// As many of these computations run at once; the others wait, so that memory is bounded and a rollback is not kept
    /// waiting by a training run.
    turns: Semaphore,
}

impl Activities {
    /// Activities on a registry, with so many threads for what takes long.
    #[must_use]
    pub fn new(registry: Registry, metrics: Arc<Metrics>, threads: usize) -> Self {
        let trust = Trust::new(registry.clone());
        Self { registry, trust, metrics, threads, turns: Semaphore::new(threads) }
    }

    /// Waits for its turn, then works.
    async fn in_turn<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let _turn = self.turns.acquire().await.expect("the turns are never closed");
        work.await
    }

    async fn find_dataset(&self, input: IngestInput) -> Result<Ingested, Failure> {
        let (manifest, source) = match &input.dataset {
            Some(digest) => (self.registry.claim_dataset(digest).await?, "stored"),
            None => self.first_source().await?,
        };
        let share = (manifest.sentences > input.sentences_in_memory)
            .then(|| input.sentences_in_memory as f64 / manifest.sentences as f64);
        // A dataset that is too large for memory is looked at where its sample is gathered.
        let held_out = if share.is_none() { self.count_held_out(&manifest, input.seed).await? } else { 0 };
        self.metrics.rows_ingested.inc_by(manifest.sentences);
        self.metrics.rows_quarantined.inc_by(manifest.quarantined);
        tracing::info!(
            dataset = %manifest.digest.short(),
            source,
            sentences = manifest.sentences,
            quarantined = manifest.quarantined,
            "ingested"
        );
        Ok(Ingested {
            source: source.to_owned(),
            sentences: manifest.sentences,
            threats: manifest.threats,
            comments: manifest.comments,
            commenters: manifest.commenters,
            quarantined: manifest.quarantined,
            held_out,
            share,
            sample: None,
            sampled: 0,
            shards: manifest.shards.len() as u32,
            dataset: manifest.digest,
        })
    }

    /// Sentences of held-out commenters; refuses a dataset whose other sentences could train nothing.
    async fn count_held_out(&self, manifest: &DatasetManifest, seed: u64) -> Result<u64, Failure> {
        let rows = self.registry.rows(manifest).await?;
        compute(move || {
            let (train, test) = split::held_out(seed, rows);
            model::corpus::require_trainable(&train)?;
            Ok(test.len() as u64)
        })
        .await
    }

    /// The rows of some commenters in some shards.
    async fn sample(&self, input: SampleInput) -> Result<Sampled, Failure> {
        let manifest = self.registry.dataset(&input.dataset).await?;
        let SampleInput { seed, share, .. } = input;
        let keep = move |sample: &mut Vec<Row>, rows: Vec<Row>| {
            sample.extend(rows.into_iter().filter(|row| split::is_sampled(seed, &row.commenter, share)));
        };
        let shards = input.from as usize..input.to as usize;
        let rows = self.registry.fold_rows(&manifest, shards, Vec::new(), keep).await?;
        let sentences = rows.len() as u64;
        Ok(Sampled { rows: self.registry.put_part(rows).await?, sentences })
    }

    async fn gather(&self, input: GatherInput) -> Result<Gathered, Failure> {
        let whole = self.registry.dataset(&input.dataset).await?;
        let mut rows = Vec::new();
        for part in &input.parts {
            rows.extend(self.registry.part(part).await?);
        }
        let (seed, limit) = (input.seed, input.limit);
        let rows = compute(move || Ok(split::at_most(seed, rows, limit))).await?;
        let sample = self.registry.put_sample(&whole, rows).await?;
        let held_out = self.count_held_out(&sample, input.seed).await?;
        Ok(Gathered { sentences: sample.sentences, sample: sample.digest, held_out })
    }

    async fn count(&self, input: CountInput) -> Result<Counted, Failure> {
        let manifest = self.registry.dataset(&input.dataset).await?;
        let counter =
            FoldCounter::new(input.features, input.seed, input.folds as usize).map_err(trainers::Error::from)?;
        let shards = input.from as usize..input.to as usize;
        let add = |counter: &mut FoldCounter, rows: Vec<Row>| rows.iter().for_each(|row| counter.add(row));
        let counter = self.registry.fold_rows(&manifest, shards, counter, add).await?;
        let counts = compute(move || Ok(counter.finish())).await?;
        self.keep(counts).await
    }

    async fn merge(&self, input: MergeInput) -> Result<Counted, Failure> {
        let mut parts = input.parts.iter();
        let first = parts.next().ok_or(trainers::Error::Empty("there are no counts"))?;
        let mut sum = self.registry.counts(first).await?;
        for part in parts {
            let part = self.registry.counts(part).await?;
            sum = compute(move || {
                sum.merge(&part)?;
                Ok(sum)
            })
            .await?;
        }
        self.keep(sum).await
    }

    async fn keep(&self, counts: CountsByFold) -> Result<Counted, Failure> {
        let all = counts.all();
        let (sentences, features) = (all.sentences.iter().sum(), all.len() as u64);
        let counts = self.registry.put_counts(counts).await?;
        Ok(Counted { counts, sentences, features })
    }

    async fn first_source(&self) -> Result<(DatasetManifest, &'static str), Failure> {
        for source in SOURCES {
            if let Some(found) = source.find(&self.registry).await? {
                return Ok((self.registry.claim_dataset(&found.digest).await?, source.name()));
            }
        }
        unreachable!("the last source always has a dataset")
    }

    /// Training rows and held-out rows.
    async fn rows(&self, dataset: &model::Digest, seed: u64) -> Result<(Vec<Row>, Vec<Row>), Failure> {
        let manifest = self.registry.dataset(dataset).await?;
        let rows = self.registry.rows(&manifest).await?;
        compute(move || Ok(split::held_out(seed, rows))).await
    }

    async fn fit(&self, input: TrainInput) -> Result<Trained, Failure> {
        let trainer = trainers::find(&input.trainer)?;
        let (train, _) = self.rows(input.sample.as_ref().unwrap_or(&input.dataset), input.seed).await?;
        let is_sampled = input.sample.is_some();
        let mut counts = Vec::new();
        for digest in &input.counts {
            counts.push(self.registry.counts(digest).await?);
        }
        let config = experiment::Config {
            preset: input.preset,
            seed: input.seed,
            operation: input.operation,
            threads: self.threads,
            ..experiment::Config::default()
        };
        let (bytes, features, cross_validation) = compute(move || {
            // By the sample, never by the counts: what a trainer makes must not depend on what is trained beside it.
            let trained = if is_sampled {
                experiment::train_counted(trainer, &train, &counts, &config, &|_, _| {})?
            } else {
                experiment::train(trainer, &train, &config, &|_, _| {})?
            };
            let features = trained.model.table().keys().len() as u64;
            Ok((artifact::encode(&trained.model), features, trained.cross_validation))
        })
        .await?;
        let artifact_bytes = bytes.len() as u64;
        let artifact = self.registry.put_artifact(bytes).await?;
        tracing::info!(trainer = %input.trainer, artifact = %artifact.short(), features, "trained");
        Ok(Trained { trainer: input.trainer, artifact, artifact_bytes, features, cross_validation })
    }

    async fn judge_artifact(&self, input: EvaluateInput) -> Result<Evaluated, Failure> {
        let model = self.registry.model(&input.artifact).await?;
        let (_, test) = self.rows(&input.dataset, input.seed).await?;
        compute(move || Ok(Evaluated { held_out: experiment::evaluate(&model, &test) })).await
    }

    async fn write_manifest(&self, input: RegisterInput) -> Result<Registered, Failure> {
        let manifest = ModelManifest {
            version: input.version,
            artifact: input.trained.artifact,
            artifact_bytes: input.trained.artifact_bytes,
            features: input.trained.features,
            dataset: input.input.dataset,
            sample: input.input.sample,
            operation: input.input.operation,
            trainer: input.input.trainer,
            preset: input.input.preset,
            seed: input.input.seed,
            cross_validation: input.trained.cross_validation,
            held_out: input.evaluated.held_out,
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            workflow_id: input.workflow_id,
            run_id: input.run_id,
            started: input.started,
        };
        let (manifest, digest) = self.registry.register(&manifest).await?;
        self.metrics.trained_now();
        tracing::info!(model.version = %manifest.version, trainer = %manifest.trainer, "registered");
        Ok(Registered { version: manifest.version, manifest: digest })
    }

    async fn hold_against_checks(&self, input: GateInput) -> Result<Gated, Failure> {
        let LoadedModel { manifest, model: candidate, .. } = self.registry.load(&input.version).await?;
        let production = match self.registry.production().await? {
            Some(Promotion { record, .. }) => {
                let loaded = self.registry.load(&record.version).await?;
                Some((record, loaded))
            }
            None => None,
        };
        let rows = self.registry.rows(&self.registry.dataset(manifest.rows()).await?).await?;
        let gated = compute(move || {
            let (mut numbers, mut rows) = split::held_out_numbered(manifest.seed, rows);
            if let Some((_, incumbent)) = &production {
                // What production was trained on would flatter it: only who is held out for both is judged.
                let is_fair = |row: &Row| split::is_held_out(incumbent.manifest.seed, &row.commenter);
                (numbers, rows) = numbers.into_iter().zip(rows).filter(|(_, row)| is_fair(row)).unzip();
            }
            let speed = sentences_per_second(&candidate, &rows);
            let incumbent = production.as_ref().map(|(_, loaded)| &loaded.model);
            let evidence = gate::Evidence::gather(&candidate, &manifest.artifact, incumbent, &rows, speed);
            let checks = gate::judge(&evidence);
            let flips = gate::Flips::of(&evidence, &numbers);
            let record = production.map(|(record, _)| record);
            Ok(Gated {
                passed: checks.iter().all(|finding| finding.passed),
                checks,
                against: record.as_ref().map(|record| record.version.clone()),
                generation: record.as_ref().map(|record| record.generation),
                promoted_by: record.map(|record| record.actor),
                flips,
            })
        })
        .await?;
        self.metrics.gated(gated.passed);
        tracing::info!(model.version = %input.version, passed = gated.passed, "gated");
        Ok(gated)
    }

    async fn write_generation(&self, input: PromoteInput) -> Result<Promoted, Failure> {
        self.trust.require().await?;
        let promoted = self.registry.promote(&input, now_millis()).await?;
        tracing::info!(
            model.version = %promoted.version,
            generation = promoted.generation.0,
            forced = input.forced,
            "promoted"
        );
        Ok(promoted)
    }

    async fn watch_replicas(&self, input: AwaitInput) -> Result<Replicas, Failure> {
        let started = Instant::now();
        loop {
            let Serving { reported, missing } = self.registry.serving(input.generation).await?;
            if missing.is_empty() || started.elapsed() > PATIENCE {
                if !missing.is_empty() {
                    tracing::warn!(generation = input.generation.0, ?missing, "replicas that do not serve it");
                }
                return Ok(Replicas { reported, missing, unknown: None });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn delete_what_nothing_needs(&self, input: PruneInput, client: Client) -> Result<Pruned, Failure> {
        let running = workflows::running(&client).await?;
        let in_use = running.iter().flat_map(|run| run.status.versions.iter().cloned()).collect();
        let is_busy = running.iter().any(workflows::Running::makes_models);
        let pruned = self.registry.prune(&PruneInput { in_use, is_busy, ..input }, now_millis()).await?;
        tracing::info!(versions = pruned.versions.len(), blobs = pruned.blobs, bytes = pruned.bytes, "pruned");
        Ok(pruned)
    }

    async fn read_how_it_was_trained(&self, input: RecallInput) -> Result<Recalled, Failure> {
        let (manifest, _) = self.registry.manifest(&input.version).await?;
        let shards = self.registry.dataset(&manifest.dataset).await?.shards.len() as u32;
        let input = TrainInput {
            dataset: manifest.dataset,
            trainer: manifest.trainer,
            preset: manifest.preset,
            seed: manifest.seed,
            operation: manifest.operation,
            sample: manifest.sample,
            counts: Vec::new(),
        };
        Ok(Recalled { input, shards, artifact: manifest.artifact, code_version: manifest.code_version })
    }

    async fn verify_rollback(&self, input: FindRollbackInput) -> Result<FoundRollback, Failure> {
        let (version, generation) = self.registry.rollback_target(input.to.as_ref()).await?;
        let loaded = self.registry.load(&version).await?;
        let is_sound = compute(move || Ok(gate::ranks_golden_examples(&loaded.model))).await?;
        if is_sound { Ok(FoundRollback { version, generation }) } else { Err(Failure::GoldenExamples(version)) }
    }
}

#[activities]
impl Activities {
    /// Finds or makes the dataset.
    #[activity(definition = signatures::Ingest)]
    pub async fn ingest(self: Arc<Self>, ctx: ActivityContext, input: IngestInput) -> Result<Ingested, ActivityError> {
        alive(&ctx, self.in_turn(self.find_dataset(input))).await
    }

    /// Finds the rows of some commenters in some shards.
    #[activity(definition = signatures::SampleShards)]
    pub async fn sample_shards(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: SampleInput,
    ) -> Result<Sampled, ActivityError> {
        alive(&ctx, self.in_turn(self.sample(input))).await
    }

    /// Makes a dataset of sampled rows.
    #[activity(definition = signatures::GatherSample)]
    pub async fn gather_sample(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: GatherInput,
    ) -> Result<Gathered, ActivityError> {
        alive(&ctx, self.in_turn(self.gather(input))).await
    }

    /// Counts the features of some shards' training rows.
    #[activity(definition = signatures::CountShards)]
    pub async fn count_shards(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CountInput,
    ) -> Result<Counted, ActivityError> {
        alive(&ctx, self.in_turn(self.count(input))).await
    }

    /// Adds the counts of different shards.
    #[activity(definition = signatures::MergeCounts)]
    pub async fn merge_counts(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: MergeInput,
    ) -> Result<Counted, ActivityError> {
        alive(&ctx, self.in_turn(self.merge(input))).await
    }

    /// Trains one trainer on the training rows and stores the artifact.
    #[activity(definition = signatures::Train)]
    pub async fn train(self: Arc<Self>, ctx: ActivityContext, input: TrainInput) -> Result<Trained, ActivityError> {
        alive(&ctx, self.in_turn(self.fit(input))).await
    }

    /// Judges a stored artifact on the held-out rows.
    #[activity(definition = signatures::Evaluate)]
    pub async fn evaluate(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: EvaluateInput,
    ) -> Result<Evaluated, ActivityError> {
        alive(&ctx, self.in_turn(self.judge_artifact(input))).await
    }

    /// Writes a version's manifest.
    #[activity(definition = signatures::Register)]
    pub async fn register(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: RegisterInput,
    ) -> Result<Registered, ActivityError> {
        alive(&ctx, self.write_manifest(input)).await
    }

    /// Holds a version against the checks and against production.
    #[activity(definition = signatures::Gate)]
    pub async fn gate(self: Arc<Self>, ctx: ActivityContext, input: GateInput) -> Result<Gated, ActivityError> {
        alive(&ctx, self.hold_against_checks(input)).await
    }

    /// Writes the next generation.
    #[activity(definition = signatures::Promote)]
    pub async fn promote(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PromoteInput,
    ) -> Result<Promoted, ActivityError> {
        alive(&ctx, self.write_generation(input)).await
    }

    /// Waits until every replica of the service serves a generation, for a bounded time.
    #[activity(definition = signatures::AwaitReplicas)]
    pub async fn await_replicas(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: AwaitInput,
    ) -> Result<Replicas, ActivityError> {
        alive(&ctx, self.watch_replicas(input)).await
    }

    /// Deletes what nothing needs.
    #[activity(definition = signatures::Prune)]
    pub async fn prune(self: Arc<Self>, ctx: ActivityContext, input: PruneInput) -> Result<Pruned, ActivityError> {
        alive(&ctx, self.delete_what_nothing_needs(input, ctx.client())).await
    }

    /// Reads how a version was trained.
    #[activity(definition = signatures::Recall)]
    pub async fn recall(self: Arc<Self>, ctx: ActivityContext, input: RecallInput) -> Result<Recalled, ActivityError> {
        alive(&ctx, self.read_how_it_was_trained(input)).await
    }

    /// Finds and verifies the version to go back to.
    #[activity(definition = signatures::FindRollback)]
    pub async fn find_rollback(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: FindRollbackInput,
    ) -> Result<FoundRollback, ActivityError> {
        alive(&ctx, self.verify_rollback(input)).await
    }
}

/// How fast a model scores rows, a tenth of a second long at the most.
fn sentences_per_second(model: &model::Model, rows: &[Row]) -> f64 {
    let (started, mut scratch, mut scored) = (Instant::now(), Scratch::default(), 0_u32);
    for row in rows.iter().cycle() {
        std::hint::black_box(model.score(&row.text, &mut scratch));
        scored += 1;
        if scored.is_multiple_of(64) && started.elapsed() > MEASURE {
            break;
        }
    }
    f64::from(scored) / started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
}

fn now_millis() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as i64)
}
