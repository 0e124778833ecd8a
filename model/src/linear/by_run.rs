//! Scores a sentence from cached sums of its runs without spaces, and from all other features.

use super::{
    Model, Score,
    columns::{Repeats, Sum},
    places::LookUp,
    runs::{Found, Passing, Remembered, Run, Words},
    scoring::quantised,
    scratch::at_least,
};
use crate::text::{self, Word};

/// Buffers that are reused for each sentence.
#[derive(Debug, Default)]
pub(super) struct ByRun {
    /// The sentence's bytes and some more.
    padded: Vec<u8>,
    remembered: Remembered,
    /// The words of a run, by their places in it.
    words_of_run: Vec<Word>,
    passing: Passing,
    look_up: LookUp,
    total: Total,
    repeats: Repeats,
}

/// What has been found of a sentence.
#[derive(Debug, Default)]
struct Total {
    /// The number of features, known or not.
    features: usize,
    /// The rows of the known features, repeated for each occurrence; a buffer that only grows.
    rows: Vec<u32>,
    /// The number of known features.
    known: usize,
    /// The sums of the model's components.
    sums: Vec<Sum>,
}

impl Total {
    fn begin(&mut self, model: &Model) {
        (self.features, self.known) = (0, 0);
        self.sums.clear();
        self.sums.extend(model.columns.iter().map(|column| column.nothing()));
    }

    #[inline]
    fn add(&mut self, found: &Found<'_>) {
        self.features += found.features;
        self.sums.iter_mut().zip(found.sums).for_each(|(total, sum)| total.add(sum));
        found.copy_rows(&mut at_least(self.known + found.rows.len(), &mut self.rows)[self.known..]);
        self.known += found.known;
    }
}

impl Model {
    /// The score from cached sums of runs, and from all other features.
    ///
    /// A feature that occurs twice counts less than double; the sums are corrected for repeated rows at the end.
    pub(super) fn score_by_run(&self, sentence: &str, words: &mut Vec<Word>, buffers: &mut ByRun) -> Score {
        let ByRun { padded, remembered, words_of_run, passing, look_up, total, repeats } = buffers;
        remembered.begin(self.id, self.columns.len());
        Run::pad(sentence, padded);
        total.begin(self);
        words.clear();
        for place in text::runs(sentence, padded) {
            let run = Run::of(padded, &place);
            if let Some((found, of_run)) = remembered.find(run) {
                total.add(&found);
                match of_run {
                    Words::None => {}
                    Words::One(word) => words.push(word.after(place.start)),
                    Words::Several => self.analyser.add_words(sentence, place, words),
                }
                continue;
            }
            let text = &sentence[place.clone()];
            words_of_run.clear();
            self.analyser.add_words(text, 0..text.len(), words_of_run);
            words.extend(words_of_run.iter().map(|word| word.after(place.start)));
            self.look_up(true, text, words_of_run, look_up, passing);
            total.add(&passing.found());
            remembered.remember(run, words_of_run, passing);
        }
        self.look_up(false, sentence, words, look_up, passing);
        total.add(&passing.found());
        let repeated = repeats.of(&total.rows[..total.known], self.table.len());
        self.columns.iter().zip(&mut total.sums).for_each(|(column, sum)| column.correct(repeated, sum));
        let parts = total
            .sums
            .iter()
            .zip(&self.spec.components)
            .map(|(sum, component)| component.weight * (sum.part(component.normalisation).score + component.bias));
        let logit = quantised(parts.fold(self.spec.intercept, |sum, part| sum + part));
        Score { logit, features: total.features as u32, known: total.known as u32 }
    }

    /// Looks up the features of runs in a run, or all others in a sentence.
    fn look_up(&self, are_of_runs: bool, text: &str, words: &[Word], look_up: &mut LookUp, found: &mut Passing) {
        look_up.keys.clear();
        self.analyser.add_keys(are_of_runs, text, words, &mut look_up.keys);
        found.features = look_up.keys.len();
        self.places.find_all(look_up, &mut found.rows);
        found.sums.clear();
        found.sums.extend(self.columns.iter().map(|column| column.sum(&found.rows)));
    }
}

#[cfg(test)]
mod tests {
    use crate::{corpus, experiment, linear::Scratch, trainers};

    #[test]
    fn the_cache_never_changes_a_score() {
        let mut rows = corpus::sample().rows;
        let trainer = trainers::find("stacked").unwrap();
        let model = experiment::train(trainer, &rows, &experiment::Config::default(), &|_, _| {}).unwrap().model;
        // Again in capitals, with other edges and words between: half known, and other places in the cache.
        rows.extend(rows.clone().into_iter().map(|mut row| {
            row.text = row.text.to_uppercase().replace(' ', " \u{fc}ber-\u{a0}(I'll) ");
            row
        }));
        let mut warm = Scratch::default();
        for round in 0..2 {
            for row in &rows {
                let score = model.score(&row.text, &mut warm);
                assert_eq!(model.score(&row.text, &mut Scratch::default()), score, "round {round}: {}", row.text);
                let (mut features, mut known) = (crate::features::Scratch::default(), 0);
                model.analyser().analyse(&row.text, &mut features);
                known += features.features.iter().filter(|feature| model.place(feature.key).is_some()).count();
                assert_eq!((score.features as usize, score.known as usize), (features.features.len(), known));
            }
        }
    }
}
