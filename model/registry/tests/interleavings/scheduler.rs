//! Tries every order in which actors can work on one store.
//!
//! An actor is a future with its own registry. Each of its operations on the store waits until it is released, so
//! between two operations there is a choice: which actor continues, whether a day passes, an actor dies, or a reply is
//! lost. A depth-first search makes every sequence of choices. It stops at a state that it has seen. A state is the
//! store's objects, the clock, and all answers that each actor got: an actor's next step depends on nothing else.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test may panic; a module of tests is shared")]

use std::{
    collections::{BTreeMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
};

use async_trait::async_trait;
use bytes::Bytes;
use registry::{Created, Entry, Key, MemoryStore, Registry, Store, StoreError};

pub const DAY: i64 = 24 * 3600 * 1000;

type Work = Pin<Box<dyn Future<Output = Told>>>;

/// A process that works on the store.
pub struct Actor {
    /// Prefixes of all names that it creates or deletes.
    ///
    /// Reads of objects that no other actor writes do not wait.
    writes: &'static [&'static str],
    /// What it does, with a registry and its store. Returns its last answer.
    work: Box<dyn Fn(Registry, Arc<dyn Store>) -> Work>,
}

impl Actor {
    pub fn new<F: Future<Output = Told> + 'static>(
        writes: &'static [&'static str],
        work: impl Fn(Registry, Arc<dyn Store>) -> F + 'static,
    ) -> Self {
        Self { writes, work: Box::new(move |registry, store| Box::pin(work(registry, store))) }
    }
}

/// An actor's last answer, in words that the scenario's check knows.
pub type Told = Result<String, String>;

/// Several actors on a prepared store.
#[derive(Default)]
pub struct Scenario {
    pub name: &'static str,
    /// Name, bytes, when written.
    pub objects: Vec<(String, Bytes, i64)>,
    pub starts_at: i64,
    pub actors: Vec<Actor>,
    /// How many days may pass.
    pub days: usize,
    /// How many actors may die.
    pub deaths: usize,
    /// How many replies may be lost.
    pub losses: usize,
    /// How many deletions may take effect after their deleter got an error.
    pub late: usize,
    /// Actors that, once begun, end before a day passes.
    pub brisk: &'static [usize],
}

/// The end of one order of operations.
pub struct Ending {
    pub store: Arc<MemoryStore>,
    /// The answers; `None` for an actor that died.
    pub told: Vec<Option<Told>>,
    pub order: Vec<Choice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// The actor's next operation is done.
    Go(usize),
    /// It is done, but the actor gets an error.
    LoseReply(usize),
    /// A day passes. Waiting writes fail, because no client waits for a day.
    Day,
    /// The actor dies.
    Die(usize),
    /// The actor's next operation, a deletion, is delayed, and the actor gets an error.
    Delay(usize),
    /// The first delayed deletion takes effect. After a day the store would refuse it.
    Arrive,
}

/// What the search did.
#[derive(Debug, Default)]
pub struct Explored {
    pub orders: usize,
    pub states: usize,
    pub endings: usize,
}

/// Tries every order and calls `check` with each ending.
pub fn explore(scenario: &Scenario, mut check: impl FnMut(&Ending)) -> Explored {
    let mut explored = Explored::default();
    let mut seen = HashSet::new();
    let mut prefixes = vec![Vec::new()];
    while let Some(prefix) = prefixes.pop() {
        explored.orders += 1;
        let mut run = Run::new(scenario);
        for choice in &prefix {
            run.choose(*choice);
        }
        loop {
            if !seen.insert(run.state()) {
                break;
            }
            let mut choices = run.choices().into_iter();
            let Some(first) = choices.next() else {
                explored.endings += 1;
                check(&run.ending());
                break;
            };
            prefixes.extend(choices.map(|choice| [&run.order[..], &[choice]].concat()));
            run.choose(first);
        }
    }
    explored.states = seen.len();
    explored
}

