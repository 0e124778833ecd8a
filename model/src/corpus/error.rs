//! Why a file cannot become a dataset.

use super::{MAX_QUARANTINED_PERCENT, MIN_COMMENTERS, MIN_THREATS};

/// A file that cannot become a dataset.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many rows are malformed: probably the wrong format.
    #[error("{quarantined} of {total} rows are malformed, more than {}%; the first: {first}", MAX_QUARANTINED_PERCENT)]
    TooManyMalformed {
        /// Malformed rows.
        quarantined: u64,
        /// All rows.
        total: u64,
        /// The first few, as `line N: reason`.
        first: String,
    },
    /// There is nothing to learn from.
    #[error(
        "the corpus has {threats} threats among {rows} sentences: at least {MIN_THREATS} threats and as many others, each by {MIN_COMMENTERS} commenters or more, are needed"
    )]
    TooSmall {
        /// Usable rows.
        rows: u64,
        /// Rows labelled a threat.
        threats: u64,
    },
    /// The CSV header lacks a column.
    #[error("line 1: the header has no column `{0}`")]
    MissingColumn(&'static str),
    /// The input failed.
    #[error("line {line}: the input cannot be read: {kind}")]
    Unreadable {
        /// The line that was being read, from 1; 0 before the first.
        line: u64,
        /// Why.
        kind: std::io::ErrorKind,
    },
}
