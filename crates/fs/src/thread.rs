//! A small number for each thread, by which threads spread over lanes, groups and shards.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static INDEX: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
}

/// The number of the calling thread, counted from 0 in the order of first use.
pub(crate) fn index() -> usize {
    INDEX.with(Cell::get)
}

/// Gives the calling thread another number.
#[cfg(feature = "control")]
pub(crate) fn set_index(index: usize) {
    INDEX.set(index);
}