/// One order, as far as it is done.
struct Run<'a> {
    scenario: &'a Scenario,
    store: Arc<MemoryStore>,
    board: Arc<Mutex<Board>>,
    actors: Vec<Option<Work>>,
    told: Vec<Option<Told>>,
    order: Vec<Choice>,
    clock: i64,
}

/// The waiting operations, and what the actors have seen.
#[derive(Debug, Default)]
struct Board {
    waiting: BTreeMap<(usize, u64), Waiting>,
    tickets: u64,
    /// Delayed deletions, by name.
    late: Vec<String>,
    /// For each actor, a hash of all answers that it got.
    seen: BTreeMap<usize, DefaultHasher>,
    /// The names under which each actor announced deletions, numbered in order.
    deleters: BTreeMap<(usize, String), usize>,
}

#[derive(Debug)]
struct Waiting {
    is_write: bool,
    /// The name, if it is a deletion.
    deletes: Option<String>,
    is_shared: bool,
    fate: Option<Fate>,
    waker: Waker,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Done,
    LostReply,
    Failed,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let store = Arc::new(MemoryStore::default());
        for (name, bytes, written) in &scenario.objects {
            store.set_clock(*written);
            now(store.create(name, bytes.clone())).unwrap();
        }
        store.set_clock(scenario.starts_at);
        let board = Arc::new(Mutex::new(Board::default()));
        let start = |(number, actor): (usize, &Actor)| {
            let others = scenario.actors.iter().enumerate().filter(|(other, _)| *other != number);
            let written_by_others = others.flat_map(|(_, other)| other.writes).copied().collect();
            let (inner, board) = (Arc::clone(&store), Arc::clone(&board));
            let stepped = Stepped { actor: number, inner, board, writes: actor.writes, written_by_others };
            let stepped: Arc<dyn Store> = Arc::new(stepped);
            Some((actor.work)(Registry::new(Arc::clone(&stepped)), stepped))
        };
        let actors: Vec<_> = scenario.actors.iter().enumerate().map(start).collect();
        let told = actors.iter().map(|_| None).collect();
        let clock = scenario.starts_at;
        let mut run = Self { scenario, store, board, actors, told, order: Vec::new(), clock };
        run.settle();
        run
    }

    /// Runs every actor until it ends or waits for an operation that matters to others.
    fn settle(&mut self) {
        struct Nobody;
        impl Wake for Nobody {
            fn wake(self: Arc<Self>) {}
        }
        let waker = Waker::from(Arc::new(Nobody));
        for number in 0..self.actors.len() {
            while let Some(actor) = &mut self.actors[number] {
                if let Poll::Ready(told) = actor.as_mut().poll(&mut Context::from_waker(&waker)) {
                    self.actors[number] = None;
                    self.told[number] = Some(told);
                    break;
                }
                let mut board = self.board.lock().unwrap();
                let private = board.waiting.iter_mut().find(|((actor, _), w)| *actor == number && !w.is_shared);
                let Some((_, waiting)) = private else { break };
                waiting.fate = Some(Fate::Done);
                waiting.waker.wake_by_ref();
            }
        }
    }

    fn choices(&self) -> Vec<Choice> {
        let count = |is: fn(&Choice) -> bool| self.order.iter().filter(|choice| is(choice)).count();
        let alive: Vec<usize> = (0..self.actors.len()).filter(|&number| self.actors[number].is_some()).collect();
        let mut choices: Vec<Choice> = alive.iter().map(|&number| Choice::Go(number)).collect();
        let is_midway = |number: &usize| self.scenario.brisk.contains(number) && self.has_begun(*number);
        if !alive.is_empty() && count(|c| *c == Choice::Day) < self.scenario.days && !alive.iter().any(is_midway) {
            choices.push(Choice::Day);
        }
        if count(|c| matches!(c, Choice::Die(_))) < self.scenario.deaths {
            choices.extend(alive.iter().map(|&number| Choice::Die(number)));
        }
        if count(|c| matches!(c, Choice::LoseReply(_))) < self.scenario.losses {
            let board = self.board.lock().unwrap();
            let next_is_write = |number: &usize| board.next(*number).is_some_and(|(_, waiting)| waiting.is_write);
            choices.extend(alive.iter().copied().filter(next_is_write).map(Choice::LoseReply));
        }
        let board = self.board.lock().unwrap();
        if count(|c| matches!(c, Choice::Delay(_))) < self.scenario.late {
            let next_deletes =
                |number: &usize| board.next(*number).is_some_and(|(_, waiting)| waiting.deletes.is_some());
            choices.extend(alive.iter().copied().filter(next_deletes).map(Choice::Delay));
        }
        if !board.late.is_empty() {
            choices.push(Choice::Arrive);
        }
        choices
    }

    fn has_begun(&self, number: usize) -> bool {
        self.order
            .iter()
            .any(|choice| matches!(choice, Choice::Go(n) | Choice::LoseReply(n) | Choice::Delay(n) if *n == number))
    }

    fn choose(&mut self, choice: Choice) {
        self.order.push(choice);
        match choice {
            Choice::Go(number) => self.board.lock().unwrap().let_go(number, Fate::Done),
            Choice::LoseReply(number) => self.board.lock().unwrap().let_go(number, Fate::LostReply),
            Choice::Delay(number) => {
                let mut board = self.board.lock().unwrap();
                let name = board.next(number).unwrap().1.deletes.clone().unwrap();
                board.late.push(name);
                board.let_go(number, Fate::Failed);
            }
            Choice::Arrive => {
                let name = self.board.lock().unwrap().late.remove(0);
                now(self.store.delete(&name)).unwrap();
            }
            Choice::Die(number) => {
                self.actors[number] = None;
                self.board.lock().unwrap().waiting.retain(|(actor, _), _| *actor != number);
            }
            Choice::Day => {
                self.clock += DAY;
                self.store.set_clock(self.clock);
                self.board.lock().unwrap().late.clear();
                for waiting in self.board.lock().unwrap().waiting.values_mut().filter(|w| w.is_write) {
                    waiting.fate = Some(Fate::Failed);
                    waiting.waker.wake_by_ref();
                }
            }
        }
        self.settle();
    }

    /// A hash of everything that the rest of an order can depend on.
    fn state(&self) -> u64 {
        let mut state = DefaultHasher::new();
        self.clock.hash(&mut state);
        for entry in now(self.store.entries("")).unwrap() {
            (entry.name, entry.written, entry.bytes).hash(&mut state);
        }
        let board = self.board.lock().unwrap();
        for number in 0..self.actors.len() {
            (self.actors[number].is_some(), self.has_begun(number), &self.told[number]).hash(&mut state);
            board.seen.get(&number).map(Hasher::finish).hash(&mut state);
        }
        // What may still happen.
        board.late.hash(&mut state);
        for kind in [Choice::Day, Choice::Die(0), Choice::LoseReply(0), Choice::Delay(0)] {
            let is_kind = |choice: &&Choice| std::mem::discriminant(*choice) == std::mem::discriminant(&kind);
            self.order.iter().filter(is_kind).count().hash(&mut state);
        }
        state.finish()
    }

    fn ending(&self) -> Ending {
        Ending { store: Arc::clone(&self.store), told: self.told.clone(), order: self.order.clone() }
    }
}

