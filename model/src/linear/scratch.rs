//! Buffers that scoring uses again for each sentence.

use std::cell::RefCell;

use super::{
    columns::{Stamps, Sum},
    runs::{Passing, Remembered},
};
use crate::features;

/// Buffers that are used again for each sentence; they grow to the size of the models that they are used for.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The sentence's words and features.
    pub(crate) analysed: features::Scratch,
    /// Where the search for each feature begins.
    pub(super) slots: Vec<u64>,
    /// How often the sentence has each row of a model's table.
    pub(super) stamps: Stamps,
    /// What the model's components add up to.
    pub(super) totals: Vec<Sum>,
    /// Rows of what the whole sentence makes.
    pub(super) passing: Passing,
    /// Rows that the sentence has, in order of first appearance; used while explaining.
    pub(crate) rows: Vec<u32>,
    /// How often the sentence has each row; all zero between sentences; used while explaining.
    pub(crate) counts: Vec<u16>,
    /// What runs of non-space had.
    pub(super) runs: Remembered,
}

impl Scratch {
    /// Forgets the counted rows.
    pub(crate) fn clear_counts(&mut self) {
        for &row in &self.rows {
            self.counts[row as usize] = 0;
        }
        self.rows.clear();
    }
}

/// Lends the buffers of this thread, which grow to the size of its models once.
///
/// # Panics
/// When `work` borrows them again.
pub fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(work)
}

/// Lends the encoder's memory of this thread.
pub(super) fn with_room<T>(work: impl FnOnce(&mut encoder::Room) -> T) -> T {
    thread_local! {
        static ROOM: RefCell<encoder::Room> = RefCell::default();
    }
    ROOM.with_borrow_mut(work)
}
