//! The edges of a sentence: first word, first two words, last word.
//!
//! Threats are often imperatives ("Kill ...") and promises ("We will ..."). The position of a word separates them from
//! reports.

use super::{Extractor, Feature, Kind, key, pair};
use crate::text::Word;

pub(super) struct Edges;

impl Extractor for Edges {
    fn name(&self) -> &'static str {
        "edges"
    }

    fn extract(&self, _: &str, words: &[Word], features: &mut Vec<Feature>) {
        let (Some(first), Some(last)) = (words.first(), words.last()) else { return };
        let first_key = key(Kind::First, first.hash);
        features.push(Feature { key: first_key, start: first.start, end: first.end });
        // In a sentence of one word, the first word also stands for the first two.
        let (two, end) = match words.get(1) {
            Some(second) => (key(Kind::FirstTwo, pair(*first, *second)), second.end),
            None => (first_key, first.end),
        };
        features.push(Feature { key: two, start: first.start, end });
        features.push(Feature { key: key(Kind::Last, last.hash), start: last.start, end: last.end });
    }
}
