//! How often each feature stands in threats and in other sentences: additive, so that shards can be counted apart.
//!
//! As bytes, [`CountsByFold`] is
//!
//! ```text
//! 8 bytes   magic "threatc" and the format's version, 1
//! 4 bytes   length H of the header, little-endian, at most 1 MiB
//! H bytes   the header as JSON: the features, and by fold the sentences and the number of features
//! by fold   N keys of 8 bytes, ascending; N * 3 counts of 4 bytes; all little-endian
//! ```

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use serde::{Deserialize, Serialize};

use crate::{
    Row,
    features::{Analyser, FeatureSet, Scratch, UnknownExtractor},
    split,
};

/// Counts of one feature. A count that would pass 2^32 - 1 stays there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureCount {
    /// Occurrences in sentences that are no threat, and in threats.
    pub occurrences: [u32; 2],
    /// Sentences that have it.
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

/// Counts the features of sentences, one by one.
#[derive(Debug, Default)]
pub struct Counter {
    features: HashMap<u64, Tally, BuildHasherDefault<KeyHasher>>,
    sentences: [u64; 2],
    seen: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    count: FeatureCount,
    last_sentence: u32,
}

impl Counter {
    /// Counts one sentence.
    pub fn add(&mut self, analyser: &Analyser, sentence: &str, is_threat: bool, scratch: &mut Scratch) {
        analyser.analyse(sentence, scratch);
        let class = usize::from(is_threat);
        self.sentences[class] += 1;
        self.seen = self.seen.wrapping_add(1);
        for feature in &scratch.features {
            let Tally { count, last_sentence } = self.features.entry(feature.key).or_default();
            count.occurrences[class] = count.occurrences[class].saturating_add(1);
            count.sentences = count.sentences.saturating_add(u32::from(*last_sentence != self.seen));
            *last_sentence = self.seen;
        }
    }

    /// What was counted.
    #[must_use]
    pub fn finish(self) -> Counts {
        let mut features: Vec<(u64, FeatureCount)> =
            self.features.into_iter().map(|(key, tally)| (key, tally.count)).collect();
        features.sort_unstable_by_key(|&(key, _)| key);
        Counts { sentences: self.sentences, features }
    }
}

/// Counts of every feature of some sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sentences that are no threat, and threats.
    pub sentences: [u64; 2],
    /// By ascending key.
    features: Vec<(u64, FeatureCount)>,
}

impl Counts {
    /// These sentences and others.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a + b, u32::saturating_add)
    }

    /// These sentences without others that are among them.
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

    /// Different features.
    #[must_use]
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// The features that stand in at least `min_sentences` sentences, by key.
    #[must_use]
    pub fn frequent(&self, min_sentences: u32) -> Vec<(u64, FeatureCount)> {
        self.features.iter().filter(|(_, count)| count.sentences >= min_sentences).copied().collect()
    }
}

/// Takes a key's count from the front, where it stands next.
fn take(features: &mut &[(u64, FeatureCount)], key: u64) -> FeatureCount {
    match *features {
        [(first, count), rest @ ..] if *first == key => {
            *features = rest;
            *count
        }
        _ => FeatureCount::default(),
    }
}

/// Counts of the training rows of a corpus, apart for each fold, so that a model without any fold follows by subtraction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountsByFold {
    /// What was counted.
    pub features: FeatureSet,
    folds: Vec<Counts>,
}

/// Counts rows into their folds, which [`split::place`] decides.
#[derive(Debug)]
pub struct FoldCounter {
    features: FeatureSet,
    analyser: Analyser,
    seed: u64,
    folds: Vec<Counter>,
    scratch: Scratch,
}

impl FoldCounter {
    /// Nothing counted yet.
    pub fn new(features: FeatureSet, seed: u64, folds: usize) -> Result<Self, UnknownExtractor> {
        let analyser = features.analyser()?;
        let folds = std::iter::repeat_with(Counter::default).take(folds).collect();
        Ok(Self { features, analyser, seed, folds, scratch: Scratch::default() })
    }

    /// Counts a row, unless its commenter is held out.
    pub fn add(&mut self, row: &Row) {
        if let Some(fold) = split::place(self.seed, &row.commenter, self.folds.len()) {
            self.folds[fold].add(&self.analyser, &row.text, row.is_threat(), &mut self.scratch);
        }
    }

