//! How often each feature stands in threats and in other sentences: additive, so that shards can be counted apart.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::features::{Analyser, Scratch};

/// Counts of one feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureCount {
    /// Occurrences in sentences that are no threat, and in threats.
    pub occurrences: [u64; 2],
    /// Sentences that have it.
    pub sentences: u32,
    last_sentence: u32,
}

/// Counts of every feature of a corpus.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    features: HashMap<u64, FeatureCount, BuildHasherDefault<KeyHasher>>,
    /// Sentences that are no threat, and threats.
    pub sentences: [u64; 2],
    seen: u32,
}

impl Counts {
    /// Counts one sentence.
    pub fn add(&mut self, analyser: &Analyser, sentence: &str, is_threat: bool, scratch: &mut Scratch) {
        analyser.analyse(sentence, scratch);
        let class = usize::from(is_threat);
        self.sentences[class] += 1;
        self.seen += 1;
        for feature in &scratch.features {
            let count = self.features.entry(feature.key).or_default();
            count.occurrences[class] += 1;
            count.sentences += u32::from(count.last_sentence != self.seen);
            count.last_sentence = self.seen;
        }
    }

    /// Adds the counts of other sentences.
    pub fn merge(&mut self, other: &Self) {
        for (class, n) in other.sentences.iter().enumerate() {
            self.sentences[class] += n;
        }
        for (&key, more) in &other.features {
            let count = self.features.entry(key).or_default();
            for (class, n) in more.occurrences.iter().enumerate() {
                count.occurrences[class] += n;
            }
            count.sentences += more.sentences;
        }
    }

    /// The features that stand in at least `min_sentences` sentences, by key.
    #[must_use]
    pub fn frequent(&self, min_sentences: u32) -> Vec<(u64, FeatureCount)> {
        let kept = self.features.iter().filter(|(_, count)| count.sentences >= min_sentences);
        let mut kept: Vec<(u64, FeatureCount)> = kept.map(|(&key, &count)| (key, count)).collect();
        kept.sort_unstable_by_key(|&(key, _)| key);
        kept
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
    use super::*;
    use crate::{corpus, features::FeatureSet, text::WordRule};

    #[test]
    fn counts_of_two_halves_add_up_to_the_counts_of_the_whole() {
        let analyser = FeatureSet::new(WordRule::Word, &["unigrams", "bigrams"]).analyser().unwrap();
        let rows = corpus::sample().rows;
        let count = |rows: &[corpus::Row]| {
            let (mut counts, mut scratch) = (Counts::default(), Scratch::default());
            for row in rows {
                counts.add(&analyser, &row.text, row.is_threat(), &mut scratch);
            }
            counts
        };
        let (left, right) = rows.split_at(rows.len() / 3);
        let mut merged = count(left);
        merged.merge(&count(right));
        let whole = count(&rows);
        let plain = |counts: &Counts| -> Vec<(u64, [u64; 2], u32)> {
            counts.frequent(2).iter().map(|(k, c)| (*k, c.occurrences, c.sentences)).collect()
        };
        assert_eq!(plain(&merged), plain(&whole));
        assert_eq!(merged.sentences, whole.sentences);
        assert!(plain(&whole).iter().any(|&(_, n, df)| n[0] + n[1] > u64::from(df)), "some word stands twice");
    }
}
