//! Counts of a corpus apart for each fold, so that a model without any fold follows by subtraction.

use super::{Counter, Counts, Error};
use crate::{
    Row,
    corpus::split,
    features::{Analyser, FeatureSet, Scratch, UnknownExtractor},
};

/// Counts of the training rows of a corpus, apart for each fold, so that a model without any fold follows by subtraction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountsByFold {
    /// What was counted.
    pub features: FeatureSet,
    pub(super) folds: Vec<Counts>,
}

/// Counts rows into their folds, which [`split::place`] decides.
#[derive(Debug)]
pub struct FoldCounter {
    features: FeatureSet,
    analyser: Analyser,
    seed: u64,
    folds: Vec<Counter>,
    scratch: Scratch,
}

impl FoldCounter {
    /// Nothing counted yet.
    pub fn new(features: FeatureSet, seed: u64, folds: usize) -> Result<Self, UnknownExtractor> {
        let analyser = features.analyser()?;
        let folds = std::iter::repeat_with(Counter::default).take(folds).collect();
        Ok(Self { features, analyser, seed, folds, scratch: Scratch::default() })
    }

    /// Counts a row, unless its commenter is held out.
    pub fn add(&mut self, row: &Row) {
        if let Some(fold) = split::place(self.seed, &row.commenter, self.folds.len()) {
            self.folds[fold].add(&self.analyser, &row.text, row.is_threat(), &mut self.scratch);
        }
    }

    /// What was counted.
    #[must_use]
    pub fn finish(self) -> CountsByFold {
        CountsByFold { features: self.features, folds: self.folds.into_iter().map(Counter::finish).collect() }
    }
}

impl CountsByFold {
    /// Folds.
    #[must_use]
    pub fn folds(&self) -> usize {
        self.folds.len()
    }

    /// Everything.
    #[must_use]
    pub fn all(&self) -> Counts {
        self.folds.iter().fold(Counts::default(), |sum, fold| sum.plus(fold))
    }

    /// The counts of one fold.
    #[must_use]
    pub fn fold(&self, fold: usize) -> &Counts {
        &self.folds[fold]
    }

    /// Adds the counts of other rows.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        if self.features != other.features || self.folds.len() != other.folds.len() {
            return Err(Error::Different);
        }
        for (mine, theirs) in self.folds.iter_mut().zip(&other.folds) {
            *mine = mine.plus(theirs);
        }
        Ok(())
    }
}
