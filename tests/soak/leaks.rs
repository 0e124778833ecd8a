//! Leaks: memory, open files and threads of each process, sampled while everything runs.
//!
//! A life is judged from its warm-up on. The growth of a measure is the median slope of all pairs of samples (Theil and
//! Sen), which single samples cannot bend, times the observed time. Growth above the allowance is a leak. A life that
//! was observed for less than a minute says nothing.

use std::{collections::BTreeMap, fs, time::Duration};

use crate::{
    plan::Clock,
    stack::{Part, Stack},
};

/// The time from one sample to the next.
const EVERY: Duration = Duration::from_secs(5);
/// The warm-up, in which a process fills its caches, pools and arenas.
const WARM_UP: Duration = Duration::from_mins(1);
/// The fewest samples that say something: those of a minute.
const FEWEST: usize = 12;
/// The most samples of a life that are compared, evenly spread: the number of pairs grows with the square.
const MOST: usize = 600;
/// The parts whose code is ours.
pub(crate) const OURS: [Part; 3] = [Part::Worker, Part::Api, Part::Replica];

/// The measures, with unit, allowed growth, and the share of the median that is allowed on top.
pub(crate) const MEASURES: [(&str, f64, f64); 3] =
    [("memory, MiB", 16.0, 0.1), ("open files", 16.0, 0.0), ("threads", 8.0, 0.0)];

/// A process at a moment: one value for each measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) values: [f64; 3],
}

/// One process of a part, from its start to its end.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) part: Part,
    pub(crate) samples: Vec<Sample>,
}

/// The result for a measure of a life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    pub(crate) median: f64,
    pub(crate) growth: f64,
    pub(crate) allowed: f64,
}

/// Samples our own processes until the time is over.
pub(crate) fn watch(stack: &Stack, clock: Clock) -> Vec<Life> {
    let mut lives: BTreeMap<(Part, u32), Vec<Sample>> = BTreeMap::new();
    while clock.sleep(EVERY) {
        for part in OURS {
            let Some(pid) = stack.pid(part) else { continue };
            let Some(values) = usage(pid) else { continue };
            lives.entry((part, pid)).or_default().push(Sample { at: clock.elapsed(), values });
        }
    }
    lives.into_iter().map(|((part, _), samples)| Life { part, samples }).collect()
}

/// proc(5).
fn usage(pid: u32) -> Option<[f64; 3]> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some([field("VmRSS")? / 1024.0, files as f64, field("Threads")?])
}

impl Life {
    /// The samples after the warm-up.
    fn warm(&self) -> &[Sample] {
        let Some(first) = self.samples.first() else { return &[] };
        let from = self.samples.partition_point(|sample| sample.at < first.at + WARM_UP);
        &self.samples[from..]
    }

    /// How long it was observed.
    pub(crate) fn window(&self) -> Duration {
        let warm = self.warm();
        warm.first().zip(warm.last()).map_or(Duration::ZERO, |(first, last)| last.at.saturating_sub(first.at))
    }

    /// The growth of each measure. `None` if there are too few samples.
    pub(crate) fn growth(&self) -> Option<[Growth; 3]> {
        let warm = self.warm();
        if warm.len() < FEWEST {
            return None;
        }
        let step = warm.len().div_ceil(MOST);
        let spread: Vec<Sample> = warm.iter().step_by(step).copied().collect();
        let window = self.window().as_secs_f64();
        let grown = |at: usize| {
            let median = median(spread.iter().map(|sample| sample.values[at]).collect());
            let (_, least, share) = MEASURES[at];
            Growth { median, growth: slope(&spread, at) * window, allowed: least + share * median }
        };
        Some([0, 1, 2].map(grown))
    }
}

/// The median slope of all pairs, per second.
fn slope(samples: &[Sample], measure: usize) -> f64 {
    let mut slopes = Vec::new();
    for (at, first) in samples.iter().enumerate() {
        for second in &samples[at + 1..] {
            let seconds = second.at.saturating_sub(first.at).as_secs_f64();
            slopes.push((second.values[measure] - first.values[measure]) / seconds.max(0.001));
        }
    }
    median(slopes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten minutes of a life, with its memory in MiB as a function of the seconds.
    fn life(memory: impl Fn(f64) -> f64) -> Life {
        let sample = |turn: u64| {
            let at = Duration::from_secs(5 * turn);
            Sample { at, values: [memory(at.as_secs_f64()), 50.0, 12.0] }
        };
        Life { part: Part::Api, samples: (0..120).map(sample).collect() }
    }

    fn leaks(life: &Life) -> bool {
        life.growth().unwrap().iter().any(|growth| growth.growth > growth.allowed)
    }

    #[test]
    fn a_leak_is_told_from_warming_up_from_steps_and_from_noise() {
        let noise = |at: f64| (at * 7.3).sin() * 20.0;
        assert!(!leaks(&life(|at| 100.0 + noise(at))), "noise");
        assert!(!leaks(&life(|at| 100.0 + at.min(50.0) * 3.0)), "150 MiB more in the first minute");
        assert!(!leaks(&life(|at| if at > 550.0 { 160.0 } else { 100.0 })), "a step at the end: one more model");
        assert!(leaks(&life(|at| 100.0 + at * 0.1 + noise(at))), "6 MiB a minute below the noise");
        let files = |life: &mut Life| life.samples.iter_mut().for_each(|s| s.values[1] = s.at.as_secs_f64() / 10.0);
        let mut leaking = life(|_| 100.0);
        files(&mut leaking);
        assert!(leaks(&leaking), "a file every ten seconds");
    }

    #[test]
    fn a_short_life_says_nothing() {
        let mut short = life(|at| at);
        short.samples.truncate(20);
        assert!(short.growth().is_none());
    }
}
