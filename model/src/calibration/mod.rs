//! From scores to decisions: a probability, and the thresholds that it is held against.
//!
//! - **In**: scores and labels of rows that the scorer did not learn from; what the model will be used for.
//! - **Out**: [`Platt`]'s two numbers, [`OperatingPoint`]s with names, the [`Band`] that is left to people.
//! - **Callers**: experiment makes them; a linear model carries them; the service decides by them.

pub mod operation;
mod platt;

pub use self::{
    operation::{Band, Decision, OperatingPoint, Operation},
    platt::Platt,
};
