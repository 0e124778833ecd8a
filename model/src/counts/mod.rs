//! How often each feature occurs in threats and in other sentences.
//!
//! Counts can be added and subtracted, so shards of a dataset can be counted separately.
//!
//! - **In**: rows and the features to count; or bytes that [`CountsByFold::encode`] made.
//! - **Out**: [`Counts`] or [`CountsByFold`].
//! - **Callers**: trainers, for rows in memory; activities, for shards of datasets that do not fit in memory.

mod by_fold;
mod counter;
mod encoding;

pub use self::{
    by_fold::{CountsByFold, FoldCounter},
    counter::Counter,
};

/// Counts of one feature. A count stops at 2^32 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureCount {
    /// Occurrences in harmless sentences, and in threats.
    pub occurrences: [u32; 2],
    /// Sentences that have the feature.
    pub sentences: u32,
}

impl FeatureCount {
    /// Occurrences in all sentences.
    #[must_use]
    pub fn total(self) -> u64 {
        self.occurrences.into_iter().map(u64::from).sum()
    }

    fn combine(self, other: Self, with: fn(u32, u32) -> u32) -> Self {
        let [others, threats] = self.occurrences;
        Self {
            occurrences: [with(others, other.occurrences[0]), with(threats, other.occurrences[1])],
            sentences: with(self.sentences, other.sentences),
        }
    }
}

/// Counts of all features of some sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The numbers of harmless sentences and of threats.
    pub sentences: [u64; 2],
    /// In ascending order of their keys.
    features: Vec<(u64, FeatureCount)>,
}

impl Counts {
    /// The counts of these sentences and of others.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a + b, u32::saturating_add)
    }

    /// The counts of these sentences without some of them.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.combine(other, u64::saturating_sub, u32::saturating_sub)
    }

    fn combine(&self, other: &Self, sentences: fn(u64, u64) -> u64, counts: fn(u32, u32) -> u32) -> Self {
        let [others, threats] = self.sentences;
        let (mut left, mut right) = (&self.features[..], &other.features[..]);
        let mut features = Vec::with_capacity(left.len().max(right.len()));
        while let Some(key) = [left, right].iter().filter_map(|side| Some(side.first()?.0)).min() {
            features.push((key, take(&mut left, key).combine(take(&mut right, key), counts)));
        }
        Self { sentences: [sentences(others, other.sentences[0]), sentences(threats, other.sentences[1])], features }
    }

    /// The number of different features.
    #[must_use]
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// The features that occur in at least `min_sentences` sentences, by key.
    #[must_use]
    pub fn frequent(&self, min_sentences: u32) -> Vec<(u64, FeatureCount)> {
        self.features.iter().filter(|(_, count)| count.sentences >= min_sentences).copied().collect()
    }
}

/// Takes a key's count from the front if it is first there, else zeros.
fn take(features: &mut &[(u64, FeatureCount)], key: u64) -> FeatureCount {
    match *features {
        [(first, count), rest @ ..] if *first == key => {
            *features = rest;
            *count
        }
        _ => FeatureCount::default(),
    }
}

/// Bytes that are not counts, or counts that cannot be added.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not the output of [`CountsByFold::encode`].
    #[error("these bytes are not feature counts: {0}")]
    Malformed(&'static str),
    /// The features or the number of folds differ.
    #[error("these counts have other features or another number of folds")]
    Different,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{encoding::MAGIC, *};
    use crate::{
        Row,
        corpus::{self, split},
        features::FeatureSet,
        text::WordRule,
    };

    const FOLDS: usize = 3;

    fn count<'a>(rows: impl IntoIterator<Item = &'a Row>) -> CountsByFold {
        let features = FeatureSet::new(WordRule::Word, &["unigrams", "bigrams"]);
        let mut counter = FoldCounter::new(features, 7, FOLDS).unwrap();
        rows.into_iter().for_each(|row| counter.add(row));
        counter.finish()
    }

    #[test]
    fn counts_of_shards_add_up_to_the_counts_of_the_whole_in_any_order() {
        let rows = corpus::sample().rows;
        let whole = count(&rows);
        for step in [1_usize, 4] {
            let mut parts: Vec<CountsByFold> = rows.chunks(500).map(count).collect();
            parts.rotate_left(step);
            let merged = parts.into_iter().reduce(|mut sum, part| {
                sum.merge(&part).unwrap();
                sum
            });
            assert_eq!(merged.as_ref(), Some(&whole));
        }
        let trained = rows.iter().filter(|row| !split::is_held_out(7, &row.commenter)).count() as u64;
        assert_eq!(whole.all().sentences.iter().sum::<u64>(), trained);
        let often = whole.all().frequent(2);
        assert!(often.iter().any(|(_, n)| n.occurrences[0] + n.occurrences[1] > n.sentences), "some word stands twice");
    }

    #[test]
    fn a_fold_taken_away_leaves_the_counts_of_the_others() {
        let rows = corpus::sample().rows;
        let whole = count(&rows);
        for fold in 0..FOLDS {
            let others = count(rows.iter().filter(|row| split::place(7, &row.commenter, FOLDS) != Some(fold))).all();
            let left = whole.all().minus(whole.fold(fold));
            assert_eq!((left.sentences, left.frequent(1)), (others.sentences, others.frequent(1)));
        }
    }

    #[test]
    fn counts_of_other_features_are_not_added() {
        let features = FeatureSet::new(WordRule::Word, &["unigrams"]);
        let other = FoldCounter::new(features, 7, FOLDS).unwrap().finish();
        assert_eq!(count([]).merge(&other), Err(Error::Different));
    }

    #[test]
    fn bytes_that_are_no_counts_are_refused() {
        let bytes = count(&corpus::sample().rows[..50]).encode();
        for end in 0..bytes.len() {
            assert!(CountsByFold::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(CountsByFold::decode(&longer).is_err());
        let mut unsorted = bytes;
        let header = 12 + u32::from_le_bytes(unsorted[8..12].try_into().unwrap()) as usize;
        unsorted[header + 7] = 0xff;
        assert_eq!(CountsByFold::decode(&unsorted), Err(Error::Malformed("their keys do not ascend")));
    }

    proptest! {
        #[test]
        fn decoded_counts_are_those_encoded(rows in proptest::collection::vec(("[a-c]{1,2}( [a-c]{1,2}){0,5}", 0_u8..2, "[a-z]"), 0..40)) {
            let rows: Vec<Row> =
                rows.into_iter().map(|(text, label, commenter)| Row { comment: 0, commenter, label, text }).collect();
            let counts = count(&rows);
            prop_assert_eq!(CountsByFold::decode(&counts.encode()), Ok(counts));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = CountsByFold::decode(&[&MAGIC[..], &bytes].concat());
        }
    }
}
