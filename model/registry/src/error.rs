//! What can go wrong in the registry, as decisions for the caller.

use model::{Generation, Version, corpus, features::UnknownExtractor};

use crate::StoreError;

/// An operation on the registry that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller named something that is not there.
    #[error("there is no {what} at {path}")]
    NotFound {
        /// Kind of thing.
        what: &'static str,
        /// Where it would be.
        path: String,
    },
    /// Production is not where the caller thought, or somebody else was quicker. Nothing was written.
    #[error("production is at generation {generation}, version {version}, put there by {actor}")]
    Conflict {
        /// The newest generation.
        generation: Generation,
        /// Its version.
        version: Version,
        /// Who promoted it.
        actor: String,
    },
    /// The caller expects a generation, and nothing is in production.
    #[error("nothing is in production")]
    NothingInProduction,
    /// There is no earlier version to go back to.
    #[error("the history has no such version to go back to")]
    NothingToRollBackTo,
    /// Bytes that are not what they must be. They are never served.
    #[error("{path} is corrupt: {reason}")]
    Corrupt {
        /// The object.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model is whole, and needs a feature that this program does not have.
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
        /// Why, without a word of a comment.
        reason: String,
    },
    /// The file cannot become a dataset.
    #[error(transparent)]
    Corpus(#[from] corpus::Error),
    /// The store does not keep the promises that promotion rests on.
    #[error("the object store cannot be trusted with promotions: {0}")]
    Unsafe(String),
    /// Retention is going to delete the version: it was old, never promoted, and nobody used it.
    #[error("{0} is about to be deleted by retention: train it again")]
    Retired(Version),
    /// Retention is deleting the object at this moment; it can be stored again when that has ended.
    #[error("{path} is being deleted by retention: try again in a moment, or in an hour if retention was interrupted")]
    BeingDeleted {
        /// The object.
        path: String,
    },
    /// A promotion was held up between its checks and its write, so its checks may not hold any more.
    #[error("the promotion of {0} was held up for longer than its checks hold: try again")]
    HeldUp(Version),
    /// A file or a dataset is not what it was a moment ago.
    #[error("the corpus changed while it was read")]
    Changed,
    /// A panic's own words may quote a comment: they go nowhere.
    #[error("reading rows panicked; the log says where")]
    Panicked,
    /// The store did not answer, or refused.
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
