//! From scores to decisions: probabilities and thresholds.
//!
//! - **In**: scores and labels of rows that the scorer did not learn from; the intended use of the model.
//! - **Out**: the two numbers of [`Platt`], named [`OperatingPoint`]s, the [`Band`] for human review.
//! - **Callers**: experiment makes them; a linear model contains them; the service uses them to decide.

pub mod operation;
mod platt;

pub use self::{
    operation::{Band, Decision, OperatingPoint, Operation},
    platt::Platt,
};
