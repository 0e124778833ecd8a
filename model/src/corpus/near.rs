//! Which sentences nearly repeat others: by the characters that follow each other in both.
//!
//! Two sentences are near when the sets of their runs of four characters overlap by [`NEAR`] (Jaccard's index), whatever
//! their case, punctuation and spaces. The search is exact: sets that overlap so much share one of their rarest members
//! (the prefix filter of Chaudhuri, Ganti and Kaushik, 2006), so few pairs are compared.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// From this share of common members on, of all that either has.
pub const NEAR: f64 = 0.7;
/// Characters of a member.
const LENGTH: usize = 4;

/// A text without what does not count: letters and digits in lower case, one space between words.
#[must_use]
pub fn plain(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    // Emoji and the like are all that some comments have.
    if words.is_empty() { lower.split_whitespace().collect::<Vec<_>>().join(" ") } else { words.join(" ") }
}

/// Sentences that others are compared with.
#[derive(Debug, Default)]
pub struct Near {
    /// How many of the sentences have a member.
    frequency: HashMap<u64, u32>,
    /// By one of a sentence's rarest members.
    by_member: HashMap<u64, Vec<u32>>,
    sets: Vec<BTreeSet<u64>>,
}

impl Near {
    /// Of these sentences, numbered from 0.
    #[must_use]
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut this = Self { sets: texts.into_iter().map(members).collect(), ..Self::default() };
        for member in this.sets.iter().flatten() {
            *this.frequency.entry(*member).or_default() += 1;
        }
        for (number, set) in (0..).zip(&this.sets) {
            for member in rarest(set, &this.frequency) {
                this.by_member.entry(member).or_default().push(number);
            }
        }
        this
    }

    /// The numbers of the sentences that a text nearly repeats, ascending.
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<u32> {
        let set = members(text);
        let candidates: BTreeSet<u32> =
            rarest(&set, &self.frequency).filter_map(|member| self.by_member.get(&member)).flatten().copied().collect();
        candidates.into_iter().filter(|&number| overlap(&set, &self.sets[number as usize]) >= NEAR).collect()
    }
}

/// The hashes of a text's members; of a short text the whole is one.
fn members(text: &str) -> BTreeSet<u64> {
    let characters: Vec<char> = plain(text).chars().collect();
    let hash = |part: &[char]| {
        let mut hasher = DefaultHasher::new();
        part.hash(&mut hasher);
        hasher.finish()
    };
    if characters.len() <= LENGTH {
        return BTreeSet::from([hash(&characters)]);
    }
    characters.windows(LENGTH).map(hash).collect()
}

/// So many of the rarest members that two sets without one of them in common are not near.
fn rarest(set: &BTreeSet<u64>, frequency: &HashMap<u64, u32>) -> impl Iterator<Item = u64> {
    let mut members: Vec<(u32, u64)> =
        set.iter().map(|member| (frequency.get(member).copied().unwrap_or(0), *member)).collect();
    members.sort_unstable();
    let most_missing = members.len() - (NEAR * members.len() as f64).ceil() as usize;
    members.into_iter().take(most_missing + 1).map(|(_, member)| member)
}

fn overlap(a: &BTreeSet<u64>, b: &BTreeSet<u64>) -> f64 {
    let common = a.intersection(b).count();
    common as f64 / (a.len() + b.len() - common) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_near_itself_in_other_clothes_and_with_a_word_changed_and_not_near_others() {
        let known = ["I will find you and I will break your neck, you coward.", "Nice song!", "ok", "\u{1F600}"];
        let near = Near::new(known);
        for (text, expected) in [
            ("i will find you and i will break your neck you coward", vec![0]),
            ("I will find you and I'll break your neck, you coward!!", vec![0]),
            ("I will never find out why you like this.", vec![]),
            ("nice   SONG", vec![1]),
            ("Nice songs by a nice band.", vec![]),
            ("OK.", vec![2]),
            ("o", vec![]),
            (" \u{1F600} ", vec![3]),
            ("\u{1F601}", vec![]),
        ] {
            assert_eq!(near.find(text), expected, "{text}");
        }
    }

    #[test]
    fn the_search_finds_what_comparing_all_pairs_finds() {
        let rows = crate::corpus::sample().rows;
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let near = Near::new(texts[..400].iter().copied());
        let sets: Vec<BTreeSet<u64>> = texts.iter().map(|text| members(text)).collect();
        let mut found = 0;
        // Half of them are among the sentences, the other half are not.
        for text in &texts[200..600] {
            let cut: String = text.chars().skip(1).collect();
            let set = members(&cut);
            let expected: Vec<u32> = (0..400).filter(|&number| overlap(&set, &sets[number as usize]) >= NEAR).collect();
            found += expected.len();
            assert_eq!(near.find(&cut), expected, "{cut}");
        }
        assert!(found > 150, "{found}");
    }
}
