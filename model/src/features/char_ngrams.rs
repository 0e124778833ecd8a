//! Two to five adjacent characters of a word, with one space at each edge.
//!
//! The same as scikit-learn's `char_wb` analyser. These features survive spelling mistakes, inflection and `k1ll`.

use super::{Extractor, Feature, Kind, key};
use crate::text::{self, Word};

pub(super) struct CharNgrams;

const SHORTEST: usize = 2;
const LONGEST: usize = 5;
const SPACE: u64 = ' ' as u64;
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Extractor for CharNgrams {
    fn name(&self) -> &'static str {
        "char_ngrams"
    }

    fn is_of_runs(&self) -> bool {
        true
    }

    fn extract(&self, sentence: &str, _: &[Word], features: &mut Vec<Feature>) {
        let sentence = sentence.get(..u32::MAX as usize).unwrap_or(sentence);
        let bytes = sentence.as_bytes();
        // At most four n-grams per character, so the buffer grows once.
        features.reserve(4 * bytes.len() + 8);
        let mut window = Window::default();
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if byte.is_ascii() {
                if text::is_ascii_space(byte) {
                    window.finish(at, features);
                } else {
                    window.start(at, features);
                    window.push(u64::from(byte.to_ascii_lowercase()), features);
                }
                at += 1;
                continue;
            }
            let c = sentence[at..].chars().next().expect("a lead byte starts a character");
            if c.is_whitespace() {
                window.finish(at, features);
            } else {
                window.start(at, features);
                for lower in c.to_lowercase() {
                    window.push(u64::from(lower), features);
                }
            }
            at += c.len_utf8();
        }
        window.finish(sentence.len(), features);
    }
}

/// The last characters of the current run.
#[derive(Default)]
struct Window {
    /// Hashes of the n-grams that end here; `hashes[k]` has length k + 1.
    hashes: [u64; LONGEST],
    length: usize,
    run_start: u32,
    /// The first feature of this run. The features' end is set when the run ends.
    first: usize,
}

impl Window {
    fn start(&mut self, at: usize, features: &mut Vec<Feature>) {
        if self.length == 0 {
            self.run_start = at as u32;
            self.first = features.len();
            self.push(SPACE, features);
        }
    }

    #[inline]
    fn push(&mut self, c: u64, features: &mut Vec<Feature>) {
        let step = |hash: u64| (hash ^ c).wrapping_mul(FNV_PRIME);
        let [one, two, three, four, _] = self.hashes;
        self.hashes = [step(FNV_OFFSET), step(one), step(two), step(three), step(four)];
        self.length += 1;
        let place = (self.run_start, self.run_start);
        for n in SHORTEST..=self.length.min(LONGEST) {
            let key = key(Kind::CharNgram, self.hashes[n - 1]);
            features.push(Feature { key, start: place.0, end: place.1 });
        }
    }

    fn finish(&mut self, at: usize, features: &mut Vec<Feature>) {
        if self.length == 0 {
            return;
        }
        self.push(SPACE, features);
        for feature in &mut features[self.first..] {
            feature.end = at as u32;
        }
        self.length = 0;
    }
}
