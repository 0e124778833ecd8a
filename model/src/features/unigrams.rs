//! Single words.

use super::{Extractor, Feature, Kind, key};
use crate::text::Word;

pub(super) struct Unigrams;

impl Extractor for Unigrams {
    fn name(&self) -> &'static str {
        "unigrams"
    }

    fn is_of_runs(&self) -> bool {
        true
    }

    fn extract(&self, _: &str, words: &[Word], features: &mut Vec<Feature>) {
        features.extend(words.iter().map(|word| Feature { key: of(word), start: word.start, end: word.end }));
    }

    fn keys(&self, _: &str, words: &[Word], keys: &mut Vec<u64>) {
        keys.extend(words.iter().map(of));
    }
}

fn of(word: &Word) -> u64 {
    key(Kind::Unigram, word.hash)
}
