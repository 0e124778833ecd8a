//! Observes the system during the soak: facts seen once must stay true, and every observation must pass the checks.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use model::Digest;
use registry::{Error, Key};

use crate::{
    plan::Clock,
    say,
    stack::{Part, Stack},
    verdicts::Wrong,
};

/// The time from one look to the next.
const LOOK: Duration = Duration::from_secs(2);
/// The time from one check of the whole registry to the next.
const CHECK: Duration = Duration::from_secs(10);
/// The time from one line about the progress to the next.
const TOLD: Duration = Duration::from_mins(10);
/// Tries of a check. A promotion of a new version during a try looks like a problem, but not in the next try.
const TRIES: usize = 3;

/// The observations.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Every manifest and record, with its digest when it was first seen.
    pub(crate) objects: BTreeMap<String, Digest>,
    /// I10: a generation that came after a later one.
    pub(crate) fallen: Wrong,
    /// The number of looks at replicas and store.
    pub(crate) looks: u64,
    /// I11: the number of checks of the whole registry between the kills.
    pub(crate) checks: u64,
    /// The number of checks that failed because the store was away.
    pub(crate) unchecked: u64,
    pub(crate) problems: Vec<String>,
    /// How often the second API ended by itself.
    pub(crate) deaths: u64,
}

/// Observes until the time is over.
pub(crate) fn run(stack: &Stack, clock: Clock) -> Seen {
    let mut seen = Seen::default();
    // By port and process: a replica that was killed while the store was away may start with an older model.
    let mut newest: BTreeMap<(u16, Option<u32>), u64> = BTreeMap::new();
    let (mut in_store, mut last_check, mut last_told) = (0, Instant::now(), Instant::now());
    while clock.sleep(LOOK) {
        for (port, part) in stack.apis.into_iter().zip([Part::Api, Part::Replica]) {
            let (before, serves, after) = (stack.pid(part), Stack::serves(port), stack.pid(part));
            if let Some(generation) = serves.filter(|_| before == after) {
                let known = newest.entry((port, before)).or_default();
                seen.notice_fall(&format!("the API at {port}"), *known, generation);
                *known = generation.max(*known);
            }
        }
        if let Ok(Some(production)) = stack.runtime.block_on(stack.registry.production()) {
            let generation = production.record.generation.0;
            seen.notice_fall("the store", in_store, generation);
            in_store = generation.max(in_store);
        }
        seen.looks += 1;
        if stack.replica_died() {
            seen.deaths += 1;
            stack.start_replica();
        }
        stack.runtime.block_on(seen.remember(stack));
        if last_check.elapsed() >= CHECK {
            stack.runtime.block_on(seen.check(stack));
            last_check = Instant::now();
        }
        if last_told.elapsed() >= TOLD {
            let (minutes, problems) = (clock.elapsed().as_secs() / 60, seen.problems.len());
            say(&format!(
                "soak: {minutes} minutes, generation {in_store}, {} checks, {problems} problems",
                seen.checks
            ));
            last_told = Instant::now();
        }
    }
    seen
}

impl Seen {
    fn notice_fall(&mut self, who: &str, before: u64, now: u64) {
        if now < before {
            self.fallen.add(|| format!("{who} reported generation {now} after {before}"));
        }
    }

    /// Reads manifests and records that are new.
    async fn remember(&mut self, stack: &Stack) {
        for prefix in [Key::MODELS, Key::HISTORY] {
            let Ok(paths) = stack.store.list(prefix).await else { return };
            for path in paths {
                if self.objects.contains_key(&path) {
                    continue;
                }
                let Ok(Some(bytes)) = stack.store.get(&path).await else { continue };
                self.objects.insert(path, Digest::of(&bytes));
            }
        }
    }

    /// Checks I1 to I4 now, also directly after a kill.
    async fn check(&mut self, stack: &Stack) {
        let mut problems = Vec::new();
        for _ in 0..TRIES {
            match stack.registry.verify().await {
                Ok(found) => problems = found.problems,
                Err(error) => {
                    self.unchecked += u64::from(error.is_transient());
                    self.problems.extend((!error.is_transient()).then(|| words(&error)));
                    return;
                }
            }
            if problems.is_empty() {
                break;
            }
        }
        self.checks += 1;
        self.problems.extend(problems);
    }

    /// I5: objects whose bytes have changed since they were first seen. Manifests that retention deleted may be gone.
    pub(crate) async fn changed(&self, stack: &Stack, deleted: &[String]) -> Vec<String> {
        let mut changed = Vec::new();
        for (path, digest) in &self.objects {
            match stack.store.get(path).await.unwrap() {
                Some(bytes) if Digest::of(&bytes) == *digest => {}
                Some(_) => changed.push(format!("{path} has other bytes than at first")),
                None if Key::version_of(path).is_some_and(|version| deleted.contains(&version.to_string())) => {}
                None => changed.push(format!("{path} was there and is gone")),
            }
        }
        changed
    }
}

fn words(error: &Error) -> String {
    format!("the registry cannot be checked: {error}")
}
