//! Pairs of adjacent words.

use super::{Extractor, Feature, Kind, key, pair};
use crate::text::Word;

pub(super) struct Bigrams;

impl Extractor for Bigrams {
    fn name(&self) -> &'static str {
        "bigrams"
    }

    fn extract(&self, _: &str, words: &[Word], features: &mut Vec<Feature>) {
        let of = |two: &[Word]| Feature { key: of(two), start: two[0].start, end: two[1].end };
        features.extend(words.windows(2).map(of));
    }

    fn keys(&self, _: &str, words: &[Word], keys: &mut Vec<u64>) {
        keys.extend(words.windows(2).map(of));
    }
}

fn of(two: &[Word]) -> u64 {
    key(Kind::Bigram, pair(two[0], two[1]))
}
