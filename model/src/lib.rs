//! Text to verdict, without async and without I/O: everything here is a function of its arguments.
//!
//! | module | what it holds |
//! |---|---|
//! | [`corpus`] | rows of labelled sentences; parsers for the THREAT format, JSONL and CSV; the quarantine |
//! | [`split`] | held-out set and folds, by commenter |
//! | [`text`] | words and sentences of a text |
//! | [`features`] | the extractors (a plugin table) and their 64-bit keys |
//! | [`counts`] | feature counts by class: additive, so shards can be counted apart |
//! | [`trainers`] | the trainers (a plugin table) |
//! | [`bootstrap`] | how sure the figures are |
//! | [`calibration`] | Platt's two numbers |
//! | [`linear`] | the one representation of a trained model, and scoring |
//! | [`table`] | weights by feature key |
//! | [`operation`] | which threshold decides, and what is left to people |
//! | [`random`] | pseudo-random numbers, the same everywhere |
//! | [`logistic`] | how parts of a model are weighed against each other |
//! | [`artifact`] | a model as bytes: own format, hardened decoder |
//! | [`explanation`] | what each token adds to a score, exactly |
//! | [`evaluation`] | what a model is worth on rows it has not seen |
//! | [`experiment`] | train, calibrate and evaluate on rows in memory |
//! | [`gate`] | the checks (a plugin table) that a candidate must pass |
//! | [`steps`] | what crosses Temporal's wire: ids, digests and scores, never text |
//! | [`version`] | digests, version ids, generations |

pub mod artifact;
pub mod bootstrap;
pub mod calibration;
pub mod corpus;
pub mod counts;
pub mod evaluation;
pub mod experiment;
pub mod explanation;
pub mod features;
pub mod gate;
pub mod linear;
pub mod logistic;
pub mod operation;
pub mod random;
mod runs;
pub mod split;
pub mod steps;
pub mod table;
pub mod text;
pub mod trainers;
pub mod version;

pub use corpus::Row;
pub use linear::{Model, Verdict};
pub use version::{Digest, Generation, Version};

/// The corpus that ships with the project: written for it, so it shows the system and not the quality.
pub const SAMPLE_CORPUS: &[u8] = include_bytes!("../data/sample.txt");
