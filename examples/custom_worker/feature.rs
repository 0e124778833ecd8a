//! A feature: words in capitals. The extractors of threatwatch do not distinguish them from other words.

use model::{
    features::{Extractor, Feature},
    text::Word,
};

pub(crate) struct ShoutedWords;

impl Extractor for ShoutedWords {
    fn name(&self) -> &'static str {
        "shouted_words"
    }

    fn extract(&self, sentence: &str, words: &[Word], features: &mut Vec<Feature>) {
        for word in words {
            let text = &sentence[word.start as usize..word.end as usize];
            if text.chars().count() > 1 && text.chars().all(char::is_uppercase) {
                features.push(Feature { key: key(word.hash), start: word.start, end: word.end });
            }
        }
    }
}

/// Mixed, and different from the keys of other extractors: a table is searched by the leading bits.
fn key(hash: u64) -> u64 {
    let x = (hash ^ 0x53_48_4f_55_54).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31)
}
