//! Weights by feature key: a sorted table with a small index.

use super::{Invalid, UNITS};

/// The cell of a feature that a component does not have.
pub const ABSENT: i64 = i64::MIN;

/// Rows by ascending key, each with the same number of cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    keys: Vec<u64>,
    columns: usize,
    cells: Vec<i64>,
    index: Index,
}

/// From a key to its place among ascending keys.
///
/// Keys lie in buckets by their leading bits, a few in each. A byte of each key, its mark, shows for nearly all missing
/// keys that they are missing. Buckets and marks are small enough for a processor's own cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// The place where each bucket starts; at the end the number of keys.
    starts: Vec<u32>,
    /// For each key the 8 bits after those of its bucket; then [`AT_ONCE`] zeros.
    marks: Vec<u8>,
    /// Each key's low 32 bits.
    checks: Vec<u32>,
    shift: u32,
}

/// Where a key may be: the first place, and the end of its bucket.
///
/// The key is missing if the place is not before the end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Candidate {
    at: u32,
    end: u32,
}

/// Marks that are compared in one step.
const AT_ONCE: usize = 8;

/// The most rows of a table.
pub const MAX_ROWS: usize = (1 << 24) - 1;

impl Table {
    /// A table of ascending keys and, for each, `columns` cells in 1 / [`UNITS`].
    pub fn new(keys: Vec<u64>, columns: usize, cells: Vec<i64>) -> Result<Self, Invalid> {
        if keys.len() > MAX_ROWS || keys.len().checked_mul(columns) != Some(cells.len()) {
            return Err(Invalid::OutOfRange("table length"));
        }
        if !keys.is_sorted_by(|a, b| a < b) {
            return Err(Invalid::Unsorted);
        }
        // A weight above 2^5 is no log-odds. Within this bound, only a sum of 262,144 features could overflow.
        if cells.iter().any(|&cell| cell != ABSENT && cell.unsigned_abs() > 1 << 45) {
            return Err(Invalid::OutOfRange("weight"));
        }
        // A model of one component would read the mark of absence as a weight.
        if columns > 0 && cells.chunks_exact(columns).any(|row| row.iter().all(|&cell| cell == ABSENT)) {
            return Err(Invalid::OutOfRange("weight"));
        }
        if Index::is_crowded(&keys) {
            return Err(Invalid::OutOfRange("keys"));
        }
        let index = Index::new(&keys);
        Ok(Self { keys, columns, cells, index })
    }

    /// Converts log-odds to whole units.
    #[must_use]
    pub fn quantise(weight: f64) -> i64 {
        (weight * UNITS).round() as i64
    }

    /// The row of a key.
    #[inline]
    #[must_use]
    pub fn find(&self, key: u64) -> Option<usize> {
        self.index.find(key).map(|row| row as usize)
    }

    /// A row's cells, in 1 / [`UNITS`].
    #[inline]
    #[must_use]
    pub fn cells(&self, row: usize) -> &[i64] {
        &self.cells[row * self.columns..(row + 1) * self.columns]
    }

    /// The number of cells in a row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, in ascending order.
    #[must_use]
    pub fn keys(&self) -> &[u64] {
        &self.keys
    }

    /// All cells, row by row.
    #[must_use]
    pub fn all_cells(&self) -> &[i64] {
        &self.cells
    }

    /// Joins tables: the rows of all tables, with the columns of each side by side.
    ///
    /// # Errors
    /// As [`Table::new`].
    pub fn beside(tables: &[Self]) -> Result<Self, Invalid> {
        let mut keys: Vec<u64> = tables.iter().flat_map(|table| table.keys.iter().copied()).collect();
        keys.sort_unstable();
        keys.dedup();
        let columns = tables.iter().map(|table| table.columns).sum();
        let mut cells = Vec::with_capacity(keys.len() * columns);
        for &key in &keys {
            for table in tables {
                match table.find(key) {
                    Some(row) => cells.extend_from_slice(table.cells(row)),
                    None => cells.extend(std::iter::repeat_n(ABSENT, table.columns)),
                }
            }
        }
        Self::new(keys, columns, cells)
    }
}

/// The most keys in a bucket. Hashes never need a tenth; malicious keys would, and searches would be long.
const FULLEST_BUCKET: usize = 1024;

impl Index {
    fn shift(keys: usize) -> u32 {
        // Two to four keys in a bucket.
        u64::BITS - (usize::BITS - (keys / 4).leading_zeros()).clamp(4, 22)
    }

    /// Whether many ascending keys have equal leading bits, which makes searches long.
    fn is_crowded(keys: &[u64]) -> bool {
        let shift = Self::shift(keys.len());
        keys.chunk_by(|a, b| a >> shift == b >> shift).any(|bucket| bucket.len() > FULLEST_BUCKET)
    }

