//! Each word with the one after it.

use super::{Extractor, Feature, Kind, key, pair};
use crate::text::Word;

pub(super) struct Bigrams;

impl Extractor for Bigrams {
    fn name(&self) -> &'static str {
        "bigrams"
    }

    fn extract(&self, words: &[Word], features: &mut Vec<Feature>) {
        features.extend((0..).zip(words.windows(2)).map(|(at, two)| Feature {
            key: key(Kind::Bigram, pair(two[0], two[1])),
            first_word: at,
            last_word: at + 1,
        }));
    }
}
