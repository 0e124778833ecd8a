//! How much two reviewers agree beyond chance.

/// Cohen's kappa of two reviewers' labels of the same comments.
///
/// It is 1 if they always agree, 0 if they agree as often as by chance, and negative if they agree less often. `None`
/// if there are no comments, or if both reviewers gave the same label to all comments.
///
/// ```
/// use model::evaluation::kappa;
///
/// assert_eq!(kappa(&[(true, true), (false, false)]), Some(1.0));
/// assert_eq!(kappa(&[(true, false), (false, true)]), Some(-1.0));
/// assert_eq!(kappa(&[(true, true)]), None);
/// ```
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
        // A table of four cells: 20 both yes, 15 both no, 5 and 10 with different labels.
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
