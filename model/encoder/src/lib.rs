//! A small transformer that reads sentences: its arithmetic, fine-tuning and compact form.
#![allow(clippy::inline_always, reason = "only inlined code is compiled for wide vectors")]
#![allow(clippy::many_single_char_names, reason = "these are the usual names of matrices and their dimensions")]

mod attention;
mod base;
mod checkpoint;
mod compact;
mod config;
mod gemm;
mod integer;
mod math;
mod network;
pub mod random;
mod simd;
mod tokens;
mod training;

pub use base::{Base, BaseFiles, MINILM, WrongBase};
pub use checkpoint::NotACheckpoint;
pub use compact::{About, Encoder, NotAnEncoder, Room};
pub use config::{Config, MAX_TOKENS, WrongShape};
pub use tokens::{NotATokenizer, Tokens};
pub use training::{Example, Recipe, State, Stepped, Training};
