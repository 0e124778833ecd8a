//! A model's weights in the form for scoring: columns and sums of rows.

use std::{collections::HashMap, sync::LazyLock};

use super::{
    Normalisation, Spec, UNITS,
    scratch::at_least,
    table::{ABSENT, Table},
};

/// All components' cells, place by place, so that a look-up waits once for those of all components.
#[derive(Debug)]
pub(crate) struct Columns {
    /// For each place one cell a component, in the form of its normalisation.
    cells: Vec<u64>,
    forms: Vec<Form>,
}

/// The form of a component's cells.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// The weight in units; [`ABSENT`] for a feature that the component does not have.
    Weight,
    /// Two 32-bit floats: weight times frequency above, frequency below; zeros for a feature that the component does not
    /// have.
    TfIdf,
}

/// A component's cells.
#[derive(Clone, Copy)]
pub(crate) struct Column<'a> {
    /// From the first of them on, each `stride` cells after the last.
    cells: &'a [u64],
    stride: usize,
    form: Form,
}

impl Columns {
    /// The columns of a table with its rows in this order.
    pub(super) fn of(spec: &Spec, table: &Table, order: &[u32]) -> Self {
        let forms: Vec<Form> = spec.components.iter().map(|component| Form::of(component.normalisation)).collect();
        let real = |cell: i64| if cell == ABSENT { 0.0 } else { (cell as f64 / UNITS) as f32 };
        let mut cells = Vec::with_capacity(order.len() * forms.len());
        for &row in order {
            let mut of_row = table.cells(row as usize).iter();
            let mut next = || *of_row.next().expect("a table has the columns of its specification");
            cells.extend(forms.iter().map(|form| match form {
                Form::Weight => next() as u64,
                Form::TfIdf => {
                    let (weight, frequency) = (real(next()), real(next()));
                    u64::from(weight.to_bits()) << 32 | u64::from(frequency.to_bits())
                }
            }));
        }
        Self { cells, forms }
    }

    /// The number of components.
    pub(crate) fn len(&self) -> usize {
        self.forms.len()
    }

    /// The components' columns, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Column<'_>> {
        let of =
            |(at, &form)| Column { cells: self.cells.get(at..).unwrap_or_default(), stride: self.forms.len(), form };
        self.forms.iter().enumerate().map(of)
    }
}

impl Form {
    fn of(normalisation: Normalisation) -> Self {
        match normalisation {
            Normalisation::Length { .. } => Self::Weight,
            Normalisation::TfIdf => Self::TfIdf,
        }
    }
}

/// The weight times frequency, and the frequency, of a cell.
#[inline]
fn tf_idf(cell: u64) -> [f64; 2] {
    [(cell >> 32) as u32, cell as u32].map(|bits| f64::from(f32::from_bits(bits)))
}

impl Column<'_> {
    #[inline]
    fn cell(&self, row: u32) -> u64 {
        self.cells[row as usize * self.stride]
    }

    /// The weight of one occurrence of a row's feature, in log-odds before normalisation.
    pub(crate) fn weight(&self, row: usize) -> Option<f64> {
        let cell = self.cell(row as u32);
        match self.form {
            Form::Weight => Some(cell as i64).filter(|&weight| weight != ABSENT).map(|weight| weight as f64 / UNITS),
            Form::TfIdf => {
                let [weight, frequency] = tf_idf(cell);
                Some(weight).filter(|_| frequency != 0.0)
            }
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

impl Column<'_> {
    pub(super) fn nothing(&self) -> Sum {
        match self.form {
            Form::Weight => Sum::Units { sum: 0, known: 0 },
            Form::TfIdf => Sum::TfIdf { sum: 0.0, squares: 0.0 },
        }
    }

    /// The sum of rows, as if each occurrence of a row were its first.
    pub(super) fn sum(&self, rows: &[u32]) -> Sum {
        match self.form {
            Form::Weight => {
                let (mut sum, mut known) = (0_i64, 0);
                for &row in rows {
                    let weight = self.cell(row) as i64;
                    let is_known = weight != ABSENT;
                    sum = sum.wrapping_add(if is_known { weight } else { 0 });
                    known += u32::from(is_known);
                }
                Sum::Units { sum, known }
            }
            Form::TfIdf => {
                let (mut sum, mut squares) = (0.0, 0.0);
                for &row in rows {
                    let [weight, frequency] = tf_idf(self.cell(row));
                    sum += weight;
                    squares += frequency * frequency;
                }
                Sum::TfIdf { sum, squares }
            }
        }
    }

    /// Corrects a sum in which each occurrence of a row counts as its first.
    pub(super) fn correct(&self, repeated: &[Repeated], total: &mut Sum) {
        if let (Form::TfIdf, Sum::TfIdf { sum, squares }) = (self.form, total) {
            for &Repeated { row, occurrences } in repeated {
                let [weight, idf] = tf_idf(self.cell(row));
                let (frequency, occurrences) = (term_frequency(occurrences), f64::from(occurrences));
                *sum += (frequency - occurrences) * weight;
                *squares += (frequency * frequency - occurrences) * (idf * idf);
            }
        }
    }

    /// The score of counted rows and their scale; like scoring, but not optimised.
    pub(crate) fn part(&self, normalisation: Normalisation, rows: &[u32], counts: &[u16]) -> Part {
        let mut total = self.nothing();
        for &row in rows {
            let occurrences = u32::from(counts[row as usize]);
            let once = self.sum(&[row]);
            (0..occurrences).for_each(|_| total.add(&once));
            self.correct(&[Repeated { row, occurrences }], &mut total);
        }
        total.part(normalisation)
    }
}

/// A row that occurs more than once in a sentence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repeated {
    pub(crate) row: u32,
    pub(crate) occurrences: u32,
}

