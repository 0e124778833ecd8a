//! Adjacent characters of a word, with one space at each edge.
//!
//! The same as scikit-learn's `char_wb` analyser. These features survive spelling mistakes, inflection and `k1ll`.

use super::{Extractor, Feature, Kind, key};
use crate::text::{self, Word};

/// N-grams of `SHORTEST` to `LONGEST` characters.
pub(super) struct CharNgrams<const SHORTEST: usize, const LONGEST: usize> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// Two to five characters: models of earlier releases have these.
pub(super) const TWO_TO_FIVE: CharNgrams<2, 5> = CharNgrams { name: "char_ngrams", kind: Kind::CharNgram };

/// The most characters of an n-gram.
const MOST_CHARS: usize = 5;
/// The most n-grams that end at one character.
const MOST: usize = 4;
const SPACE: u64 = ' ' as u64;
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl<const SHORTEST: usize, const LONGEST: usize> Extractor for CharNgrams<SHORTEST, LONGEST> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_of_runs(&self) -> bool {
        true
    }

    fn extract(&self, sentence: &str, _: &[Word], features: &mut Vec<Feature>) {
        self.visit(sentence, &mut Located { features, first: 0 });
    }

    fn keys(&self, sentence: &str, _: &[Word], keys: &mut Vec<u64>) {
        let mut sink = Keys { keys, n: 0 };
        self.visit(sentence, &mut sink);
        sink.keys.truncate(sink.n);
    }
}

/// Receives the n-grams of a sentence.
trait Sink {
    /// Room for so many n-grams, so that the buffer grows once.
    fn reserve(&mut self, n: usize);
    /// The n-grams that end at one character: the first `n` of these.
    fn push(&mut self, keys: [u64; MOST], n: usize);
    /// The end of a run; its n-grams are those since the last end.
    fn end_run(&mut self, start: usize, end: usize);
}

/// Keys alone, in a buffer that has room for all.
struct Keys<'a> {
    keys: &'a mut Vec<u64>,
    n: usize,
}

impl Sink for Keys<'_> {
    fn reserve(&mut self, n: usize) {
        self.n = self.keys.len();
        self.keys.resize(self.n + n, 0);
    }

    #[inline]
    fn push(&mut self, keys: [u64; MOST], n: usize) {
        self.keys[self.n..self.n + MOST].copy_from_slice(&keys);
        self.n += n;
    }

    fn end_run(&mut self, _: usize, _: usize) {}
}

/// Features with the places of their runs.
struct Located<'a> {
    features: &'a mut Vec<Feature>,
    /// The first feature of the current run.
    first: usize,
}

impl Sink for Located<'_> {
    fn reserve(&mut self, n: usize) {
        self.features.reserve(n);
        self.first = self.features.len();
    }

    #[inline]
    fn push(&mut self, keys: [u64; MOST], n: usize) {
        self.features.extend(keys[..n].iter().map(|&key| Feature { key, start: 0, end: 0 }));
    }

    fn end_run(&mut self, start: usize, end: usize) {
        for feature in &mut self.features[self.first..] {
            (feature.start, feature.end) = (start as u32, end as u32);
        }
        self.first = self.features.len();
    }
}

impl<const SHORTEST: usize, const LONGEST: usize> CharNgrams<SHORTEST, LONGEST> {
    fn visit(&self, sentence: &str, sink: &mut impl Sink) {
        let sentence = sentence.get(..u32::MAX as usize).unwrap_or(sentence);
        let bytes = sentence.as_bytes();
        // Three more: the spaces of a run, and room for the keys that a step writes and does not count.
        sink.reserve(MOST * (bytes.len() + 3));
        let mut window = Window::<SHORTEST, LONGEST>::new(self.kind);
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if byte.is_ascii() {
                if text::is_ascii_space(byte) {
                    window.finish(at, sink);
                } else {
                    window.start(at, sink);
                    window.push(u64::from(byte.to_ascii_lowercase()), sink);
                }
                at += 1;
                continue;
            }
            let c = sentence[at..].chars().next().expect("a lead byte starts a character");
            if c.is_whitespace() {
                window.finish(at, sink);
            } else {
                window.start(at, sink);
                for lower in c.to_lowercase() {
                    window.push(u64::from(lower), sink);
                }
            }
            at += c.len_utf8();
        }
        window.finish(sentence.len(), sink);
    }
}

/// The last characters of the current run.
struct Window<const SHORTEST: usize, const LONGEST: usize> {
    kind: Kind,
    /// Hashes of the n-grams that end here; `hashes[k]` has length k + 1.
    hashes: [u64; MOST_CHARS],
    length: usize,
    run_start: usize,
}

impl<const SHORTEST: usize, const LONGEST: usize> Window<SHORTEST, LONGEST> {
    fn new(kind: Kind) -> Self {
        Self { kind, hashes: [0; MOST_CHARS], length: 0, run_start: 0 }
    }

    #[inline]
    fn start(&mut self, at: usize, sink: &mut impl Sink) {
        if self.length == 0 {
            self.run_start = at;
            self.push(SPACE, sink);
        }
    }

    #[inline]
    fn push(&mut self, c: u64, sink: &mut impl Sink) {
        let step = |hash: u64| (hash ^ c).wrapping_mul(FNV_PRIME);
        for n in (1..LONGEST).rev() {
            self.hashes[n] = step(self.hashes[n - 1]);
        }
        self.hashes[0] = step(FNV_OFFSET);
        self.length += 1;
        let mut keys = [0; MOST];
        for n in SHORTEST..=LONGEST {
            keys[n - SHORTEST] = key(self.kind, self.hashes[n - 1]);
        }
        sink.push(keys, (self.length + 1).min(LONGEST + 1).saturating_sub(SHORTEST));
    }

    fn finish(&mut self, at: usize, sink: &mut impl Sink) {
        if self.length > 0 {
            self.push(SPACE, sink);
            sink.end_run(self.run_start, at);
            self.length = 0;
        }
    }
}
