//! Pairs of adjacent words.

use super::{Extractor, Feature, Kind, key, pair};
use crate::text::Word;

pub(super) struct Bigrams;

impl Extractor for Bigrams {
    fn name(&self) -> &'static str {
        "bigrams"
    }

    fn extract(&self, _: &str, words: &[Word], features: &mut Vec<Feature>) {
        features.extend(words.windows(2).map(|two| Feature {
            key: key(Kind::Bigram, pair(two[0], two[1])),
            start: two[0].start,
            end: two[1].end,
        }));
    }
}
