//! Each word.

use super::{Extractor, Feature, Kind, key};
use crate::text::Word;

pub(super) struct Unigrams;

impl Extractor for Unigrams {
    fn name(&self) -> &'static str {
        "unigrams"
    }

    fn extract(&self, words: &[Word], features: &mut Vec<Feature>) {
        features.extend((0..).zip(words).map(|(at, word)| Feature {
            key: key(Kind::Unigram, word.hash),
            first_word: at,
            last_word: at,
        }));
    }
}
