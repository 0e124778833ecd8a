//! Separate counts for each fold of a corpus.

use super::{Counter, Counts, Error};
use crate::{
    Row,
    corpus::split,
    features::{Analyser, FeatureSet, Scratch, UnknownExtractor},
};

/// Counts of the training rows of a corpus, separate for each fold.
///
/// The counts without a fold are the total less that fold's counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountsByFold {
    /// The counted features.
    pub features: FeatureSet,
    pub(super) folds: Vec<Counts>,
}

/// Counts rows by fold; [`split::place`] decides the fold.
#[derive(Debug)]
pub struct FoldCounter {
    features: FeatureSet,
    analyser: Analyser,
    seed: u64,
    folds: Vec<Counter>,
    scratch: Scratch,
}

impl FoldCounter {
    /// A counter that starts at zero.
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

    /// The finished counts.
    #[must_use]
    pub fn finish(self) -> CountsByFold {
        CountsByFold { features: self.features, folds: self.folds.into_iter().map(Counter::finish).collect() }
    }
}

impl CountsByFold {
    /// The number of folds.
    #[must_use]
    pub fn folds(&self) -> usize {
        self.folds.len()
    }

    /// The counts of all folds together.
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
