//! Buffers that scoring reuses for each sentence.

use std::cell::RefCell;

use super::{
    columns::{Stamps, Sum},
    runs::{Passing, Remembered},
};
use crate::features;

/// Buffers that are reused for each sentence; they grow with the models.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The sentence's words and features.
    pub(crate) analysed: features::Scratch,
    /// Where the search for each feature starts.
    pub(super) slots: Vec<u64>,
    /// How often each row of the model's table occurs in the sentence.
    pub(super) stamps: Stamps,
    /// The sums of the model's components.
    pub(super) totals: Vec<Sum>,
    /// Rows of the features of the whole sentence.
    pub(super) passing: Passing,
    /// The sentence's rows in order of first appearance; for explanations.
    pub(crate) rows: Vec<u32>,
    /// The count of each row; all zero between sentences; for explanations.
    pub(crate) counts: Vec<u16>,
    /// The cached rows of runs without spaces.
    pub(super) runs: Remembered,
}

impl Scratch {
    /// Clears the counted rows.
    pub(crate) fn clear_counts(&mut self) {
        for &row in &self.rows {
            self.counts[row as usize] = 0;
        }
        self.rows.clear();
    }
}

/// Lends this thread's buffers to `work`.
///
/// # Panics
/// If `work` borrows them again.
pub fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(work)
}

/// Lends this thread's memory for the encoder.
pub(super) fn with_room<T>(work: impl FnOnce(&mut encoder::Room) -> T) -> T {
    thread_local! {
        static ROOM: RefCell<encoder::Room> = RefCell::default();
    }
    ROOM.with_borrow_mut(work)
}
