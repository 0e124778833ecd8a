//! Features of a sentence: a table of extractors that make 64-bit keys.
//!
//! Keys are hashes, so a model needs no vocabulary to score. With a million distinct features, the chance that any two
//! share a key is about 1 in 37 million.
//!
//! - **In**: a sentence, and a [`FeatureSet`] that names the extractors.
//! - **Out**: the sentence's words and [`Feature`]s, in the caller's buffers.
//! - **Callers**: counts and trainers, which learn from features; a linear model, which looks them up.

mod bigrams;
mod char_3_and_4_grams;
mod char_ngrams;
mod edges;
mod stem_pairs;
mod unigrams;

use serde::{Deserialize, Serialize};

use crate::{
    plugins::{Plugins, Refused},
    text::{self, Word, WordRule},
};

/// One occurrence of a feature in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its key in the table of a model.
    pub key: u64,
    /// Its first byte in the sentence.
    pub start: u32,
    /// One past its last byte.
    pub end: u32,
}

/// Makes features from a sentence.
///
/// An extractor is pure: the same sentence and words give the same features on every machine and in every release,
/// because stored models contain the keys. Keys are well mixed 64-bit hashes; two extractors share one only by chance.
///
/// ```
/// use model::{features::{Analyser, Extractor, Feature, Scratch}, text::{Word, WordRule}};
///
/// /// Marks a sentence that ends with an exclamation mark.
/// struct Shout;
///
/// impl Extractor for Shout {
///     fn name(&self) -> &'static str {
///         "shout"
///     }
///
///     fn extract(&self, sentence: &str, _: &[Word], features: &mut Vec<Feature>) {
///         let end = sentence.len() as u32;
///         if sentence.ends_with('!') {
///             features.push(Feature { key: 0x9d39_247e_3377_6d41, start: end - 1, end });
///         }
///     }
/// }
///
/// let (analyser, mut scratch) = (Analyser::new(WordRule::Word, vec![&Shout]), Scratch::default());
/// analyser.analyse("I will find you!", &mut scratch);
/// assert_eq!((scratch.words.len(), scratch.features.len()), (4, 1));
/// ```
pub trait Extractor: Send + Sync {
    /// Its name in configurations and artifacts; never changed once released.
    fn name(&self) -> &'static str;
    /// Appends the features of a sentence, in order of appearance.
    ///
    /// `words` are the words of the sentence. Places are byte positions in the sentence.
    fn extract(&self, sentence: &str, words: &[Word], features: &mut Vec<Feature>);
    /// Appends the keys of the features that [`Self::extract`] finds, in the same order.
    ///
    /// Scoring needs no places. Override it only for speed.
    fn keys(&self, sentence: &str, words: &[Word], keys: &mut Vec<u64>) {
        let mut features = Vec::new();
        self.extract(sentence, words, &mut features);
        keys.extend(features.iter().map(|feature| feature.key));
    }
    /// Whether each run without spaces has features independent of the rest.
    ///
    /// The features of a sentence are then those of its runs, one after the other, and a scorer may cache them by run.
    /// It calls the extractor for a run alone, with the run's words.
    fn is_of_runs(&self) -> bool {
        false
    }
}

/// Every extractor of this crate, by name.
pub const EXTRACTORS: &[&dyn Extractor] = &[
    &bigrams::Bigrams,
    &char_3_and_4_grams::THREE_AND_FOUR,
    &char_ngrams::TWO_TO_FIVE,
    &edges::Edges,
    &stem_pairs::StemPairs,
    &unigrams::Unigrams,
];

/// [`EXTRACTORS`] and those that the program adds.
static TABLE: Plugins<dyn Extractor> = Plugins::new("feature extractor", Extractor::name, EXTRACTORS);

/// Adds extractors, once per process and before the first lookup.
///
/// Every program that reads an artifact with these extractors must add them: workers, the API, commands.
pub fn extend(extractors: &[&'static dyn Extractor]) -> Result<(), Refused> {
    TABLE.add(extractors)
}

/// The features of a model.
///
/// ```
/// use model::{features::{FeatureSet, Scratch}, text::WordRule};
///
/// let analyser = FeatureSet::new(WordRule::Word, &["unigrams", "bigrams"]).analyser()?;
/// let mut scratch = Scratch::default();
/// analyser.analyse("I will find you", &mut scratch);
/// assert_eq!(scratch.features.len(), 4 + 3);
/// # Ok::<(), model::features::UnknownExtractor>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSet {
    /// How a text is split into words.
    pub words: WordRule,
    /// Names of extractors.
    pub extractors: Vec<String>,
}

