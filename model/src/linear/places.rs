//! From a feature's key to its place in a model's columns.

use super::{
    Normalisation, Spec,
    scratch::at_least,
    table::{ABSENT, Candidate, Index, Table},
};

/// Slots for common features: what a processor's own cache has room for.
const SLOTS: usize = 1 << 16;

/// The low bits of a slot; they hold the place, and the others the key's low 40 bits.
const PLACE: u64 = (1 << 24) - 1;

/// The places of a model's features.
#[derive(Debug)]
pub(super) struct Places {
    /// By the leading bits of a key, the most common feature whose key begins so.
    ///
    /// Most look-ups end here. Empty if it is not known what is common.
    common: Vec<u64>,
    shift: u32,
    /// All other features.
    others: Index,
    /// The place of the first of them.
    first_other: u32,
}

/// The keys of a look-up, and its buffers.
#[derive(Debug, Default)]
pub(super) struct LookUp {
    /// The keys that are looked up.
    pub(super) keys: Vec<u64>,
    /// Those that are not common.
    left: Vec<u64>,
    /// The low bits of those that may be known, and where.
    candidates: Vec<(u32, Candidate)>,
}

impl Places {
    /// The places of a table's rows, and the row at each place.
    ///
    /// The common features have the first places, the most common first, so that their weights lie together.
    pub(super) fn of(spec: &Spec, table: &Table) -> (Self, Vec<u32>) {
        let bits = table.len().clamp(1 << 4, SLOTS).ilog2();
        let shift = u64::BITS - bits;
        let key = |row: u32| table.keys()[row as usize];
        let (mut common, mut order) = (Vec::new(), Vec::new());
        if let Some(commonest_first) = commonest_first(spec, table) {
            common.resize(1 << bits, PLACE);
            for row in commonest_first {
                let slot = &mut common[(key(row) >> shift) as usize];
                if *slot == PLACE {
                    *slot = key(row) << PLACE.count_ones() | order.len() as u64;
                    order.push(row);
                }
            }
        }
        let first_other = order.len();
        let mut is_common = vec![false; table.len()];
        for &row in &order {
            is_common[row as usize] = true;
        }
        order.extend((0..table.len() as u32).filter(|&row| !is_common[row as usize]));
        let keys: Vec<u64> = order[first_other..].iter().map(|&row| key(row)).collect();
        (Self { common, shift, others: Index::new(&keys), first_other: first_other as u32 }, order)
    }

    /// The place of a key.
    #[inline]
    pub(super) fn find(&self, key: u64) -> Option<usize> {
        if !self.common.is_empty() {
            let place = self.common_place(key);
            if place < PLACE {
                return Some(place as usize);
            }
        }
        self.others.find(key).map(|at| (at + self.first_other) as usize)
    }

    /// The place of a common feature; at least [`PLACE`] if it is not the key of its slot.
    #[inline]
    fn common_place(&self, key: u64) -> u64 {
        // If the key is in the slot, only the place is left.
        self.common[(key >> self.shift) as usize].wrapping_sub(key << PLACE.count_ones())
    }

    /// Fills `found` with the places of the keys that the model knows.
    ///
    /// In steps over all keys and without branches, so that searches wait for memory together.
    pub(super) fn find_all(&self, LookUp { keys, left, candidates }: &mut LookUp, found: &mut Vec<u32>) {
        found.clear();
        found.resize(keys.len(), 0);
        let left = at_least(keys.len(), left);
        let (mut n, mut others) = (0, 0);
        if self.common.is_empty() {
            others = keys.len();
            left.copy_from_slice(keys);
        } else {
            for &key in &*keys {
                let place = self.common_place(key);
                let is_known = place < PLACE;
                found[n] = place as u32;
                n += usize::from(is_known);
                left[others] = key;
                others += usize::from(!is_known);
            }
        }
        let candidates = at_least(others, candidates);
        let mut possible = 0;
        for &key in &left[..others] {
            let candidate = self.others.candidate(key);
            candidates[possible] = (key as u32, candidate);
            possible += usize::from(candidate.is_possible());
        }
        for &(check, candidate) in &candidates[..possible] {
            let at = self.others.confirm(check, candidate);
            found[n] = at.unwrap_or_default() + self.first_other;
            n += usize::from(at.is_some());
        }
        found.truncate(n);
    }
}

/// The rows with the most common features first, if their frequency is known.
fn commonest_first(spec: &Spec, table: &Table) -> Option<Vec<u32>> {
    let mut at = 0;
    for component in &spec.components {
        if component.normalisation == Normalisation::TfIdf {
            // By inverse document frequency; features that the component does not have come last.
            let rarity = |row: u32| match table.cells(row as usize)[at + 1] {
                ABSENT => i64::MAX,
                idf => idf,
            };
            let mut order: Vec<u32> = (0..table.len() as u32).collect();
            order.sort_by_cached_key(|&row| rarity(row));
            return Some(order);
        }
        at += component.normalisation.columns();
    }
    None
}
