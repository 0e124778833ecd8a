//! Buffers that scoring reuses for each sentence.

use std::cell::RefCell;

use super::{by_run::ByRun, places::LookUp};
use crate::features;

/// Buffers that are reused for each sentence; they grow with the models.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The sentence's words and features.
    pub(crate) analysed: features::Scratch,
    /// For sentences that are scored by runs.
    pub(super) by_run: ByRun,
    /// For sentences that are scored at once.
    pub(super) look_up: LookUp,
    /// The places of their known features.
    pub(super) places: Vec<u32>,
    /// The sentence's rows in order of first appearance; for explanations.
    pub(crate) rows: Vec<u32>,
    /// The count of each row; all zero between sentences; for explanations.
    pub(crate) counts: Vec<u16>,
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

/// The first `n` elements of a buffer that only grows; what they hold is of no matter.
pub(super) fn at_least<T: Clone + Default>(n: usize, buffer: &mut Vec<T>) -> &mut [T] {
    if buffer.len() < n {
        buffer.resize(n, T::default());
    }
    &mut buffer[..n]
}