/// The program does not have an extractor of this name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no feature extractor is named `{0}` in this program: it has {names}. Only a program that registers the missing \
    extractor can use the model",
    names = TABLE.names()
)]
pub struct UnknownExtractor(String);

impl FeatureSet {
    /// A set of the named extractors.
    #[must_use]
    pub fn new(words: WordRule, extractors: &[&str]) -> Self {
        Self { words, extractors: extractors.iter().map(|&name| name.to_owned()).collect() }
    }

    /// Looks up the extractors by name.
    pub fn analyser(&self) -> Result<Analyser, UnknownExtractor> {
        let find = |name: &String| TABLE.find(name).ok_or_else(|| UnknownExtractor(name.clone()));
        Ok(Analyser::new(self.words, self.extractors.iter().map(find).collect::<Result<_, _>>()?))
    }
}

/// Makes the features of sentences.
pub struct Analyser {
    words: WordRule,
    extractors: Vec<&'static dyn Extractor>,
}

impl Analyser {
    /// An analyser with these extractors, which need not be in the table.
    #[must_use]
    pub fn new(words: WordRule, extractors: Vec<&'static dyn Extractor>) -> Self {
        Self { words, extractors }
    }

    /// Fills `scratch` with the words and features of one sentence.
    ///
    /// Allocates only while the buffers grow.
    pub fn analyse(&self, sentence: &str, scratch: &mut Scratch) {
        scratch.words.clear();
        text::words(sentence, self.words, &mut scratch.words);
        scratch.features.clear();
        for extractor in &self.extractors {
            extractor.extract(sentence, &scratch.words, &mut scratch.features);
        }
    }
}

impl Analyser {
    /// Appends the words at a place of a text.
    pub(crate) fn add_words(&self, text: &str, place: std::ops::Range<usize>, words: &mut Vec<Word>) {
        let before = words.len();
        text::words(&text[place.clone()], self.words, words);
        words[before..].iter_mut().for_each(|word| *word = word.after(place.start));
    }

    /// Appends the keys of the extractors of runs, or those of the others.
    pub(crate) fn add_keys(&self, are_of_runs: bool, text: &str, words: &[Word], keys: &mut Vec<u64>) {
        for extractor in self.extractors.iter().filter(|extractor| extractor.is_of_runs() == are_of_runs) {
            extractor.keys(text, words, keys);
        }
    }
}

impl std::fmt::Debug for Analyser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.extractors.iter().map(|e| e.name()).collect();
        f.debug_struct("Analyser").field("words", &self.words).field("extractors", &names).finish()
    }
}

/// Buffers that are reused for each sentence.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The sentence's words.
    pub words: Vec<Word>,
    /// The sentence's features.
    pub features: Vec<Feature>,
}

/// The kind of a feature; features of different kinds have different keys.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Kind {
    Unigram = 1,
    Bigram = 2,
    First = 3,
    FirstTwo = 4,
    Last = 5,
    CharNgram = 6,
    StemPair = 7,
    CharThreeOrFour = 8,
}

