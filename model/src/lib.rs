//! Text to verdict, without async and without I/O: everything here is a function of its arguments.
//!
//! By the way of the data, each room using only those above it and those on the ground:
//!
//! | room | what it holds |
//! |---|---|
//! | [`corpus`] | rows of labelled sentences; parsers for the THREAT format, JSONL and CSV; the quarantine; who is held out |
//! | [`text`] | words and sentences of a text |
//! | [`features`] | the extractors (a plugin table) and their 64-bit keys |
//! | [`labelling`] | which comments to label next |
//! | [`counts`] | feature counts by class: additive, so shards can be counted apart |
//! | [`evaluation`] | figures, their intervals, curves and thresholds of judged rows |
//! | [`calibration`] | from scores to probabilities; operating points, and what is left to people |
//! | [`linear`] | the one representation of a trained model: weights by key, and scoring |
//! | [`trainers`] | the trainers (a plugin table) |
//! | [`experiment`] | train, calibrate and evaluate on rows in memory or on counts |
//! | [`artifact`] | a model as bytes: own format, hardened decoder |
//! | [`explanation`] | what each token adds to a score, exactly |
//! | [`gate`] | the checks (a plugin table) that a candidate must pass |
//! | [`backtest`] | what a version would have decided otherwise than another one |
//! | [`protocol`] | what the registry is asked, and what it answers |
//!
//! On the ground: [`version`] (digests, version ids, generations), [`plugins`] (what a table of plug-ins is) and
//! [`random`] (pseudo-random numbers, the same everywhere).

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

/// The corpus that ships with the project: written for it, so it shows the system and not the quality.
pub const SAMPLE_CORPUS: &[u8] = include_bytes!("../data/sample.txt");
