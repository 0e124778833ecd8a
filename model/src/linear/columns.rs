//! A model's weights in the form for scoring: columns and sums of rows.

use std::sync::LazyLock;

use super::{
    Normalisation, Spec, UNITS,
    table::{ABSENT, Table},
};

/// A component's cells by row.
#[derive(Debug)]
pub(crate) enum Column {
    /// Weights in units.
    ///
    /// A feature that the component does not have is [`ABSENT`] or past the end.
    Weights(Vec<i64>),
    /// Weight times frequency, and frequency; zeros for a feature that the component does not have.
    TfIdf(Vec<[f32; 2]>),
}

impl Column {
    pub(super) fn of(table: &Table, order: &[u32], normalisation: Normalisation, at: usize) -> Self {
        let rows = order.iter().map(|&row| table.cells(row as usize));
        let real = |cell: i64| if cell == ABSENT { 0.0 } else { (cell as f64 / UNITS) as f32 };
        match normalisation {
            Normalisation::Length { .. } => {
                let mut weights: Vec<i64> = rows.map(|cells| cells[at]).collect();
                let known = weights.iter().rposition(|&weight| weight != ABSENT).map_or(0, |last| last + 1);
                weights.truncate(known);
                Self::Weights(weights)
            }
            Normalisation::TfIdf => Self::TfIdf(rows.map(|cells| [real(cells[at]), real(cells[at + 1])]).collect()),
        }
    }

    /// The weight of one occurrence of a row's feature, in log-odds before normalisation.
    pub(crate) fn weight(&self, row: usize) -> Option<f64> {
        match self {
            Self::Weights(weights) => weights.get(row).filter(|&&w| w != ABSENT).map(|&w| w as f64 / UNITS),
            Self::TfIdf(cells) => Some(f64::from(cells[row][0])).filter(|_| cells[row][1] != 0.0),
        }
    }
}

/// A component's score, and the factor that scales its features' weights.
pub(crate) struct Part {
    pub(crate) score: f64,
    pub(crate) scale: f64,
}

/// The sum of rows in one component.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sum {
    /// No component.
    Nothing,
    /// The sum of weights, and their number.
    Units { sum: i64, known: u32 },
    /// The sum of weights by term frequency, and the squares of frequencies.
    TfIdf { sum: f64, squares: f64 },
}

impl Sum {
    #[inline]
    pub(super) fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Units { sum, known }, Self::Units { sum: more, known: others }) => {
                *sum = sum.wrapping_add(*more);
                *known += others;
            }
            (Self::TfIdf { sum, squares }, Self::TfIdf { sum: more, squares: others }) => {
                *sum += more;
                *squares += others;
            }
            _ => {}
        }
    }

    pub(super) fn part(self, normalisation: Normalisation) -> Part {
        match (self, normalisation) {
            (Self::Units { sum, known }, Normalisation::Length { exponent }) => {
                Part { score: length_normalised(sum, known, exponent), scale: 1.0 / length(known, exponent) }
            }
            (Self::TfIdf { sum, squares }, _) if squares > 0.0 => {
                let scale = 1.0 / squares.sqrt();
                Part { score: sum * scale, scale }
            }
            _ => Part { score: 0.0, scale: 0.0 },
        }
    }
}

impl Column {
    pub(super) fn nothing(&self) -> Sum {
        match self {
            Self::Weights(_) => Sum::Units { sum: 0, known: 0 },
            Self::TfIdf(_) => Sum::TfIdf { sum: 0.0, squares: 0.0 },
        }
    }

    /// The sum of rows, as if each occurrence of a row were its first.
    pub(super) fn sum(&self, rows: &[u32]) -> Sum {
        match self {
            Self::Weights(weights) => {
                let (mut sum, mut known) = (0_i64, 0);
                for &weight in rows.iter().filter_map(|&row| weights.get(row as usize)) {
                    if weight != ABSENT {
                        sum = sum.wrapping_add(weight);
                        known += 1;
                    }
                }
                Sum::Units { sum, known }
            }
            Self::TfIdf(cells) => {
                let (mut sum, mut squares) = (0.0, 0.0);
                for &row in rows {
                    let [weight, idf] = cells[row as usize].map(f64::from);
                    sum += weight;
                    squares += idf * idf;
                }
                Sum::TfIdf { sum, squares }
            }
        }
    }

