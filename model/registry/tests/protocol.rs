//! The promotion protocol on a store with faults.
//!
//! The store loses replies, refuses, repeats, and lets promoters die between steps. In every case the history must have
//! each generation once and without a gap, and each must come from a requested promotion. A promotion that was reported
//! as done must be in the history.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{TEMPLATE, input, manifest, version};
use futures_util::future::join_all;
use model::{
    Generation, Version,
    protocol::{PromoteInput, PruneInput},
    random::SplitMix,
};
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use registry::{Created, Entry, Error, Key, MemoryStore, Promotion, Registry, Store, StoreError};

/// What happens to one operation on the store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It works.
    Fine,
    /// It works, but the caller gets an error.
    LostReply,
    /// It does not work.
    Refused,
    /// A retry below the caller: it is done twice, and the second answer counts.
    Repeated,
    /// The caller dies.
    Death,
}

/// A store whose operations fail by a seed, with operations of others in between.
#[derive(Debug)]
struct FaultyStore {
    inner: Arc<MemoryStore>,
    random: Mutex<SplitMix>,
    /// How many of a hundred operations fail.
    faults: usize,
    may_die: bool,
    is_dead: AtomicBool,
}

impl FaultyStore {
    fn new(inner: &Arc<MemoryStore>, seed: u64, faults: usize, may_die: bool) -> Self {
        let random = Mutex::new(SplitMix(seed));
        Self { inner: Arc::clone(inner), random, faults, may_die, is_dead: AtomicBool::new(false) }
    }

    /// Lets others run first, a random number of times. Returns the fate of this operation.
    async fn fate(&self) -> Fate {
        let (pauses, fate) = {
            let mut random = self.random.lock().unwrap();
            let fate = match random.below(100) {
                n if n >= self.faults => Fate::Fine,
                n => match n % 4 {
                    0 => Fate::LostReply,
                    1 => Fate::Refused,
                    2 => Fate::Repeated,
                    _ if self.may_die => Fate::Death,
                    _ => Fate::Refused,
                },
            };
            (random.below(4), fate)
        };
        for _ in 0..pauses {
            tokio::task::yield_now().await;
        }
        if fate == Fate::Death {
            self.is_dead.store(true, Ordering::Relaxed);
        }
        if self.is_dead.load(Ordering::Relaxed) { Fate::Death } else { fate }
    }
}

fn failure(operation: &'static str, name: &str) -> StoreError {
    StoreError { operation, name: name.to_owned(), reason: "injected".to_owned(), is_transient: true, source: None }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        match self.fate().await {
            Fate::Fine | Fate::Repeated => self.inner.get(name).await,
            _ => Err(failure("read", name)),
        }
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        match self.fate().await {
            Fate::Fine => self.inner.create(name, body).await,
            Fate::Repeated => {
                self.inner.create(name, body.clone()).await?;
                self.inner.create(name, body).await
            }
            Fate::LostReply => {
                self.inner.create(name, body).await?;
                Err(failure("write", name))
            }
            Fate::Refused => Err(failure("write", name)),
            Fate::Death => {
                // Whether its last operation was done is random.
                if self.random.lock().unwrap().below(2) == 0 {
                    self.inner.create(name, body).await?;
                }
                Err(failure("write", name))
            }
        }
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        match self.fate().await {
            Fate::Fine | Fate::Repeated => self.inner.entries(prefix).await,
            _ => Err(failure("list", prefix)),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        match self.fate().await {
            Fate::Fine | Fate::Repeated => self.inner.delete(name).await,
            Fate::LostReply => {
                self.inner.delete(name).await?;
                Err(failure("delete", name))
            }
            _ => Err(failure("delete", name)),
        }
    }

    async fn refuses_a_wrong_checksum(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.refuses_a_wrong_checksum(name).await
    }

    fn now(&self) -> i64 {
        self.inner.now()
    }
}

/// Registers a version as a worker does: again until it succeeds.
async fn register(registry: &Registry, number: usize) {
    let (bytes, manifest) = (&TEMPLATE.0, manifest(number));
    for _ in 0..200 {
        if registry.put_artifact(bytes.clone()).await.is_ok() && registry.register(&manifest).await.is_ok() {
            return;
        }
    }
    panic!("two hundred tries failed");
}

/// The last answer to a promoter; `None` if it died first.
type Told = Option<Result<(Generation, bool), Error>>;

/// Promotes as a worker does: again after each transient error, with the same change id.
async fn promote(registry: Registry, input: PromoteInput, tries: usize) -> Told {
    for _ in 0..tries {
        match registry.promote(&input, 0).await {
            Err(error) if error.is_transient() => {}
            Err(error) => return Some(Err(error)),
            Ok(promoted) => return Some(Ok((promoted.generation, promoted.is_new))),
        }
    }
    None
}

/// The store without faults, and what must stay true of it.
struct World {
    store: Arc<MemoryStore>,
    truth: Registry,
    /// Every object of history and manifests as it was first seen.
    seen: BTreeMap<String, Bytes>,
    asked: BTreeSet<String>,
    told_new: BTreeMap<String, Generation>,
}

