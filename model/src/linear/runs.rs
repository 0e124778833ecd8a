//! A cache of what runs without spaces have in a model's table.
//!
//! Most words of a sentence are common, and a word always has the same character n-grams. Their rows need not be looked
//! up again for each sentence. The cache changes only the speed, never a result.

use super::columns::Sum;
use crate::text::{self, Word};

/// Runs of up to this many bytes are cached; nearly every word is shorter.
const LONGEST: usize = 23;
const _: () = assert!(LONGEST + 1 >= text::RUNS_AT_ONCE, "a padded text serves both");
/// The number of runs in the cache; each run has one possible place.
const PLACES: usize = 1 << 13;
/// Rows lie in chunks of this many: a line of a processor's cache.
const CHUNK: usize = 16;
/// Runs with more chunks of rows are not cached.
const MOST_CHUNKS: usize = 4;
/// The number of chunks in the cache: 1 MiB.
const CHUNKS: usize = 1 << 14;
/// The rows that are copied in one step, wanted or not.
const AT_ONCE: usize = CHUNK;

/// The cached runs of one model.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// The model of the rows.
    model: u64,
    places: Vec<Place>,
    rows: Vec<u32>,
    /// Used chunks; those after them are free.
    used: usize,
    /// Free chunks among the used ones, by their number side by side.
    free: [Vec<u32>; MOST_CHUNKS],
    /// For each place, the sums of its rows for each component of the model.
    sums: Vec<Sum>,
    components: usize,
}

/// What a look-up found of a run that is not in the cache, or of a whole sentence.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// The number of features, known or not.
    pub(super) features: usize,
    /// The rows of its known features, repeated for each occurrence.
    pub(super) rows: Vec<u32>,
    /// Their sums, by component.
    pub(super) sums: Vec<Sum>,
}

impl Passing {
    pub(super) fn found(&self) -> Found<'_> {
        Found { features: self.features, rows: &self.rows, known: self.rows.len(), sums: &self.sums }
    }
}

/// The words of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Words {
    #[default]
    None,
    /// The only word, by its place in the run.
    One(Word),
    Several,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    run: Run,
    words: Words,
    first_chunk: u32,
    rows: u8,
    features: u8,
    /// Used again since another run last wanted the place.
    ///
    /// Rare words therefore do not evict common ones.
    is_wanted: bool,
}

/// A run's bytes, with their number in the last byte; 0 for an empty place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run([u64; 3]);

/// The features of a run or a sentence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    /// The number of features, known or not.
    pub(super) features: usize,
    /// The rows of its known features, repeated for each occurrence; of a cached run then others up to [`AT_ONCE`].
    pub(super) rows: &'a [u32],
    /// The number of its known features.
    pub(super) known: usize,
    /// Their sums, by component.
    pub(super) sums: &'a [Sum],
}

impl Found<'_> {
    /// Copies the rows into a buffer of the same length.
    #[inline]
    pub(super) fn copy_rows(&self, buffer: &mut [u32]) {
        // Nearly always of this number: such a copy takes no decisions.
        match <&[u32; AT_ONCE]>::try_from(self.rows) {
            Ok(rows) => buffer.copy_from_slice(rows),
            Err(_) => buffer.copy_from_slice(self.rows),
        }
    }
}

impl Remembered {
    /// Clears the cache unless it belongs to this model.
    pub(super) fn begin(&mut self, model: u64, components: usize) {
        if self.model != model || self.places.is_empty() {
            self.model = model;
            self.components = components;
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.places.clear();
        self.places.resize(PLACES, Place::default());
        self.sums.resize(PLACES * self.components, Sum::Nothing);
        self.rows.resize(CHUNKS * CHUNK + AT_ONCE, 0);
        self.used = 0;
        self.free.iter_mut().for_each(Vec::clear);
    }

    /// A run and its words, if it is in the cache.
    #[inline]
    pub(super) fn find(&mut self, run: Run) -> Option<(Found<'_>, Words)> {
        let at = run.place();
        let there = &mut self.places[at];
        if there.run != run || run == Run::default() {
            return None;
        }
        there.is_wanted = true;
        let (start, known) = (there.first_chunk as usize * CHUNK, usize::from(there.rows));
        let rows = &self.rows[start..start + known.max(AT_ONCE)];
        let sums = &self.sums[at * self.components..(at + 1) * self.components];
        Some((Found { features: usize::from(there.features), rows, known, sums }, there.words))
    }

    /// Puts a run into the cache, unless one that is wanted has its place.
    pub(super) fn remember(&mut self, run: Run, words: &[Word], found: &Passing) {
        let at = run.place();
        if run == Run::default() || std::mem::take(&mut self.places[at].is_wanted) {
            return;
        }
        let chunks = found.rows.len().div_ceil(CHUNK);
        let Ok(features) = u8::try_from(found.features) else { return };
        if chunks > MOST_CHUNKS {
            return;
        }
        let first_chunk = self.make_room(self.places[at], chunks);
        let start = first_chunk as usize * CHUNK;
        self.rows[start..start + found.rows.len()].copy_from_slice(&found.rows);
        self.sums[at * self.components..(at + 1) * self.components].copy_from_slice(&found.sums);
        let words = match *words {
            [] => Words::None,
            [word] => Words::One(word),
            _ => Words::Several,
        };
        self.places[at] = Place { run, words, first_chunk, rows: found.rows.len() as u8, features, is_wanted: false };
    }

    /// Free chunks in place of those of the run that was there before.
    fn make_room(&mut self, before: Place, chunks: usize) -> u32 {
        let had = usize::from(before.rows).div_ceil(CHUNK);
        if had == chunks {
            return before.first_chunk;
        }
        if had > 0 {
            self.free[had - 1].push(before.first_chunk);
        }
        if chunks == 0 {
            return 0;
        }
        if let Some(free) = self.free[chunks - 1].pop() {
            return free;
        }
        if self.used + chunks > CHUNKS {
            self.forget();
        }
        self.used += chunks;
        (self.used - chunks) as u32
    }
}

impl Run {
    /// Prepares a text for [`Run::of`] and [`text::runs`].
    pub(super) fn pad(text: &str, padded: &mut Vec<u8>) {
        padded.clear();
        padded.extend_from_slice(text.as_bytes());
        padded.extend_from_slice(&[0; LONGEST + 1]);
    }

