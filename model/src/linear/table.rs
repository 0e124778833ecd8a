//! Weights by feature key: a sorted table with a flat index.
//!
//! A lookup mostly needs one memory access to the index.

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

/// From a key to its number: open addressing by the leading bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The key's low 40 bits, then its number in 24 bits.
    slots: Vec<u64>,
    shift: u32,
}

/// Rows are numbered in 24 bits of a slot.
pub const MAX_ROWS: usize = (1 << ROW_BITS) - 1;
const ROW_BITS: u32 = 24;
const ROW: u64 = (1 << ROW_BITS) - 1;
const EMPTY: u64 = ROW;

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
        let index = Index::new(keys.iter().copied());
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
        self.index.resolve(key, self.index.probe(key))
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

/// The most slots of a search. Hashes never need a tenth; malicious keys would.
const LONGEST_SEARCH: usize = 1024;

impl Index {
    fn bits(keys: usize) -> u32 {
        // At most half full: a lookup mostly ends at its first slot, and the index stays small.
        (usize::BITS - (keys * 2).leading_zeros()).clamp(4, 26)
    }

    /// Whether many ascending keys have equal leading bits, which makes searches long.
    fn is_crowded(keys: &[u64]) -> bool {
        let shift = u64::BITS - Self::bits(keys.len());
        // The length of a run of taken slots does not depend on the order of insertion.
        let (mut start, mut free) = (0, 0);
        keys.iter().any(|key| {
            let home = (key >> shift) as usize;
            if home > free {
                (start, free) = (home, home);
            }
            free += 1;
            free - start > LONGEST_SEARCH
        })
    }

    /// An index of at most [`MAX_ROWS`] keys, all different, numbered from 0.
    #[must_use]
    pub fn new(keys: impl ExactSizeIterator<Item = u64>) -> Self {
        let bits = Self::bits(keys.len());
        let shift = u64::BITS - bits;
        let mut slots = vec![EMPTY; 1 << bits];
        for (number, key) in (0_u64..).zip(keys) {
            let mut at = (key >> shift) as usize;
            while slots[at] != EMPTY {
                at = (at + 1) & (slots.len() - 1);
            }
            slots[at] = key << ROW_BITS | number;
        }
        Self { slots, shift }
    }

    /// The slot where a key's search starts.
    ///
    /// It has no branch, so that many searches wait for memory together.
    #[inline]
    #[must_use]
    pub fn probe(&self, key: u64) -> u64 {
        self.slots[(key >> self.shift) as usize]
    }

    /// The number of a key whose search starts at `slot`.
    ///
    /// It compares the key's low 40 bits, and by its position at least the leading 16 bits. Two different keys are
    /// confused once in 2^56 pairs.
    #[inline]
    #[must_use]
    pub fn resolve(&self, key: u64, mut slot: u64) -> Option<usize> {
        let wanted = key << ROW_BITS;
        let mut at = (key >> self.shift) as usize;
        loop {
            if slot & !ROW == wanted && slot & ROW != ROW {
                return Some((slot & ROW) as usize);
            }
            if slot == EMPTY {
                return None;
            }
            at = (at + 1) & (self.slots.len() - 1);
            slot = self.slots[at];
        }
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
        // One key in each of many adjacent slots: the search for a missing key would pass all of them.
        let side_by_side: Vec<u64> = (0..100_000).map(|slot| slot << (64 - 18)).collect();
        assert_eq!(Table::new(side_by_side, 0, vec![]), Err(Invalid::OutOfRange("keys")));
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
            }
            prop_assert_eq!(table.find(probe).map(|row| table.cells(row)[0]), pairs.get(&probe).copied());
        }
    }
}