impl World {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        let truth = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        Self { store, truth, seen: BTreeMap::new(), asked: BTreeSet::new(), told_new: BTreeMap::new() }
    }

    fn through(&self, seed: u64, faults: usize, may_die: bool) -> Registry {
        Registry::new(Arc::new(FaultyStore::new(&self.store, seed, faults, may_die)))
    }

    async fn history(&self) -> Vec<Promotion> {
        self.truth.history().await.unwrap()
    }

    /// The invariants, after any prefix of what happened.
    async fn check(&mut self) {
        // The version in production loads; the chain is intact; generations have no gap.
        let found = self.truth.verify().await.unwrap();
        assert_eq!(found.problems, Vec::<String>::new());
        let history = self.history().await;
        assert_eq!(found.generations, history.len() as u64);
        // No object that was seen has changed.
        for prefix in [Key::HISTORY, Key::MODELS] {
            for name in self.store.list(prefix).await.unwrap() {
                let bytes = self.store.get(&name).await.unwrap().unwrap();
                assert_eq!(self.seen.entry(name.clone()).or_insert_with(|| bytes.clone()), &bytes, "{name}");
            }
        }
        // Every generation comes from one requested promotion. Every reported success is in the history.
        let made: BTreeMap<&str, Generation> =
            history.iter().map(|p| (p.record.change_id.as_str(), p.record.generation)).collect();
        assert_eq!(made.len(), history.len(), "a promotion made two generations");
        assert!(made.keys().all(|change| self.asked.contains(*change)));
        for (change, generation) in &self.told_new {
            assert_eq!(made.get(change.as_str()), Some(generation), "{change} was told of {generation}");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Several promoters of different versions at once. All expect the current generation, or none does.
    Race { promoters: usize, expect: bool, may_die: bool },
    /// A rollback to the version before.
    RollBack,
    /// The same run registers its version again.
    RegisterAgain { number: usize },
    /// Retention, a week later.
    Prune { keep: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let race = (1_usize..=6, any::<bool>(), any::<bool>()).prop_map(|(promoters, expect, may_die)| Step::Race {
        promoters,
        expect,
        may_die,
    });
    let step = prop_oneof![
        4 => race,
        1 => Just(Step::RollBack),
        1 => (0_usize..6).prop_map(|number| Step::RegisterAgain { number }),
        1 => (1_u32..4).prop_map(|keep| Step::Prune { keep }),
    ];
    proptest::collection::vec(step, 1..8)
}

/// Tries of a promoter that does not die.
///
/// A try needs about forty operations without a fault.
const PATIENCE: usize = 50_000;
const HOUR: i64 = 3600 * 1000;
const WEEK: i64 = 7 * 24 * HOUR;

async fn run(steps: Vec<Step>, seed: u64, faults: usize) {
    let mut world = World::new();
    let mut random = SplitMix(seed);
    let mut now = 0;
    for number in 0..6 {
        register(&world.through(random.draw(), faults, false), number).await;
    }
    world.check().await;
    for (at, step) in steps.into_iter().enumerate() {
        match step {
            Step::Race { promoters, expect, may_die } => {
                race(&mut world, &mut random, Contest { at, promoters, expect, faults, may_die, now }).await;
            }
            Step::RollBack => {
                let before = world.history().await;
                let registry = world.through(random.draw(), faults, false);
                let target = loop {
                    match registry.rollback_target(None).await {
                        Err(error) if error.is_transient() => {}
                        target => break target,
                    }
                };
                let Ok((target, generation)) = target else { continue };
                let change = format!("rollback {at}");
                world.asked.insert(change.clone());
                let told = promote(registry, input(target.clone(), change.clone(), Some(generation)), PATIENCE).await;
                let (made, is_new) = told.unwrap().unwrap();
                assert!(is_new && made == generation.next());
                world.told_new.insert(change, made);
                let earlier = before
                    .iter()
                    .rev()
                    .map(|p| &p.record.version)
                    .find(|v| **v != before.last().unwrap().record.version);
                assert_eq!(Some(&target), earlier, "back is the version before");
            }
            Step::RegisterAgain { number } => register(&world.through(random.draw(), faults, false), number).await,
            Step::Prune { keep } => {
                now += WEEK;
                world.store.set_clock(now);
                let registry = world.through(random.draw(), faults, false);
                let request = PruneInput { keep, ..PruneInput::default() };
                while registry.prune(&request, now).await.is_err() {}
                let promoted: BTreeSet<Version> =
                    world.history().await.into_iter().map(|promotion| promotion.record.version).collect();
                for version in &promoted {
                    assert!(world.truth.load(version).await.is_ok(), "{version} is named by the history");
                }
            }
        }
        world.check().await;
        // Announcements of a retention run that died an hour ago are ignored.
        now += HOUR;
        world.store.set_clock(now);
        // Deleted objects may be made again, with the same names and bytes.
        for number in 0..6 {
            register(&world.truth, number).await;
        }
    }
}

/// The settings of a race.
struct Contest {
    at: usize,
    promoters: usize,
    /// Whether all promoters expect the newest generation; else none expects any.
    expect: bool,
    faults: usize,
    may_die: bool,
    now: i64,
}

async fn race(world: &mut World, random: &mut SplitMix, contest: Contest) {
    let Contest { at, promoters, expect, faults, may_die, now } = contest;
    let before = world.history().await;
    let newest = before.last().map_or(Generation(0), |promotion| promotion.record.generation);
    let live = before.last().map(|promotion| promotion.record.version.clone());
    let first = random.below(6);
    let runs = (0..promoters).map(|promoter| {
        let change = format!("step {at}, promoter {promoter}");
        world.asked.insert(change.clone());
        let version = version((first + promoter) % 6);
        let registry = world.through(random.draw(), faults, may_die);
        let tries = if may_die { 200 } else { PATIENCE };
        let input = input(version.clone(), change.clone(), expect.then_some(newest));
        async move { (change, version, promote(registry, input, tries).await) }
    });
    let runs: Vec<_> = runs.collect();
    // A reader polls meanwhile: it never sees an older generation than before.
    let done = AtomicBool::new(false);
    let reader = async {
        let mut last = Generation(0);
        while !done.load(Ordering::Relaxed) {
            let now = world.truth.production().await.unwrap().map_or(Generation(0), |p| p.record.generation);
            assert!(now >= last, "{now} after {last}");
            last = now;
            tokio::task::yield_now().await;
        }
    };
    let racing = async {
        let told = join_all(runs).await;
        done.store(true, Ordering::Relaxed);
        told
    };
    // Retention runs once at the same time, with the same faults.
    let keeper = world.through(random.draw(), faults, true);
    let request = PruneInput { keep: 1, ..PruneInput::default() };
    let (told, (), _) = tokio::join!(racing, reader, keeper.prune(&request, now));
    let after = world.history().await;
    let made = after.len() - before.len();
    let mut winners = 0;
    let mut deaths = 0;
    let mut retired = 0;
    for (change, version, told) in told {
        match told {
            Some(Ok((generation, true))) => {
                winners += 1;
                world.told_new.insert(change, generation);
            }
            // It was in production already: nothing had to be done.
            Some(Ok((generation, false))) => {
                assert_eq!(after[generation.0 as usize - 1].record.version, version, "{change}");
            }
            // Retention has marked it, or deleted it.
            Some(Err(Error::Retired(_) | Error::NotFound { .. })) => retired += 1,
            Some(Err(Error::Conflict { generation, .. })) => assert!(generation > newest || !expect),
            Some(Err(error)) => panic!("{change}: {error}"),
            None => deaths += 1,
        }
    }
    assert!(winners <= made && made <= winners + deaths, "{winners} winners, {deaths} deaths, {made} generations");
    if expect {
        assert!(made <= 1, "{made} of those who expected the same generation won");
        let somebody_could = live.is_none() || promoters > 1 || live != Some(version(first));
        assert!(made == 1 || deaths + retired > 0 || !somebody_could, "nobody won");
    }
}

/// Cases that failed before are tried first. `THREATWATCH_CASES=200000` runs the full test.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protocol.proptest-regressions");

fn config() -> ProptestConfig {
    let cases = std::env::var("THREATWATCH_CASES").map_or(128, |cases| cases.parse().unwrap());
    let failure_persistence = Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS)) as Box<_>);
    ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_history_is_whole_whatever_happens(steps in steps(), seed in any::<u64>(), faults in 0_usize..20) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps, seed, faults));
    }
}