    /// The run at this place of a padded text.
    #[inline]
    pub(super) fn of(padded: &[u8], place: &std::ops::Range<usize>) -> Self {
        const MASKS: [[u64; 3]; LONGEST + 1] = {
            let mut masks = [[0; 3]; LONGEST + 1];
            let mut length = 0;
            while length <= LONGEST {
                let mut at = 0;
                while at < length {
                    masks[length][at / 8] |= 0xff << (at % 8 * 8);
                    at += 1;
                }
                length += 1;
            }
            masks
        };
        let Some(mask) = MASKS.get(place.len()) else { return Self::default() };
        let bytes: &[u8; LONGEST + 1] = padded[place.start..=place.start + LONGEST].try_into().expect("as long");
        let word = |at: usize| u64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().expect("eight")) & mask[at];
        Self([word(0), word(1), word(2) | (place.len() as u64) << 56])
    }

    #[inline]
    fn place(self) -> usize {
        let [a, b, c] = self.0;
        let mixed = (a ^ b.rotate_left(23) ^ c.rotate_left(47)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (u64::BITS - PLACES.ilog2())) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Run {
        let mut padded = Vec::new();
        Run::pad(text, &mut padded);
        Run::of(&padded, &(0..text.len()))
    }

    /// As many rows as `n`, all of them `n`.
    fn passing(n: u32) -> Passing {
        Passing {
            features: n as usize + 1,
            rows: vec![n; n as usize],
            sums: vec![Sum::Units { sum: i64::from(n), known: n }],
        }
    }

    #[test]
    fn a_run_is_remembered_for_its_model() {
        let mut remembered = Remembered::default();
        for model in [1, 2, 1] {
            remembered.begin(model, 1);
            assert!(remembered.find(run("kill")).is_none(), "another model's");
            for (text, n) in [("kill", 3), ("kills", 0), ("kil", 1), ("", 1), ("\u{e4}nder", 20)] {
                remembered.remember(run(text), &vec![Word::default(); n as usize], &passing(n));
                let found = remembered.find(run(text));
                assert_eq!(found.is_some(), !text.is_empty(), "the empty run is never remembered");
                let Some((found, words)) = found else { continue };
                assert_eq!((found.features, found.known), (n as usize + 1, n as usize));
                assert_eq!(found.rows[..found.known], passing(n).rows);
                assert_eq!(found.sums, passing(n).sums);
                let expected = [Words::None, Words::One(Word::default()), Words::Several][(n as usize).min(2)];
                assert_eq!(words, expected);
                let mut buffer = vec![0; found.rows.len()];
                found.copy_rows(&mut buffer);
                assert_eq!(buffer, found.rows);
            }
            remembered.begin(model, 1);
            assert!(remembered.find(run("kill")).is_some(), "the same model again");
        }
    }

    #[test]
    fn different_runs_have_different_names() {
        let runs =
            ["kill", "kil", "Kill", "k", "K", "a", "a\0", "\0", "killing-you", "killing-yOu", "\u{c4}", "\u{e4}"];
        let longest = "x".repeat(LONGEST);
        for (i, a) in runs.iter().enumerate() {
            assert_eq!(run(a), run(a));
            assert!(runs[..i].iter().all(|b| run(a) != run(b)), "{a:?}");
        }
        assert_ne!(run(&longest), Run::default());
        assert_eq!(run(&(longest + "x")), Run::default(), "longer runs are not remembered");
    }

    #[test]
    fn many_runs_of_every_size_never_get_each_others_rows() {
        let mut remembered = Remembered::default();
        remembered.begin(1, 1);
        let (mut of_the_common, mut hits) = (0, 0);
        for round in 0..3 {
            for i in 0..60_000_u32 {
                let (name, n) = (run(&(i % 12_000).to_string()), i % 12_000 % 70);
                match remembered.find(name) {
                    Some((found, _)) => {
                        hits += 1;
                        assert_eq!(found.rows[..found.known], passing(n).rows, "round {round}");
                        assert_eq!(found.sums, passing(n).sums);
                    }
                    None => remembered.remember(name, &[Word::default()], &passing(n)),
                }
                if i % 3 == 0 && remembered.find(run("common")).is_none() {
                    of_the_common += 1;
                    remembered.remember(run("common"), &[], &passing(1));
                }
            }
        }
        assert!(remembered.used <= CHUNKS && remembered.rows.len() <= CHUNKS * CHUNK + AT_ONCE);
        assert!(hits > 1_000, "{hits}");
        assert!(of_the_common < 300, "a common run was driven out {of_the_common} times");
    }
}