    /// Corrects a sum for a row that occurs the `count`th time.
    ///
    /// [`Self::sum`] took it for the first time.
    #[inline]
    pub(super) fn repeat(&self, row: u32, count: u16, total: &mut Sum) {
        if let (Self::TfIdf(cells), Sum::TfIdf { sum, squares }) = (self, total) {
            let [weight, idf] = cells[row as usize].map(f64::from);
            let (before, now) = (term_frequency(count - 1), term_frequency(count));
            *sum += (now - before - 1.0) * weight;
            *squares += (now * now - before * before - 1.0) * (idf * idf);
        }
    }

    /// The score of counted rows and their scale; like scoring, but not optimised.
    pub(crate) fn part(&self, normalisation: Normalisation, rows: &[u32], counts: &[u16]) -> Part {
        let mut total = self.nothing();
        for &row in rows {
            for count in 1..=counts[row as usize] {
                total.add(&self.sum(&[row]));
                if count > 1 {
                    self.repeat(row, count, &mut total);
                }
            }
        }
        total.part(normalisation)
    }
}

/// Counts rows of the current sentence, without clearing all rows after each sentence.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    /// For each row: the sentence's number in the upper bits, the count below.
    of_rows: Vec<u32>,
    sentence: u32,
}

/// Bits of a count. Occurrences of a feature beyond 255 per sentence do not count.
const COUNT_BITS: u32 = 8;
const MOST: u32 = (1 << COUNT_BITS) - 1;

impl Stamps {
    /// Starts a sentence.
    #[inline]
    pub(super) fn begin(&mut self, rows: usize) {
        self.sentence = (self.sentence + 1) & (u32::MAX >> COUNT_BITS);
        if self.sentence == 0 {
            self.of_rows.fill(0);
            self.sentence = 1;
        }
        if self.of_rows.len() < rows {
            self.of_rows.resize(rows, 0);
        }
    }

    /// Counts a row; returns its count, at most one more than the limit.
    #[inline]
    pub(super) fn count(&mut self, row: usize) -> u16 {
        let stamp = &mut self.of_rows[row];
        if *stamp >> COUNT_BITS != self.sentence {
            *stamp = self.sentence << COUNT_BITS | 1;
        } else if *stamp & MOST == MOST {
            return MOST as u16 + 1;
        } else {
            *stamp += 1;
        }
        (*stamp & MOST) as u16
    }
}

/// The table's rows, with the most common features first if their frequency is known.
pub(super) fn commonest_first(spec: &Spec, table: &Table) -> Vec<u32> {
    let mut order: Vec<u32> = (0..table.len() as u32).collect();
    let mut at = 0;
    for component in &spec.components {
        if component.normalisation == Normalisation::TfIdf {
            // Sorted by inverse document frequency; features that this component does not have come last.
            let rarity = |row: u32| match table.cells(row as usize)[at + 1] {
                ABSENT => i64::MAX,
                idf => idf,
            };
            order.sort_by_key(|&row| rarity(row));
        }
        at += component.normalisation.columns();
    }
    // The features of a component with one column come first, so that its column can be shorter than the table.
    let mut at = 0;
    for component in &spec.components {
        if component.normalisation != Normalisation::TfIdf {
            order.sort_by_key(|&row| table.cells(row as usize)[at] == ABSENT);
        }
        at += component.normalisation.columns();
    }
    order
}

/// 1 + ln(count): the tenth occurrence says less than the first.
#[inline]
pub(crate) fn term_frequency(count: u16) -> f64 {
    static FREQUENCIES: LazyLock<Vec<f64>> =
        LazyLock::new(|| (0..=MOST).map(|n| 1.0 + f64::from(n.max(1)).ln()).collect());
    FREQUENCIES[usize::from(count.min(MOST as u16))]
}

fn length(known: u32, exponent: f64) -> f64 {
    if exponent > 0.0 { f64::from(known.max(1)).powf(exponent) } else { 1.0 }
}

pub(super) fn length_normalised(sum: i64, known: u32, exponent: f64) -> f64 {
    sum as f64 / UNITS / length(known, exponent)
}
