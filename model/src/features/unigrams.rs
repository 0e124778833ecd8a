//! Single words.

use super::{Extractor, Feature, Kind, key};
use crate::text::Word;

pub(super) struct Unigrams;

impl Extractor for Unigrams {
    fn name(&self) -> &'static str {
        "unigrams"
    }

    fn extract(&self, _: &str, words: &[Word], features: &mut Vec<Feature>) {
        features.extend(words.iter().map(|word| Feature {
            key: key(Kind::Unigram, word.hash),
            start: word.start,
            end: word.end,
        }));
    }
}