/// Finds the rows that occur more than once in a sentence.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    /// The occurrences of each row, at most 255; all zero between sentences.
    ///
    /// A byte, because most of the time goes by waiting for this memory.
    counts: Vec<u8>,
    found: Vec<Repeated>,
}

impl Repeats {
    /// The repeated ones among a sentence's rows, all of which are less than `rows`.
    pub(super) fn of(&mut self, sentence: &[u32], rows: usize) -> &[Repeated] {
        let counts = at_least(rows, &mut self.counts);
        let found = at_least(sentence.len(), &mut self.found);
        let mut n = 0;
        for &row in sentence {
            let count = &mut counts[row as usize];
            *count = count.saturating_add(1);
            // Always written, and kept if wanted: the processor cannot guess which rows repeat.
            found[n].row = row;
            n += usize::from(*count == 2);
        }
        let mut most = 0;
        for repeated in &mut found[..n] {
            let count = counts[repeated.row as usize];
            repeated.occurrences = u32::from(count);
            most = most.max(count);
        }
        for &row in sentence {
            counts[row as usize] = 0;
        }
        if most == u8::MAX {
            self.count_at_length(sentence, n);
        }
        &self.found[..n]
    }

    /// Counts again, past 255.
    #[cold]
    fn count_at_length(&mut self, sentence: &[u32], n: usize) {
        let mut occurrences: HashMap<u32, u32> = HashMap::new();
        for &row in sentence {
            *occurrences.entry(row).or_default() += 1;
        }
        for repeated in &mut self.found[..n] {
            repeated.occurrences = occurrences[&repeated.row];
        }
    }
}

/// Occurrences of a feature beyond this many in one sentence do not count.
const MOST: u32 = 255;

/// 1 + ln(count): the tenth occurrence says less than the first.
#[inline]
pub(crate) fn term_frequency(count: u32) -> f64 {
    static FREQUENCIES: LazyLock<Vec<f64>> =
        LazyLock::new(|| (0..=MOST).map(|n| 1.0 + f64::from(n.max(1)).ln()).collect());
    FREQUENCIES[count.min(MOST) as usize]
}

fn length(known: u32, exponent: f64) -> f64 {
    if exponent > 0.0 { f64::from(known.max(1)).powf(exponent) } else { 1.0 }
}

pub(super) fn length_normalised(sum: i64, known: u32, exponent: f64) -> f64 {
    sum as f64 / UNITS / length(known, exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_rows_are_found_once_each_and_counted_past_a_byte() {
        let mut repeats = Repeats::default();
        for _ in 0..2 {
            let sentence: Vec<u32> = [vec![3, 1, 3, 2, 3, 1], vec![9; 300], vec![8; 255]].concat();
            let of = |row, occurrences| Repeated { row, occurrences };
            assert_eq!(repeats.of(&sentence, 10), [of(3, 3), of(1, 2), of(9, 300), of(8, 255)]);
            assert_eq!(repeats.of(&[1, 2, 3], 10), [], "of another sentence");
            assert_eq!(repeats.of(&[], 10), []);
        }
    }

    #[test]
    fn a_sum_with_repeats_counts_a_feature_sublinearly() {
        let cell = |weight: f32, idf: f32| u64::from(weight.to_bits()) << 32 | u64::from(idf.to_bits());
        let columns = Columns { cells: vec![cell(0.5, 2.0), cell(-3.0, 1.0)], forms: vec![Form::TfIdf] };
        let column = columns.iter().next().unwrap();
        for occurrences in [1, 2, 7, 255, 256, 1000] {
            let rows = [vec![0; occurrences as usize], vec![1]].concat();
            let mut sum = column.sum(&rows);
            if occurrences > 1 {
                column.correct(&[Repeated { row: 0, occurrences }], &mut sum);
            }
            let frequency = 1.0 + f64::from(occurrences.min(255)).ln();
            let Sum::TfIdf { sum, squares } = sum else { panic!("a sum in another form") };
            assert!((sum - (0.5 * frequency - 3.0)).abs() < 1e-9, "{occurrences}: {sum}");
            assert!((squares - (4.0 * frequency * frequency + 1.0)).abs() < 1e-9, "{occurrences}: {squares}");
        }
    }
}