impl Board {
    /// An actor's operations are released in the order in which it began them.
    fn next(&self, number: usize) -> Option<(&(usize, u64), &Waiting)> {
        self.waiting.range((number, 0)..(number + 1, 0)).next()
    }

    fn let_go(&mut self, number: usize, fate: Fate) {
        let ticket = *self.next(number).expect("an actor that lives waits for an operation").0;
        let waiting = self.waiting.get_mut(&ticket).unwrap();
        waiting.fate = Some(fate);
        waiting.waker.wake_by_ref();
    }
}

/// Runs a future that waits for nothing, and returns its result.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    // Streams of many futures yield now and then, although nothing waits.
    for _ in 0..1000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
    panic!("memory makes nobody wait")
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Read,
    Create,
    Delete,
}

/// One actor's view of the store.
#[derive(Debug)]
struct Stepped {
    actor: usize,
    inner: Arc<MemoryStore>,
    board: Arc<Mutex<Board>>,
    writes: &'static [&'static str],
    written_by_others: Vec<&'static str>,
}

impl Stepped {
    async fn step<T: Hash + Clone>(
        &self,
        operation: Operation,
        name: &str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let is_write = operation != Operation::Read;
        let deletes = (operation == Operation::Delete).then(|| name.to_owned());
        let is_in =
            |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix) || prefix.starts_with(name));
        assert!(!is_write || is_in(self.writes), "{name} is written, and the actor does not say so");
        // A record never changes: it does not matter when it is read.
        let is_record = name.starts_with(Key::HISTORY) && name != Key::HISTORY;
        let may_change = is_in(&self.written_by_others) && (!is_record || now(self.inner.get(name))?.is_none());
        let is_shared = is_write || may_change;
        let mut ticket = None;
        let turn = std::future::poll_fn(|context| {
            let mut board = self.board.lock().unwrap();
            let Some(ticket) = ticket else {
                board.tickets += 1;
                let key = (self.actor, board.tickets);
                let waker = context.waker().clone();
                board.waiting.insert(key, Waiting { is_write, deletes: deletes.clone(), is_shared, fate: None, waker });
                ticket = Some(key);
                return Poll::Pending;
            };
            let waiting = board.waiting.get_mut(&ticket).unwrap();
            waiting.waker.clone_from(context.waker());
            match waiting.fate {
                Some(fate) => {
                    board.waiting.remove(&ticket);
                    Poll::Ready(fate)
                }
                None => Poll::Pending,
            }
        });
        let fate = turn.await;
        let failed = || StoreError {
            operation: "write",
            name: name.to_owned(),
            reason: "injected".to_owned(),
            is_transient: true,
            source: None,
        };
        let result = match fate {
            Fate::Done => work.await,
            Fate::LostReply => work.await.and_then(|_| Err(failed())),
            Fate::Failed => Err(failed()),
        };
        let mut board = self.board.lock().unwrap();
        let seen = board.seen.entry(self.actor).or_default();
        (name, result.as_ref().ok()).hash(seen);
        self.inner.now().hash(seen);
        result
    }

    /// A deleter's name is random.
    ///
    /// Here it is replaced by the actor's number and a counter.
    fn known(&self, name: &str) -> String {
        let Some((path, deleter)) = name.strip_prefix(Key::ANNOUNCEMENTS).and_then(|rest| rest.rsplit_once('/')) else {
            return name.to_owned();
        };
        // It is a prefix, or a name that was made here and read back.
        if deleter.is_empty() || deleter.contains('-') {
            return name.to_owned();
        }
        let mut board = self.board.lock().unwrap();
        let before = board.deleters.keys().filter(|(actor, _)| *actor == self.actor).count();
        let number = *board.deleters.entry((self.actor, deleter.to_owned())).or_insert(before);
        Key::Deleting(path, &format!("{}-{number}", self.actor)).path()
    }
}

#[async_trait]
impl Store for Stepped {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.step(Operation::Read, name, self.inner.get(name)).await
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        let name = self.known(name);
        let work = async { Ok(self.inner.create(&name, body).await? == Created::New) };
        let is_new = self.step(Operation::Create, &name, work).await?;
        Ok(if is_new { Created::New } else { Created::Exists })
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let work = async {
            let entries = self.inner.entries(prefix).await?.into_iter();
            Ok(entries.map(|entry| (entry.name, entry.written, entry.bytes)).collect::<Vec<_>>())
        };
        let entries = self.step(Operation::Read, prefix, work).await?.into_iter();
        Ok(entries.map(|(name, written, bytes)| Entry { name, written, bytes }).collect())
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let name = self.known(name);
        self.step(Operation::Delete, &name, self.inner.delete(&name)).await
    }

    async fn refuses_a_wrong_checksum(&self, _: &str) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn now(&self) -> i64 {
        self.inner.now()
    }
}
