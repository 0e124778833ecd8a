//! Why a model could not score.

use crate::features::UnknownExtractor;

/// A model that could not score sensibly.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It needs a feature that this program does not have.
    #[error(transparent)]
    Extractor(#[from] UnknownExtractor),
    /// Keys must ascend, so that a lookup finds each.
    #[error("the table's keys are not in ascending order")]
    Unsorted,
    /// The named number is missing, infinite or outside its range.
    #[error("`{0}` is out of range")]
    OutOfRange(&'static str),
}
