//! Finds sentences that are nearly the same, by the character n-grams that they share.
//!
//! Two sentences are near if the sets of their runs of four characters have a Jaccard index of at least [`NEAR`]. Case,
//! punctuation and spaces do not matter. The search is exact: two such sets share one of their rarest members (the
//! prefix filter of Chaudhuri, Ganti and Kaushik, 2006), so few pairs are compared.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// The least Jaccard index (common members divided by all members) of near sentences.
pub const NEAR: f64 = 0.7;
/// Characters of a member.
const LENGTH: usize = 4;

/// The normalised text: letters and digits in lower case, one space between words.
#[must_use]
pub fn plain(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    // Some comments consist only of emoji and similar signs.
    if words.is_empty() { lower.split_whitespace().collect::<Vec<_>>().join(" ") } else { words.join(" ") }
}

/// An index of sentences to compare others with.
///
/// ```
/// use model::corpus::near::Near;
///
/// let known = Near::new(["Nice song!", "I will find you and break your neck, you coward."]);
/// assert_eq!(known.find("i'll find you and break your neck you coward!!"), [1]);
/// assert!(known.find("What a boring film.").is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Near {
    /// The number of sentences that have each member.
    frequency: HashMap<u64, u32>,
    /// The sentences that have each member among their rarest ones.
    by_member: HashMap<u64, Vec<u32>>,
    sets: Vec<BTreeSet<u64>>,
}

impl Near {
    /// Makes an index of these sentences, which are numbered from 0.
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

    /// The numbers of the sentences that are near a text, in ascending order.
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<u32> {
        let set = members(text);
        let candidates: BTreeSet<u32> =
            rarest(&set, &self.frequency).filter_map(|member| self.by_member.get(&member)).flatten().copied().collect();
        candidates.into_iter().filter(|&number| overlap(&set, &self.sets[number as usize]) >= NEAR).collect()
    }
}

/// The hashes of a text's members; a short text is one member.
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

/// Enough of the rarest members that two sets without a common one are not near.
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
