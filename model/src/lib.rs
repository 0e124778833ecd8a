//! From text to verdict. No async, no I/O: every function depends only on its arguments.
//!
//! The modules, in the order of the data flow. A module uses only those above it and the three basic modules below:
//!
//! | module | contents |
//! |---|---|
//! | [`corpus`] | rows of labelled sentences; parsers for THREAT, JSONL and CSV; quarantine; the held-out split |
//! | [`text`] | words and sentences of a text |
//! | [`features`] | the extractors (a plugin table) and their 64-bit keys |
//! | [`labelling`] | which comments to label next |
//! | [`counts`] | feature counts by class; they add up, so shards can be counted separately |
//! | [`evaluation`] | figures, intervals, curves and thresholds of judged rows |
//! | [`calibration`] | from scores to probabilities; operating points and the band for human review |
//! | [`linear`] | the representation of every trained model: weights by key, and scoring |
//! | [`trainers`] | the trainers (a plugin table) |
//! | [`experiment`] | train, calibrate and evaluate on rows in memory or on counts |
//! | [`artifact`] | a model as bytes: our own format, with a hardened decoder |
//! | [`explanation`] | the exact contribution of each token to a score |
//! | [`gate`] | the checks (a plugin table) that a candidate must pass |
//! | [`backtest`] | where the decisions of two versions differ |
//! | [`protocol`] | requests to the registry and its answers |
//!
//! The basic modules: [`version`] (digests, version ids, generations), [`plugins`] (tables of plug-ins) and
//! [`random`] (pseudo-random numbers, the same on every machine).

pub mod artifact;
pub mod backtest;
pub mod calibration;
pub mod corpus;
pub mod counts;
pub mod evaluation;
pub mod experiment;
pub mod explanation;
pub mod features;
pub mod gate;
pub mod labelling;
pub mod linear;
pub mod plugins;
pub mod protocol;
pub mod text;
pub mod trainers;
pub mod version;

pub use corpus::Row;
pub use encoder::random;
pub use linear::{Model, Verdict};
pub use version::{Digest, Generation, Version};

/// The invented corpus that ships with the project.
///
/// It shows how the system works, not how good it is.
pub const SAMPLE_CORPUS: &[u8] = include_bytes!("../data/sample.txt");
