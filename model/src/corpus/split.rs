//! The held-out set and the folds: always by commenter, never by sentence.
//!
//! The sentences of one person resemble each other. A split by sentence would measure memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Row, version::Digest};

/// One commenter in this many is held out for evaluation and for the gate.
pub const HELD_OUT_ONE_IN: u64 = 5;

/// Prefix of the commenters that stand for reviewed comments.
///
/// They are never held out, because reviewers' corrections must not change what models are judged on.
pub const FEEDBACK: &str = "feedback:";

/// Whether a commenter is in the held-out set of the split with this seed.
///
/// The answer depends only on the seed and the name: commenters stay on their side when the corpus grows.
#[must_use]
pub fn is_held_out(seed: u64, commenter: &str) -> bool {
    !commenter.starts_with(FEEDBACK) && hash(seed, commenter).is_multiple_of(HELD_OUT_ONE_IN)
}

/// The fold (0 to `k`-1) of a commenter by name alone; `None` if held out.
///
/// For corpora that do not fit in memory: the folds of a shard do not depend on other shards. Their sizes differ more
/// than those of [`folds`].
#[must_use]
pub fn place(seed: u64, commenter: &str, k: usize) -> Option<usize> {
    let of_fold = || hash(seed, commenter) / HELD_OUT_ONE_IN % k.max(1) as u64;
    (!is_held_out(seed, commenter)).then(|| of_fold() as usize)
}

/// Whether a commenter is in a sample of about `share` (0 to 1) of all.
///
/// The choice does not depend on the held-out set, so both sides are sampled equally.
#[must_use]
pub fn is_sampled(seed: u64, commenter: &str, share: f64) -> bool {
    (draw(seed, commenter) as f64) < share * 2_f64.powi(64)
}

/// A commenter's place in the order of sampling.
///
/// Reviewed comments come first, because they are few and valuable.
fn draw(seed: u64, commenter: &str) -> u64 {
    if commenter.starts_with(FEEDBACK) {
        return 0;
    }
    hash(seed, &format!("sample\n{commenter}"))
}

/// Keeps at most `limit` sampled rows; a commenter's rows are kept or dropped together.
///
/// Commenters are kept in the order in which [`is_sampled`] draws them. One with too many rows is skipped.
#[must_use]
pub fn at_most(seed: u64, rows: Vec<Row>, limit: u64) -> Vec<Row> {
    if rows.len() as u64 <= limit {
        return rows;
    }
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &rows {
        *sizes.entry(&row.commenter).or_default() += 1;
    }
    let mut order: Vec<(u64, &str, u64)> =
        sizes.into_iter().map(|(name, size)| (draw(seed, name), name, size)).collect();
    order.sort_unstable();
    let mut taken = 0;
    let kept = order.into_iter().filter(|&(_, _, size)| {
        let fits = taken + size <= limit;
        taken += if fits { size } else { 0 };
        fits
    });
    let kept: BTreeSet<String> = kept.map(|(_, name, _)| name.to_owned()).collect();
    rows.into_iter().filter(|row| kept.contains(&row.commenter)).collect()
}

/// Divides rows into training rows and held-out rows.
///
/// ```
/// use model::corpus::{sample, split};
///
/// let (train, held_out) = split::held_out(42, sample().rows);
/// assert!(train.len() > held_out.len());
/// assert!(train.iter().all(|row| !split::is_held_out(42, &row.commenter)));
/// assert!(held_out.iter().all(|row| split::is_held_out(42, &row.commenter)));
/// ```
#[must_use]
pub fn held_out(seed: u64, rows: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
    rows.into_iter().partition(|row| !is_held_out(seed, &row.commenter))
}

/// The held-out rows, with their numbers (from 0) among all rows.
#[must_use]
pub fn held_out_numbered(seed: u64, rows: Vec<Row>) -> (Vec<u64>, Vec<Row>) {
    (0..).zip(rows).filter(|(_, row)| is_held_out(seed, &row.commenter)).unzip()
}

