//! Backtests: the decisions of two versions on the same comments, compared.
//!
//! - **In**: two models and comments, with labels if they exist.
//! - **Out**: a [`Report`] of the different decisions, with intervals, but without any text.
//! - **Callers**: the registry, which reads comments and stores reports; the activities and the command that judge.

mod judging;
mod record;
mod report;

pub use self::{
    judging::{Case, Comment, Said, comments, judge, labelled_sentences, mark_learnt, trace, traces},
    record::{Backtest, BacktestId, Piece, Source},
    report::{ByDecision, Compared, Labelled, Report},
};