fn key(kind: Kind, hash: u64) -> u64 {
    mix(hash ^ (kind as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The hash of a word followed by another.
fn pair(first: Word, second: Word) -> u64 {
    ordered(first.hash, second.hash)
}

/// The hash of one hash followed by another.
fn ordered(first: u64, second: u64) -> u64 {
    mix(first).rotate_left(17).wrapping_add(second)
}

/// A bijection that mixes all bits of a hash into the leading bits, for lookups.
fn mix(mut x: u64) -> u64 {
    x ^= x >> 32;
    x = x.wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ (x >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        let names: Vec<&str> = EXTRACTORS.iter().map(|e| e.name()).collect();
        assert!(names.is_sorted(), "{names:?}");
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/features")).unwrap();
        assert_eq!(files.count() - 1, names.len(), "each file in features/ but mod.rs is an extractor of the table");
        let set = FeatureSet::new(WordRule::Word, &["unigrams", "nonsense"]);
        assert_eq!(set.analyser().unwrap_err(), UnknownExtractor("nonsense".into()));
    }

    #[test]
    fn a_sentence_has_its_unigrams_bigrams_and_edges() {
        let count = |text, extractor| {
            let mut scratch = Scratch::default();
            FeatureSet::new(WordRule::Word, &[extractor]).analyser().unwrap().analyse(text, &mut scratch);
            scratch.features.len()
        };
        assert_eq!(count("we will come back", "unigrams"), 4);
        assert_eq!(count("we will come back", "bigrams"), 3);
        assert_eq!(count("we will come back", "edges"), 3);
        assert_eq!(count("we", "bigrams"), 0);
        assert_eq!(count("", "edges"), 0);
        // " we " has 3 pairs, 2 triples and 1 of four; " a " has 2 pairs and 1 triple.
        assert_eq!(count("we a", "char_ngrams"), 6 + 3);
        assert_eq!(count("we a", "char_3_and_4_grams"), 3 + 1);
        assert_eq!(count("a", "char_3_and_4_grams"), 1);
        assert_eq!(count("\u{1F600}", "char_ngrams"), 3);
        assert_eq!(count("we", "stem_pairs"), 0);
        assert_eq!(count("we will come back again to this", "stem_pairs"), 4 + 4 + 4 + 3 + 2 + 1);
    }

    #[test]
    fn a_stem_pair_is_the_same_with_other_endings_and_words_between_and_not_the_other_way_round() {
        let keys = |text| {
            let mut scratch = Scratch::default();
            FeatureSet::new(WordRule::Word, &["stem_pairs"]).analyser().unwrap().analyse(text, &mut scratch);
            scratch.features.iter().map(|feature| feature.key).collect::<Vec<_>>()
        };
        let kill_you = keys("kill you")[0];
        for text in ["KILLING all of you", "they kill you", "We killed every one of your", "\u{e9}t\u{e9} kills you"] {
            assert_eq!(keys(text).contains(&kill_you), !text.ends_with("your"), "{text}");
        }
        for text in ["you kill", "kil you", "kill a b c d you", "kill"] {
            assert!(!keys(text).contains(&kill_you), "{text}");
        }
    }

    #[test]
    fn what_is_said_to_be_of_runs_is() {
        for extractor in EXTRACTORS.iter().filter(|extractor| extractor.is_of_runs()) {
            for row in crate::corpus::sample().rows {
                let text = row.text + "\u{a0}\u{1F600}Ä \t x";
                let keys = |texts: Vec<&str>| {
                    let mut found = Vec::new();
                    for text in texts {
                        let mut words = Vec::new();
                        text::words(text, WordRule::Word, &mut words);
                        extractor.extract(text, &words, &mut found);
                    }
                    found.into_iter().map(|feature| feature.key).collect::<Vec<_>>()
                };
                assert_eq!(keys(vec![&text]), keys(text.split_whitespace().collect()), "{}", extractor.name());
            }
        }
    }

    #[test]
    fn keys_alone_are_those_of_the_features() {
        for extractor in EXTRACTORS {
            for row in crate::corpus::sample().rows {
                for text in [row.text.as_str(), "", "a", "\u{e9}t\u{e9} \u{1F600}\u{a0}x  y\t"] {
                    let (mut words, mut features, mut keys) = (Vec::new(), Vec::new(), vec![7]);
                    text::words(text, WordRule::Word, &mut words);
                    extractor.extract(text, &words, &mut features);
                    extractor.keys(text, &words, &mut keys);
                    let of_features: Vec<u64> = features.iter().map(|feature| feature.key).collect();
                    assert_eq!((keys[0], &keys[1..]), (7, &of_features[..]), "{}: {text:?}", extractor.name());
                }
            }
        }
    }

    #[test]
    fn different_features_of_the_sample_have_different_keys() {
        let mut seen: BTreeMap<u64, String> = BTreeMap::new();
        let mut scratch = Scratch::default();
        let analyser = FeatureSet::new(WordRule::Word, &["unigrams", "bigrams"]).analyser().unwrap();
        for row in crate::corpus::sample().rows {
            analyser.analyse(&row.text, &mut scratch);
            for feature in &scratch.features {
                let inside = scratch.words.iter().filter(|w| w.start >= feature.start && w.end <= feature.end);
                let name: Vec<String> =
                    inside.map(|w| row.text[w.start as usize..w.end as usize].to_lowercase()).collect();
                let name = name.join(" ");
                assert_eq!(seen.entry(feature.key).or_insert_with(|| name.clone()), &name);
            }
        }
        assert!(seen.len() > 5000, "{}", seen.len());
    }
}
