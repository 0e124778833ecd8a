//! Two words up to four places apart, in order, each by its first letters: `kill ... you` in `killing all of you`.
//!
//! Words may stand between them and endings may differ, so a pair is met in more sentences than its two words side by
//! side. With these pairs the support vector machine's PR-AUC on the THREAT corpus is higher by .014, the stack's by
//! .008.

use super::{Extractor, Feature, Kind, key, ordered};
use crate::text::Word;

pub(super) struct StemPairs;

/// How many words further the second one may be; a fifth adds features and no quality.
const REACH: usize = 4;

impl Extractor for StemPairs {
    fn name(&self) -> &'static str {
        "stem_pairs"
    }

    fn extract(&self, _: &str, words: &[Word], features: &mut Vec<Feature>) {
        features.reserve(REACH * words.len());
        for (i, first) in words.iter().enumerate() {
            let near = &words[i + 1..words.len().min(i + 1 + REACH)];
            features.extend(near.iter().map(|second| Feature {
                key: key(Kind::StemPair, ordered(first.stem, second.stem)),
                start: first.start,
                end: second.end,
            }));
        }
    }
}