    /// What was counted.
    #[must_use]
    pub fn finish(self) -> CountsByFold {
        CountsByFold { features: self.features, folds: self.folds.into_iter().map(Counter::finish).collect() }
    }
}

/// Bytes that are no counts, or counts that do not belong together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not what [`CountsByFold::encode`] writes.
    #[error("these bytes are no counts: {0}")]
    Malformed(&'static str),
    /// Other features, or another number of folds.
    #[error("these counts are of other features or folds")]
    Different,
}

const MAGIC: &[u8; 8] = b"threatc\x01";
const MAX_HEADER: usize = 1 << 20;
/// Bytes of a feature: its key and three counts.
const FEATURE: usize = 8 + 3 * 4;

#[derive(Serialize, Deserialize)]
struct Header {
    features: FeatureSet,
    folds: Vec<FoldHeader>,
}

#[derive(Serialize, Deserialize)]
struct FoldHeader {
    sentences: [u64; 2],
    features: u64,
}

impl CountsByFold {
    /// Folds.
    #[must_use]
    pub fn folds(&self) -> usize {
        self.folds.len()
    }

    /// Everything.
    #[must_use]
    pub fn all(&self) -> Counts {
        self.folds.iter().fold(Counts::default(), |sum, fold| sum.plus(fold))
    }

    /// The counts of one fold.
    #[must_use]
    pub fn fold(&self, fold: usize) -> &Counts {
        &self.folds[fold]
    }

    /// Adds the counts of other rows.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        if self.features != other.features || self.folds.len() != other.folds.len() {
            return Err(Error::Different);
        }
        for (mine, theirs) in self.folds.iter_mut().zip(&other.folds) {
            *mine = mine.plus(theirs);
        }
        Ok(())
    }

    /// As bytes. Equal counts have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let fold = |counts: &Counts| FoldHeader { sentences: counts.sentences, features: counts.features.len() as u64 };
        let header = Header { features: self.features.clone(), folds: self.folds.iter().map(fold).collect() };
        let header = serde_json::to_vec(&header).expect("a header is plain data");
        let features: usize = self.folds.iter().map(|counts| counts.features.len()).sum();
        let mut bytes = Vec::with_capacity(12 + header.len() + FEATURE * features);
        bytes.extend(MAGIC);
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(header);
        for Counts { features, .. } in &self.folds {
            bytes.extend(features.iter().flat_map(|(key, _)| key.to_le_bytes()));
            for (_, FeatureCount { occurrences: [others, threats], sentences }) in features {
                bytes.extend([others, threats, sentences].into_iter().flat_map(|count| count.to_le_bytes()));
            }
        }
        bytes
    }

    /// The counts in some bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        const SHORT: Error = Error::Malformed("they are cut short");
        let rest = bytes.strip_prefix(MAGIC).ok_or(Error::Malformed("they do not begin as counts do"))?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (header, mut rest) = rest.split_at_checked(length).filter(|_| length <= MAX_HEADER).ok_or(SHORT)?;
        let Header { features, folds: headers } =
            serde_json::from_slice(header).map_err(|_| Error::Malformed("their header cannot be read"))?;
        let mut folds = Vec::new();
        for FoldHeader { sentences, features } in headers {
            let n = usize::try_from(features).ok().filter(|n| n.checked_mul(FEATURE).is_some()).ok_or(SHORT)?;
            let (keys, after) = rest.split_at_checked(n * 8).ok_or(SHORT)?;
            let (counts, after) = after.split_at_checked(n * (FEATURE - 8)).ok_or(SHORT)?;
            rest = after;
            let keys = keys.as_chunks::<8>().0.iter().map(|key| u64::from_le_bytes(*key));
            let number = |bytes: &[u8; 12], at: usize| {
                u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            };
            let counts = counts.as_chunks::<12>().0.iter().map(|bytes| FeatureCount {
                occurrences: [number(bytes, 0), number(bytes, 4)],
                sentences: number(bytes, 8),
            });
            let features: Vec<(u64, FeatureCount)> = keys.zip(counts).collect();
            if !features.is_sorted_by(|a, b| a.0 < b.0) {
                return Err(Error::Malformed("their keys do not ascend"));
            }
            folds.push(Counts { sentences, features });
        }
        if !rest.is_empty() || folds.is_empty() {
            return Err(Error::Malformed("their length is not what the header says"));
        }
        Ok(Self { features, folds })
    }
}

/// Keys are hashes already: take them as they are.
#[derive(Clone, Copy, Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{corpus, text::WordRule};

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
