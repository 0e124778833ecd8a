//! Why a file cannot become a dataset.

use super::{MAX_QUARANTINED_PERCENT, MIN_COMMENTERS, MIN_THREATS};

/// A file that cannot become a dataset.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too many rows are malformed; the format is probably wrong.
    #[error("{quarantined} of {total} rows are malformed, more than {}%; the first: {first}", MAX_QUARANTINED_PERCENT)]
    TooManyMalformed {
        /// Malformed rows.
        quarantined: u64,
        /// All rows.
        total: u64,
        /// The first few, as `line N: reason`.
        first: String,
    },
    /// The rows are too few to learn from.
    #[error(
        "the corpus has {threats} threats among {rows} sentences: it needs at least {MIN_THREATS} threats and \
         {MIN_THREATS} other sentences, each from at least {MIN_COMMENTERS} commenters"
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
    /// The input cannot be read.
    #[error("line {line}: the input cannot be read: {kind}")]
    Unreadable {
        /// The number of the line, from 1; 0 before the first line.
        line: u64,
        /// The kind of the I/O error.
        kind: std::io::ErrorKind,
    },
}
