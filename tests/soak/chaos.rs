//! Kills parts at random, without warning.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    plan::{Bag, Clock, Plan, between},
    stack::{Part, Stack},
};

/// The time from one kill to the next.
const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));
/// The same in a soak of less than two minutes.
const SHORT_PAUSE: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(8));
/// A supervisor starts a part again after this time at the earliest.
const RESTART: Duration = Duration::from_secs(1);

/// The killed parts, and how long each was away. `None` if the next kill came first.
#[derive(Debug, Default)]
pub(crate) struct Strikes(pub(crate) BTreeMap<Part, Vec<Option<Duration>>>);

impl Strikes {
    pub(crate) fn of(&self, part: Part) -> usize {
        self.0.get(&part).map_or(0, Vec::len)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// How long a part was away: the median and the longest time.
    pub(crate) fn missed(&self, part: Part) -> Option<(Duration, Duration)> {
        let mut times: Vec<Duration> = self.0.get(&part)?.iter().copied().flatten().collect();
        times.sort_unstable();
        Some((*times.get(times.len() / 2)?, *times.last()?))
    }
}

/// Kills until the time is over.
pub(crate) fn run(stack: &Stack, plan: &Plan, clock: Clock) -> Strikes {
    let mut chance = plan.chance("chaos");
    let (least, most) = if plan.length < Duration::from_mins(2) { SHORT_PAUSE } else { PAUSE };
    let mut bag = Bag::new(&Part::ALL);
    let mut strikes = Strikes::default();
    clock.sleep(least);
    while !clock.is_over() {
        let part = bag.draw(&mut chance);
        if !may_be_killed(stack, plan, clock, part) || !stack.kill(part) {
            clock.sleep(RESTART);
            continue;
        }
        let killed = Instant::now();
        let next = between(&mut chance, least, most);
        if part == Part::Replica {
            std::thread::sleep(RESTART);
            stack.start_replica();
        }
        let mut missed = None;
        while killed.elapsed() < next && !clock.is_over() {
            if missed.is_none() && killed.elapsed() >= RESTART && stack.is_well(part) {
                missed = Some(killed.elapsed());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        strikes.0.entry(part).or_default().push(missed);
    }
    strikes
}

/// Whether a part may be killed now.
///
/// Both APIs are never killed at once: behind a load balancer, one is enough. In the last third of a long soak, the
/// worker and the second API are not killed, so that leaks have time to show.
fn may_be_killed(stack: &Stack, plan: &Plan, clock: Clock, part: Part) -> bool {
    match part {
        Part::Worker if plan.is_long() => !clock.is_last_third(),
        Part::Worker | Part::Temporal | Part::Store => true,
        Part::Api => stack.is_well(Part::Replica),
        Part::Replica => stack.is_well(Part::Api) && !(plan.is_long() && clock.is_last_third()),
    }
}
