//! Which comments to label next: those whose labels teach a model the most.
//!
//! - **In**: comments with the probability that a model gives each.
//! - **Out**: their numbers, in the order in which they should be labelled.
//! - **Callers**: the command `label`, the API's `/label`, benchmarks.
//!
//! A comment is informative if the model is unsure of it (uncertainty sampling: Lewis and Gale, 1994). Many unsure
//! comments say the same in other words, so each choice also considers how new the words are (maximal marginal
//! relevance: Carbonell and Goldstein, 1998). A model alone never selects what it is wrongly sure of, so a share of the
//! comments is drawn at random from all. Only these random comments can be used to estimate the share of threats.

use std::collections::HashMap;

use crate::{
    random::SplitMix,
    text::{WordRule, words},
};

/// The default share that is drawn at random.
pub const RANDOM_SHARE: f64 = 0.1;
/// The number of uncertain comments that are considered for each chosen one.
const LOOKED_AT: usize = 10;
/// The weight of new words against uncertainty, from 0 to 1.
const NEWNESS: f64 = 0.5;
/// The number of rarest stems that count; the others of a long text are common.
const STEMS: usize = 64;
/// Keeps the log-odds of 0 and 1 finite.
const SURE: f64 = 1e-6;

/// Why a comment was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The model is unsure of it, and its words differ from earlier choices.
    Informative,
    /// Drawn at random.
    Random,
}

/// How a choice is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// How many comments to choose; if there are fewer, all are chosen.
    pub take: usize,
    /// The share of them, from 0 to 1, to draw at random from all comments.
    pub random_share: f64,
    /// The seed for the random comments and their places in the order.
    pub seed: u64,
}

/// How unsure a model is: 1 at its threshold, towards 0 far from it.
#[must_use]
pub fn uncertainty(probability: f64, threshold: f64) -> f64 {
    let log_odds = |p: f64| (p.clamp(SURE, 1.0 - SURE) / (1.0 - p.clamp(SURE, 1.0 - SURE))).ln();
    (-(log_odds(probability) - log_odds(threshold)).abs()).exp()
}

/// Chooses the comments to label next.
///
/// `text` returns a comment's text by its number; it is called for few comments only.
///
/// The same arguments give the same choice.
///
/// ```
/// use model::labelling::{Choice, Why, choose};
///
/// let texts = ["Nice song.", "I will find you.", "You should be careful."];
/// let probabilities = [0.01, 0.98, 0.45];
/// let choice = Choice { take: 1, random_share: 0.0, seed: 1 };
/// let chosen = choose(&probabilities, 0.5, |i| texts[i], &choice);
/// assert_eq!(chosen, [(2, Why::Informative)]);
/// ```
pub fn choose<'a>(
    probabilities: &[f64],
    threshold: f64,
    text: impl Fn(usize) -> &'a str,
    choice: &Choice,
) -> Vec<(usize, Why)> {
    let take = choice.take.min(probabilities.len());
    let random = (choice.random_share.clamp(0.0, 1.0) * take as f64).round() as usize;
    let mut lot = SplitMix(choice.seed);
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    // The first steps of a shuffle.
    for i in 0..random {
        let other = i + lot.below(order.len() - i);
        order.swap(i, other);
    }
    let (drawn, others) = order.split_at(random);

    let informative = take - random;
    let mut unsure: Vec<(f64, usize)> = others.iter().map(|&i| (uncertainty(probabilities[i], threshold), i)).collect();
    unsure.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    unsure.truncate(informative.saturating_mul(LOOKED_AT));
    let texts: Vec<&str> = unsure.iter().map(|&(_, i)| text(i)).collect();
    let found = different(&texts, &unsure.iter().map(|(u, _)| *u).collect::<Vec<_>>(), informative);
    let mut chosen: Vec<(usize, Why)> = found.into_iter().map(|place| (unsure[place].1, Why::Informative)).collect();
    // Both kinds are mixed, so a reviewer who stops early has labelled some of each.
    for &i in drawn {
        chosen.insert(lot.below(chosen.len() + 1), (i, Why::Random));
    }
    chosen
}

