//! The sentence's edges: first word, first two words, last word, each a feature of its own.
//!
//! Threats are often imperatives ("Kill ...") and promises ("We will ..."): where a word stands tells them from reports.

use super::{Extractor, Feature, Kind, key, pair};
use crate::text::Word;

pub(super) struct Edges;

impl Extractor for Edges {
    fn name(&self) -> &'static str {
        "edges"
    }

    fn extract(&self, words: &[Word], features: &mut Vec<Feature>) {
        let [first, ..] = words else { return };
        let last = words.len() as u32 - 1;
        let first_key = key(Kind::First, first.hash);
        features.push(Feature { key: first_key, first_word: 0, last_word: 0 });
        // A sentence of one word begins with it twice over.
        let (two, end) = match words.get(1) {
            Some(second) => (key(Kind::FirstTwo, pair(*first, *second)), 1),
            None => (first_key, 0),
        };
        features.push(Feature { key: two, first_word: 0, last_word: end });
        features.push(Feature { key: key(Kind::Last, words[last as usize].hash), first_word: last, last_word: last });
    }
}
