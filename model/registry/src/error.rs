//! The errors of the registry, by what the caller can do about them.

use model::{Generation, Version, corpus, features::UnknownExtractor};

use crate::StoreError;

/// Why an operation on the registry failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object that the caller named is not there.
    #[error("there is no {what} at {path}")]
    NotFound {
        /// The kind of object.
        what: &'static str,
        /// The path where it would be.
        path: String,
    },
    /// Production is at another generation than expected, or another promotion was first. Nothing was written.
    #[error("production is at generation {generation}, version {version}, put there by {actor}")]
    Conflict {
        /// The newest generation.
        generation: Generation,
        /// Its version.
        version: Version,
        /// Who promoted it.
        actor: String,
    },
    /// The caller expects a generation, but nothing is in production.
    #[error("nothing is in production")]
    NothingInProduction,
    /// The history has no earlier version, or not the requested one.
    #[error("the history has no such version to roll back to")]
    NothingToRollBackTo,
    /// The object is damaged. It is never served.
    #[error("{path} is corrupt: {reason}")]
    Corrupt {
        /// The object.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model is intact, but it needs a feature that this program does not have.
    #[error("{path} cannot be used by this program: {reason}")]
    Foreign {
        /// The object.
        path: String,
        /// What is missing.
        reason: UnknownExtractor,
    },
    /// A dataset source that is not the store did not answer.
    #[error("the dataset source `{name}` cannot be read: {reason}")]
    Source {
        /// The source.
        name: &'static str,
        /// The reason, without a word of a comment.
        reason: String,
    },
    /// The file cannot become a dataset.
    #[error(transparent)]
    Corpus(#[from] corpus::Error),
    /// The store failed the probe: promotions are not safe on it.
    #[error("the object store cannot be trusted with promotions: {0}")]
    Unsafe(String),
    /// Retention is going to delete the version: it is old, unused and was never promoted.
    #[error("{0} is about to be deleted by retention: train it again")]
    Retired(Version),
    /// Retention is deleting the object at this moment. Afterwards it can be stored again.
    #[error("{path} is being deleted by retention: try again in a moment, or in an hour if retention was interrupted")]
    BeingDeleted {
        /// The object.
        path: String,
    },
    /// A promotion took so long that its checks may be out of date.
    ///
    /// Nothing was written.
    #[error("the promotion of {0} took too long after its checks, and nothing was written: try again")]
    HeldUp(Version),
    /// A file or a dataset changed while it was read.
    #[error("the corpus changed while it was read")]
    Changed,
    /// Reading rows panicked. The panic's message is not repeated, because it may quote a comment.
    #[error("reading rows panicked; the log says where")]
    Panicked,
    /// The store did not answer, or refused the request.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient,
            Self::BeingDeleted { .. } | Self::HeldUp(_) | Self::Source { .. } => true,
            _ => false,
        }
    }
}