/// The order of operations in which a stale mark once made the rollback fail.
#[test]
fn a_mark_that_comes_too_late_does_not_refuse_the_rollback() {
    let race = |promoters| Step::Race { promoters, expect: false, may_die: false };
    let steps = vec![Step::Prune { keep: 2 }, race(6), Step::RollBack, race(1), race(1), race(1)];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(run(steps, 3_107_967_960_500_342_514, 1));
}

/// Every write is repeated below the caller: each create answers "exists".
#[derive(Debug)]
struct Twice(Arc<MemoryStore>);
#[async_trait]
impl Store for Twice {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.0.get(name).await
    }
    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        self.0.create(name, body.clone()).await?;
        self.0.create(name, body).await
    }
    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.0.entries(prefix).await
    }
    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.0.delete(name).await
    }
    async fn refuses_a_wrong_checksum(&self, _: &str) -> Result<bool, StoreError> {
        Ok(true)
    }
}

/// A lost reply: the write succeeded, but a retry below us got "exists".
#[test]
fn a_promoter_recognises_its_own_record() {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        let mut world = World::new();
        register(&world.truth, 0).await;
        let registry = Registry::new(Arc::new(Twice(Arc::clone(&world.store))));
        world.asked.insert("c".to_owned());
        let promoted = registry.promote(&input(version(0), "c".to_owned(), None), 0).await.unwrap();
        assert_eq!((promoted.generation, promoted.is_new), (Generation(1), true));
        world.check().await;
    });
}