    /// An index of at most [`MAX_ROWS`] ascending keys.
    pub(super) fn new(keys: &[u64]) -> Self {
        let shift = Self::shift(keys.len());
        let mut starts = vec![0_u32; (1 << (u64::BITS - shift)) + 1];
        for key in keys {
            starts[(key >> shift) as usize + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let marks = keys.iter().map(|&key| Self::mark(key, shift)).chain([0; AT_ONCE]).collect();
        let checks = keys.iter().map(|&key| key as u32).collect();
        Self { starts, marks, checks, shift }
    }

    #[inline]
    fn mark(key: u64, shift: u32) -> u8 {
        (key >> (shift - u8::BITS)) as u8
    }

    /// Where a key may be. It has no branch, so that many searches wait for memory together.
    #[inline]
    pub(super) fn candidate(&self, key: u64) -> Candidate {
        let bucket = (key >> self.shift) as usize;
        let [start, end] = self.starts[bucket..bucket + 2] else { unreachable!("a slice of two") };
        let marks = &self.marks[start as usize..start as usize + AT_ONCE];
        let marks = u64::from_le_bytes(marks.try_into().expect("eight marks"));
        let ones = u64::MAX / u64::from(u8::MAX);
        // The lowest byte that is zero here is the first equal mark; bytes above it may be wrong.
        let differing = marks ^ (u64::from(Self::mark(key, self.shift)) * ones);
        let equal = differing.wrapping_sub(ones) & !differing & (ones << 7);
        Candidate { at: start + equal.trailing_zeros() / u8::BITS, end }
    }

    /// The place of the key with these low 32 bits.
    ///
    /// Two different keys are confused about once in 2^38 searches.
    #[inline]
    pub(super) fn confirm(&self, check: u32, Candidate { at, end }: Candidate) -> Option<u32> {
        if self.checks[at as usize] == check { Some(at) } else { self.search(check, at + 1..end) }
    }

    #[cold]
    fn search(&self, check: u32, mut places: std::ops::Range<u32>) -> Option<u32> {
        places.find(|&at| self.checks[at as usize] == check)
    }

    /// The place of a key.
    #[inline]
    pub(super) fn find(&self, key: u64) -> Option<u32> {
        let candidate = self.candidate(key);
        if candidate.is_possible() { self.confirm(key as u32, candidate) } else { None }
    }
}

impl Candidate {
    #[inline]
    pub(super) fn is_possible(self) -> bool {
        self.at < self.end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_table_that_could_not_be_searched_is_refused() {
        assert_eq!(Table::new(vec![2, 1], 1, vec![0, 0]), Err(Invalid::Unsorted));
        assert_eq!(Table::new(vec![1, 1], 1, vec![0, 0]), Err(Invalid::Unsorted));
        assert_eq!(Table::new(vec![1], 1, vec![i64::MAX]), Err(Invalid::OutOfRange("weight")));
        assert_eq!(Table::new(vec![1], 2, vec![1]), Err(Invalid::OutOfRange("table length")));
    }

    #[test]
    fn keys_that_all_begin_alike_are_refused_at_once() {
        let keys: Vec<u64> = (0..1_000_000).collect();
        assert_eq!(Table::new(keys, 0, vec![]), Err(Invalid::OutOfRange("keys")));
        assert!(Table::new((0..1000).collect(), 0, vec![]).is_ok());
        // Keys side by side are no crowd: each bucket has few.
        let side_by_side: Vec<u64> = (0..100_000).map(|slot| slot << (64 - 18)).collect();
        let table = Table::new(side_by_side, 0, vec![]).unwrap();
        assert_eq!((table.find(7 << 46), table.find(7 << 46 | 1)), (Some(7), None));
    }

    #[test]
    fn a_key_is_found_in_a_full_bucket_and_behind_equal_marks() {
        // One bucket of 1000 keys, in groups of a hundred that have one mark.
        let keys: Vec<u64> = (0..1000).map(|n| (n / 100) << 52 | n << 1).collect();
        let table = Table::new(keys.clone(), 0, vec![]).unwrap();
        for (row, key) in keys.iter().enumerate() {
            assert_eq!((table.find(*key), table.find(key | 1)), (Some(row), None), "{key:x}");
        }
    }

    #[test]
    fn a_row_that_no_component_has_is_refused() {
        assert_eq!(Table::new(vec![1, 2], 1, vec![0, ABSENT]), Err(Invalid::OutOfRange("weight")));
        assert_eq!(Table::new(vec![1], 2, vec![ABSENT; 2]), Err(Invalid::OutOfRange("weight")));
        assert!(Table::new(vec![1], 2, vec![ABSENT, 0]).is_ok());
        assert!(Table::new(vec![1, 2], 0, vec![]).is_ok());
    }

    #[test]
    fn tables_beside_each_other_keep_their_cells() {
        let a = Table::new(vec![1, 5], 1, vec![10, 50]).unwrap();
        let b = Table::new(vec![5, 9], 2, vec![51, 52, 91, 92]).unwrap();
        let both = Table::beside(&[a, b]).unwrap();
        assert_eq!(both.keys(), [1, 5, 9]);
        assert_eq!(both.all_cells(), [10, ABSENT, ABSENT, 50, 51, 52, ABSENT, 91, 92]);
    }

    proptest! {
        #[test]
        fn a_lookup_finds_what_is_there_and_nothing_else(
            pairs in proptest::collection::btree_map(any::<u64>(), -1000_i64..1000, 0..200),
            probe in any::<u64>(),
        ) {
            let table = Table::new(pairs.keys().copied().collect(), 1, pairs.values().copied().collect()).unwrap();
            for (key, weight) in &pairs {
                prop_assert_eq!(table.find(*key).map(|row| table.cells(row)[0]), Some(*weight));
                prop_assert_eq!(table.find(key ^ 1).is_some(), pairs.contains_key(&(key ^ 1)));
            }
            prop_assert_eq!(table.find(probe).map(|row| table.cells(row)[0]), pairs.get(&probe).copied());
        }
    }
}