/// The indices of `take` uncertain texts that differ from each other, the best first.
///
/// Of two similar texts the more uncertain one comes first, and the other one only when no newer text is left.
#[must_use]
pub fn different(texts: &[&str], uncertainties: &[f64], take: usize) -> Vec<usize> {
    let vectors = vectors(texts);
    let mut with_stem: HashMap<u64, Vec<(usize, f64)>> = HashMap::new();
    for (text, vector) in vectors.iter().enumerate() {
        for &(stem, weight) in vector {
            with_stem.entry(stem).or_default().push((text, weight));
        }
    }
    let (mut nearest, mut alike) = (vec![0.0_f64; texts.len()], vec![0.0_f64; texts.len()]);
    let mut left: Vec<usize> = (0..texts.len()).collect();
    let mut chosen = Vec::with_capacity(take.min(texts.len()));
    while chosen.len() < take && !left.is_empty() {
        let worth = |i: usize| (1.0 - NEWNESS) * uncertainties[i] - NEWNESS * nearest[i];
        let best = (0..left.len()).max_by(|&a, &b| {
            let (a, b) = (left[a], left[b]);
            worth(a).total_cmp(&worth(b)).then(b.cmp(&a))
        });
        let best = left.swap_remove(best.expect("something is left"));
        for (stem, weight) in &vectors[best] {
            with_stem[stem].iter().for_each(|(text, other)| alike[*text] += weight * other);
        }
        for (nearest, alike) in nearest.iter_mut().zip(&mut alike) {
            *nearest = nearest.max(std::mem::take(alike));
        }
        chosen.push(best);
    }
    chosen
}

/// The rarest word stems of each text, as a unit vector. Rarer stems weigh more.
fn vectors(texts: &[&str]) -> Vec<Vec<(u64, f64)>> {
    let mut frequency: HashMap<u64, f64> = HashMap::new();
    let stems = |text: &&str| {
        let mut found = Vec::new();
        words(text, WordRule::Word, &mut found);
        let mut stems: Vec<u64> = found.into_iter().map(|word| word.stem).collect();
        stems.sort_unstable();
        stems.dedup();
        stems
    };
    let stems: Vec<Vec<u64>> = texts.iter().map(stems).collect();
    for stem in stems.iter().flatten() {
        *frequency.entry(*stem).or_default() += 1.0;
    }
    let vector = |stems: Vec<u64>| {
        let weight = |stem: u64| (stem, (1.0 + texts.len() as f64 / frequency[&stem]).ln());
        let mut weighted: Vec<(u64, f64)> = stems.into_iter().map(weight).collect();
        weighted.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        weighted.truncate(STEMS);
        let length = weighted.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
        weighted.into_iter().map(|(stem, weight)| (stem, weight / length)).collect()
    };
    stems.into_iter().map(vector).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_model_is_most_unsure_at_its_threshold() {
        let sure: Vec<f64> = [0.2, 0.1, 0.3, 0.9, 0.0, 1.0].map(|p| uncertainty(p, 0.2)).to_vec();
        assert_eq!(sure[0], 1.0);
        assert!(sure[1] < sure[2] && sure[2] < 1.0 && sure[3] < sure[1], "{sure:?}");
        assert!(sure.iter().all(|u| (0.0..=1.0).contains(u)), "{sure:?}");
    }

    #[test]
    fn what_says_the_same_again_waits_for_what_is_new() {
        let texts = ["I will hunt you down", "i will HUNT you down!", "they should burn his house", "nice song"];
        let unsure = [0.9, 0.89, 0.8, 0.2];
        assert_eq!(different(&texts, &unsure, 3), [0, 2, 3]);
        assert_eq!(different(&texts, &unsure, 9), [0, 2, 3, 1]);
        assert_eq!(different(&[], &[], 3), [0_usize; 0]);
        assert_eq!(different(&["", "…"], &[0.5, 0.6], 2), [1, 0], "texts without words");
    }

    #[test]
    fn the_random_ones_come_from_all_and_nothing_is_chosen_twice() {
        let probabilities: Vec<f64> = (0..1000).map(|i| f64::from(i) / 1000.0).collect();
        let texts: Vec<String> = (0..1000).map(|i| format!("comment {i}")).collect();
        let choose =
            |take, random_share, seed| choose(&probabilities, 0.3, |i| &texts[i], &Choice { take, random_share, seed });
        let chosen = choose(100, 0.2, 1);
        assert_eq!(chosen, choose(100, 0.2, 1));
        assert_ne!(chosen, choose(100, 0.2, 2));
        assert_eq!(chosen.iter().map(|(i, _)| i).collect::<BTreeSet<_>>().len(), 100);
        let (random, informative): (Vec<_>, Vec<_>) = chosen.iter().partition(|(_, why)| *why == Why::Random);
        assert_eq!((random.len(), informative.len()), (20, 80));
        let is_unsure = |i: usize| uncertainty(probabilities[i], 0.3) > 0.3;
        assert!(informative.iter().all(|&(i, _)| is_unsure(i)), "{informative:?}");
        assert!(random.iter().any(|&(i, _)| !is_unsure(i)), "{random:?}");
        // Not all at one end.
        assert!(chosen[..50].iter().any(|(_, why)| *why == Why::Random));

        assert_eq!(choose(5000, 0.1, 1).len(), 1000);
        assert_eq!(choose(0, 0.5, 1), []);
    }
}
