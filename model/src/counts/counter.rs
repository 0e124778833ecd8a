//! Counts sentences one by one, in one table.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::{Counts, FeatureCount};
use crate::features::{Analyser, Scratch};

/// Counts the features of sentences, one by one.
///
/// ```
/// use model::{counts::Counter, features::{FeatureSet, Scratch}, text::WordRule};
///
/// let analyser = FeatureSet::new(WordRule::Word, &["unigrams"]).analyser()?;
/// let (mut counter, mut scratch) = (Counter::default(), Scratch::default());
/// counter.add(&analyser, "I will find you", true, &mut scratch);
/// counter.add(&analyser, "I like you", false, &mut scratch);
/// let counts = counter.finish();
/// assert_eq!((counts.sentences, counts.len(), counts.frequent(2).len()), ([1, 1], 5, 2));
/// assert_eq!(counts.plus(&counts).sentences, [2, 2]);
/// # Ok::<(), model::features::UnknownExtractor>(())
/// ```
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

    /// The finished counts.
    #[must_use]
    pub fn finish(self) -> Counts {
        let mut features: Vec<(u64, FeatureCount)> =
            self.features.into_iter().map(|(key, tally)| (key, tally.count)).collect();
        features.sort_unstable_by_key(|&(key, _)| key);
        Counts { sentences: self.sentences, features }
    }
}

/// Uses keys unchanged, because they are already hashes.
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
