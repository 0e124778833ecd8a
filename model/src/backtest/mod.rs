//! What a version would have decided of the same comments as another one.
//!
//! - **In**: two models and comments, with labels where somebody gave them.
//! - **Out**: a [`Report`] of the decisions that differ, with intervals; never a text.
//! - **Callers**: the registry, which reads comments and keeps reports; the activities and the command that judge.

mod judging;
mod record;
mod report;

pub use self::{
    judging::{Case, Comment, Said, comments, judge, labelled_sentences, mark_learnt, trace, traces},
    record::{Backtest, BacktestId, Piece, Source},
    report::{ByDecision, Compared, Labelled, Report},
};
