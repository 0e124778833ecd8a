//! How far two reviewers agree, beyond what chance would do.

/// Cohen's kappa of two reviewers' labels of the same comments: 1 where they always agree, 0 where they agree as often as
/// chance would, below 0 where less. None without a comment, and where both gave one and the same label to all.
#[must_use]
pub fn kappa(pairs: &[(bool, bool)]) -> Option<f64> {
    let n = pairs.len() as f64;
    let share = |is: fn(&(bool, bool)) -> bool| pairs.iter().filter(|pair| is(pair)).count() as f64 / n;
    let (observed, first, second) = (share(|(a, b)| a == b), share(|(a, _)| *a), share(|(_, b)| *b));
    let by_chance = first * second + (1.0 - first) * (1.0 - second);
    (!pairs.is_empty() && by_chance < 1.0).then(|| (observed - by_chance) / (1.0 - by_chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kappa_is_that_of_the_textbook() {
        // Cohen's own kind of table: 20 both yes, 15 both no, 5 and 10 apart.
        let mut pairs = vec![(true, true); 20];
        pairs.extend(vec![(true, false); 5]);
        pairs.extend(vec![(false, true); 10]);
        pairs.extend(vec![(false, false); 15]);
        assert!((kappa(&pairs).unwrap() - 0.4).abs() < 1e-12);
        assert_eq!(kappa(&[(true, true), (false, false)]), Some(1.0));
        assert_eq!(kappa(&[(true, false), (false, true)]), Some(-1.0));
        assert_eq!(kappa(&[]), None);
        assert_eq!(kappa(&[(true, true)]), None);
    }
}
