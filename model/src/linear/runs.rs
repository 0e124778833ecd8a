//! A cache of the rows that runs without spaces have in a model's table.
//!
//! Most words of a sentence are common, and a word always has the same character n-grams. Their rows need not be looked
//! up again for each sentence. The cache changes only the speed, never a result.

use super::columns::Sum;

/// Runs of up to this many bytes are cached; nearly every word is shorter.
const LONGEST: usize = 23;
/// The number of runs in the cache; each run has one possible place.
const PLACES: usize = 1 << 13;
/// The total number of rows in the cache: 1 MiB.
const ROWS: usize = 1 << 18;

/// The cached rows of runs in one model's table.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// The model of the rows.
    model: u64,
    places: Vec<Place>,
    rows: Vec<u32>,
    /// For each place, the sums of its rows for each component of the model.
    sums: Vec<Sum>,
    components: usize,
    /// The last looked-up run.
    passing: Passing,
}

/// The result of the last lookup.
#[derive(Debug, Default)]
pub(crate) struct Passing {
    pub(crate) rows: Vec<u32>,
    pub(crate) sums: Vec<Sum>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    run: Run,
    start: u32,
    rows: u16,
    features: u8,
    /// Used again since another run last wanted the place.
    ///
    /// Rare words therefore do not evict common ones.
    is_wanted: bool,
}

/// A run's bytes, with their number in the last byte; 0 for an empty place.
type Run = [u64; 3];

/// The rows of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    /// The rows of its known features, repeated for each occurrence.
    pub(crate) rows: &'a [u32],
    /// Their sums, by component.
    pub(crate) sums: &'a [Sum],
    /// The number of features, known or not.
    pub(crate) features: u32,
}

impl Remembered {
    /// Clears the cache unless it belongs to this model.
    pub(crate) fn begin(&mut self, model: u64, components: usize) {
        if self.model != model || self.places.is_empty() {
            self.model = model;
            self.components = components;
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.rows.clear();
        self.places.clear();
        self.places.resize(PLACES, Place::default());
        self.sums.resize(PLACES * self.components, Sum::Nothing);
    }

    /// The rows of a run, from the cache or from `look_up`.
    ///
    /// `look_up` fills in rows and sums, and returns the number of features.
    #[inline]
    pub(crate) fn find(&mut self, run: &str, look_up: impl FnOnce(&mut Passing) -> usize) -> Found<'_> {
        let name = name(run);
        let at = place(name);
        let there = &mut self.places[at];
        if there.run == name && name != Run::default() {
            there.is_wanted = true;
            let start = there.start as usize;
            let rows = &self.rows[start..start + usize::from(there.rows)];
            let sums = &self.sums[at * self.components..(at + 1) * self.components];
            return Found { rows, sums, features: u32::from(there.features) };
        }
        let features = look_up(&mut self.passing);
        self.remember(name, at, features);
        Found { rows: &self.passing.rows, sums: &self.passing.sums, features: features as u32 }
    }

    fn remember(&mut self, name: Run, at: usize, features: usize) {
        if std::mem::take(&mut self.places[at].is_wanted) || name == Run::default() {
            return;
        }
        if self.rows.len() + self.passing.rows.len() > ROWS {
            self.forget();
        }
        if let (Ok(rows), Ok(features)) = (u16::try_from(self.passing.rows.len()), u8::try_from(features)) {
            self.places[at] = Place { run: name, start: self.rows.len() as u32, rows, features, is_wanted: false };
            self.rows.extend(&self.passing.rows);
            self.sums[at * self.components..(at + 1) * self.components].copy_from_slice(&self.passing.sums);
        }
    }
}

/// A run as a number of fixed size; 0 if too long or empty.
#[inline]
fn name(run: &str) -> Run {
    let mut bytes = [0; 24];
    if let Some(start) = bytes[..LONGEST].get_mut(..run.len()) {
        start.copy_from_slice(run.as_bytes());
        bytes[LONGEST] = run.len() as u8;
    }
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    [word(0), word(8), word(16)]
}

#[inline]
fn place([a, b, c]: Run) -> usize {
    let mixed = (a ^ b.rotate_left(23) ^ c.rotate_left(47)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (u64::BITS - PLACES.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_looked_up_once_and_anew_for_another_model() {
        let mut remembered = Remembered::default();
        let mut looked_up = 0;
        for model in [1, 1, 2, 1] {
            remembered.begin(model, 1);
            for run in ["kill", "KILL", "kill", ""] {
                let sum = Sum::Units { sum: run.len() as i64, known: model as u32 };
                let found = remembered.find(run, |passing| {
                    looked_up += 1;
                    passing.rows = vec![run.len() as u32, model as u32];
                    passing.sums = vec![sum];
                    7
                });
                assert_eq!((found.rows, found.features), (&[run.len() as u32, model as u32][..], 7));
                assert_eq!(found.sums, [sum]);
            }
        }
        assert_eq!(looked_up, 3 * 2 + 4, "the empty run is never remembered");
    }

    #[test]
    fn long_runs_and_many_runs_are_found_all_the_same() {
        let mut remembered = Remembered::default();
        remembered.begin(1, 1);
        let mut of_the_common = 0;
        for round in 0..3 {
            for i in 0..60_000_u32 {
                let run = if i % 5 == 0 { format!("{i:030}") } else { i.to_string() };
                let found = remembered.find(&run, |passing| {
                    *passing = Passing { rows: vec![i; 20], sums: vec![Sum::Nothing] };
                    20
                });
                assert_eq!(found.rows, [i; 20], "round {round}");
                if i % 3 == 0 {
                    remembered.find("common", |passing| {
                        of_the_common += 1;
                        *passing = Passing { rows: vec![1], sums: vec![Sum::Nothing] };
                        1
                    });
                }
            }
        }
        assert!(remembered.rows.len() <= ROWS);
        assert!(of_the_common < 300, "a common run was driven out {of_the_common} times");
    }
}
