//! Labels that are likely wrong, found by models that had not seen the rows.
//!
//! Confident learning (Northcutt, Jiang and Chuang, 2021): a row is suspected if the models are at least as sure of the
//! other label as they are, on average, of the rows that have it. Each label therefore has its own bar. A model that is
//! unsure of all threats does not make all of them suspects.

/// A row whose label is likely wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suspect {
    /// Its number among the rows, from 0.
    pub row: usize,
    /// Its label.
    pub is_threat: bool,
    /// The probability that it is a threat, from a model that had not seen it.
    pub probability: f64,
}

impl Suspect {
    /// The models' probability of its label, from 0 to 1.
    fn belief(&self) -> f64 {
        if self.is_threat { self.probability } else { 1.0 - self.probability }
    }
}

/// The rows whose labels are likely wrong, the most suspicious first.
///
/// `labelled` has each row's label and its probability of being a threat. The result is empty unless both labels occur.
///
/// ```
/// use model::evaluation::suspects;
///
/// let labelled = [(true, 0.9), (true, 0.8), (true, 0.0), (false, 0.1), (false, 0.0)];
/// let found = suspects(&labelled);
/// assert_eq!(found.len(), 1);
/// assert!(found[0].row == 2 && found[0].is_threat);
/// ```
#[must_use]
pub fn suspects(labelled: &[(bool, f64)]) -> Vec<Suspect> {
    let mean = |of: bool| {
        let sure: Vec<f64> =
            labelled.iter().filter(|(label, _)| *label == of).map(|(_, p)| if of { *p } else { 1.0 - p }).collect();
        (!sure.is_empty()).then(|| sure.iter().sum::<f64>() / sure.len() as f64)
    };
    let (Some(of_threats), Some(of_harmless)) = (mean(true), mean(false)) else { return Vec::new() };
    let is_suspected = |&(is_threat, probability): &(bool, f64)| {
        let (as_threat, as_harmless) = (probability >= of_threats, 1.0 - probability >= of_harmless);
        // If both bars are reached, the likelier label counts.
        let says_threat = if as_threat && as_harmless { probability >= 0.5 } else { as_threat };
        (as_threat || as_harmless) && says_threat != is_threat
    };
    let suspect = |(row, &(is_threat, probability)): (usize, &(bool, f64))| Suspect { row, is_threat, probability };
    let mut found: Vec<Suspect> =
        labelled.iter().enumerate().filter(|(_, row)| is_suspected(row)).map(suspect).collect();
    found.sort_by(|a, b| a.belief().total_cmp(&b.belief()).then(a.row.cmp(&b.row)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        corpus,
        experiment::{self, Config},
        trainers,
    };

    #[test]
    fn a_label_is_suspected_where_the_other_is_believed_as_much_as_it_is_elsewhere() {
        // The models' mean probability of the label is 0.6 for threats and 0.8 for harmless rows.
        let labelled =
            [(true, 0.9), (true, 0.8), (true, 0.1), (false, 0.05), (false, 0.1), (false, 0.65), (false, 0.0)];
        let found: Vec<usize> = suspects(&labelled).into_iter().map(|suspect| suspect.row).collect();
        assert_eq!(found, [2, 5], "the least believed first");
        assert_eq!(suspects(&labelled[..2]), []);
        assert_eq!(suspects(&[]), []);
    }

    #[test]
    fn labels_that_were_turned_are_found_among_the_first() {
        let mut rows = corpus::sample().rows;
        // Every fortieth row: more than forty of about 1,700.
        let turned: Vec<usize> = (0..rows.len()).step_by(40).collect();
        for &row in &turned {
            rows[row].label = u8::from(!rows[row].is_threat());
        }
        let trainer = trainers::find("stacked").unwrap();
        let trained = experiment::train(trainer, &rows, &Config::default(), &|_, _| {}).unwrap();
        let labelled: Vec<(bool, f64)> = rows.iter().map(crate::Row::is_threat).zip(trained.unseen).collect();
        let first: Vec<usize> = suspects(&labelled).into_iter().take(100).map(|suspect| suspect.row).collect();
        let found = turned.iter().filter(|row| first.contains(row)).count();
        let by_chance = turned.len() * first.len() / rows.len();
        assert!(
            found >= 5 * by_chance && found * 2 > turned.len(),
            "{found} of {}, by chance {by_chance}",
            turned.len()
        );
    }
}
