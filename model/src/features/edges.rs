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
        let ends = [first.end, words.get(1).unwrap_or(first).end, last.end];
        let starts = [first.start, first.start, last.start];
        let all = keys(words).into_iter().flatten().zip(starts).zip(ends);
        features.extend(all.map(|((key, start), end)| Feature { key, start, end }));
    }

    fn keys(&self, _: &str, words: &[Word], found: &mut Vec<u64>) {
        found.extend(keys(words).into_iter().flatten());
    }
}

/// The keys of the first word, of the first two, and of the last.
fn keys(words: &[Word]) -> Option<[u64; 3]> {
    let (first, last) = (words.first()?, words.last()?);
    let alone = key(Kind::First, first.hash);
    // In a sentence of one word, the first word also stands for the first two.
    let two = words.get(1).map_or(alone, |second| key(Kind::FirstTwo, pair(*first, *second)));
    Some([alone, two, key(Kind::Last, last.hash)])
}