/// The fold (0 to `k`-1) of each row. A commenter's rows share one.
///
/// The commenter with the most rows comes first. Each goes into the fold with the fewest rows so far (scikit-learn's
/// `GroupKFold`). Ties are broken by seed and name, so the order of the rows does not matter.
///
/// ```
/// use model::corpus::{sample, split};
///
/// let rows = sample().rows;
/// let folds = split::folds(42, &rows, 5);
/// let of_one_commenter = rows.iter().zip(&folds).filter(|(row, _)| row.commenter == rows[0].commenter);
/// assert!(of_one_commenter.map(|(_, fold)| *fold).all(|fold| fold == folds[0]));
/// ```
#[must_use]
pub fn folds(seed: u64, rows: &[Row], k: usize) -> Vec<usize> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *sizes.entry(&row.commenter).or_default() += 1;
    }
    let mut groups: Vec<(&str, usize)> = sizes.into_iter().collect();
    groups.sort_by_key(|&(name, size)| (std::cmp::Reverse(size), hash(seed, name)));
    let mut load = vec![0; k.max(1)];
    let mut fold_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, size) in groups {
        let lightest = (0..load.len()).min_by_key(|&fold| load[fold]).unwrap_or(0);
        load[lightest] += size;
        fold_of.insert(name, lightest);
    }
    rows.iter().map(|row| fold_of[row.commenter.as_str()]).collect()
}

fn hash(seed: u64, commenter: &str) -> u64 {
    let digest = Digest::of(format!("{seed}\n{commenter}").as_bytes());
    u64::from_str_radix(&digest.as_str()[..16], 16).expect("a digest is hex")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn no_commenter_is_on_two_sides() {
        let rows = corpus::sample().rows;
        let assigned = folds(7, &rows, 5);
        let mut fold_of = BTreeMap::new();
        for (row, &fold) in rows.iter().zip(&assigned) {
            assert_eq!(*fold_of.entry(&row.commenter).or_insert(fold), fold);
        }
        let size = |k| assigned.iter().filter(|&&f| f == k).count();
        assert!((0..5).all(|k| size(k).abs_diff(rows.len() / 5) <= 10));

        let total = rows.len();
        let (train, test) = held_out(1, rows);
        assert_eq!(train.len() + test.len(), total);
        assert!(test.iter().all(|row| is_held_out(1, &row.commenter)));
        assert!(test.len() * 10 > total && test.len() * 3 < total, "{} of {total}", test.len());
    }

    #[test]
    fn a_place_is_a_fold_for_those_who_are_not_held_out() {
        let names: Vec<String> = (0..5000).map(|i| i.to_string()).collect();
        let mut sizes = [0_usize; 5];
        for name in &names {
            match place(1, name, 5) {
                None => assert!(is_held_out(1, name)),
                Some(fold) => {
                    assert!(!is_held_out(1, name));
                    sizes[fold] += 1;
                }
            }
        }
        assert!(sizes.iter().all(|n| n.abs_diff(800) < 100), "{sizes:?}");
        let sampled = |share| names.iter().filter(|name| is_sampled(1, name, share)).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 5000));
        assert!(sampled(0.3).abs_diff(1500) < 150);
        let both = names.iter().filter(|name| is_sampled(1, name, 0.3) && is_held_out(1, name)).count();
        assert!(both.abs_diff(300) < 80, "{both}");
    }

    #[test]
    fn a_reviewed_comment_is_never_held_out_and_has_a_fold() {
        for number in 0..100 {
            let name = format!("{FEEDBACK}{number}");
            assert!(!is_held_out(number, &name) && place(number, &name, 5).is_some());
            assert!(is_sampled(number, &name, 1e-9), "and in every sample");
        }
    }

    #[test]
    fn a_sample_is_cut_by_commenters_and_never_larger_than_its_limit() {
        let mut rows = corpus::sample().rows;
        let loud = rows[0].clone();
        rows.extend(std::iter::repeat_n(Row { commenter: "loud".to_owned(), ..loud }, 20_000));
        assert_eq!(at_most(1, rows.clone(), 30_000).len(), rows.len());
        let cut = at_most(1, rows.clone(), 1000);
        assert!((900..=1000).contains(&cut.len()), "{}", cut.len());
        for row in &rows {
            let [before, after] = [&rows, &cut].map(|of| of.iter().filter(|r| r.commenter == row.commenter).count());
            assert!(after == 0 || after == before, "a commenter is cut in two");
            if row.commenter == "loud" {
                break;
            }
        }
        rows.reverse();
        let mut turned = at_most(1, rows, 1000);
        turned.reverse();
        assert_eq!(turned, cut);
    }

    #[test]
    fn the_order_of_rows_does_not_change_a_fold() {
        let mut rows = corpus::sample().rows;
        let before: BTreeMap<String, usize> =
            rows.iter().map(|r| r.commenter.clone()).zip(folds(3, &rows, 5)).collect();
        rows.reverse();
        let after: BTreeMap<String, usize> = rows.iter().map(|r| r.commenter.clone()).zip(folds(3, &rows, 5)).collect();
        assert_eq!(before, after);
    }
}
