//! The duration of a soak and the seed of its random choices.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::random::SplitMix;

/// The duration without a setting: short enough for `cargo test`.
const SHORT: Duration = Duration::from_secs(30);

/// A soak's settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) length: Duration,
    pub(crate) seed: u64,
}

impl Plan {
    /// `THREATWATCH_SOAK_MINUTES`, which may be a fraction, and `THREATWATCH_SOAK_SEED`.
    pub(crate) fn from_environment() -> Self {
        let minutes = |text: String| Duration::from_secs_f64(60.0 * text.parse::<f64>().unwrap());
        let length = std::env::var("THREATWATCH_SOAK_MINUTES").map_or(SHORT, minutes);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = std::env::var("THREATWATCH_SOAK_SEED").map_or(now.as_secs(), |text| text.parse().unwrap());
        Self { length, seed }
    }

    /// A random generator for one task. With the same seed it gives the same numbers, whatever other tasks draw.
    pub(crate) fn chance(&self, of: &str) -> SplitMix {
        let name = of.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        SplitMix(self.seed ^ name.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Whether leaks have time to show, and retention time to delete while everything runs.
    pub(crate) fn is_long(&self) -> bool {
        self.length >= Duration::from_mins(5)
    }
}

/// The time of a soak.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) started: Instant,
    pub(crate) length: Duration,
}

impl Clock {
    pub(crate) fn start(length: Duration) -> Self {
        Self { started: Instant::now(), length }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.elapsed() >= self.length
    }

    /// Whether the last third has begun, in which some parts are not killed, so that there is a long life to observe.
    pub(crate) fn is_last_third(&self) -> bool {
        self.elapsed() * 3 >= self.length * 2
    }

    /// Sleeps, at most until the end; `false` after it.
    pub(crate) fn sleep(&self, pause: Duration) -> bool {
        std::thread::sleep(pause.min(self.length.saturating_sub(self.elapsed())));
        !self.is_over()
    }
}

/// Draws every item once in random order, then starts again, so that none is left out.
pub(crate) struct Bag<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy> Bag<T> {
    pub(crate) fn new(all: &[T]) -> Self {
        Self { all: all.to_vec(), left: Vec::new() }
    }

    pub(crate) fn draw(&mut self, chance: &mut SplitMix) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
        }
        let at = chance.below(self.left.len());
        self.left.swap_remove(at)
    }
}

/// A random duration between two others.
pub(crate) fn between(chance: &mut SplitMix, least: Duration, most: Duration) -> Duration {
    least + Duration::from_millis(chance.below(most.saturating_sub(least).as_millis() as usize + 1) as u64)
}

#[test]
fn a_bag_leaves_nobody_out() {
    let (mut bag, mut chance) = (Bag::new(&[1, 2, 3]), SplitMix(7));
    for _ in 0..5 {
        let mut drawn: Vec<i32> = (0..3).map(|_| bag.draw(&mut chance)).collect();
        drawn.sort_unstable();
        assert_eq!(drawn, [1, 2, 3]);
    }
}
