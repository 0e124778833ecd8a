//! Why a model cannot score.

use crate::features::UnknownExtractor;

/// Why a model cannot give valid scores.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The model needs a feature extractor that this program does not have.
    #[error(transparent)]
    Extractor(#[from] UnknownExtractor),
    /// The keys must be in ascending order, so that a lookup finds each of them.
    #[error("the table's keys are not in ascending order")]
    Unsorted,
    /// The named number is missing, infinite or outside its range.
    #[error("`{0}` is out of range")]
    OutOfRange(&'static str),
}
