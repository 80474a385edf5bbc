//! The switchboard of planted bugs, for tests only (feature `canary`).
//!
//! Each step of the protocol that a test may leave out has a name here. Without the feature
//! [`left_out`] is constant and the compiler removes the question.

/// A step of the protocol that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// The unmap after a write into a hole (the bug of 2017; A4).
    UnmapOnWrite,
    /// Unmapping after the entries are gone rather than before (the review's order).
    UnmapAfterEntries,
    /// Taking the entry lock before asking the block map (A5, A6).
    LockBeforeLookup,
    /// Invalidating although the index looks empty (A4's second half).
    InvalidateEmptyIndex,
    /// Unmapping other maps of the zero page before a fault replaces its entry (A2, A7).
    UnmapZeroOnReplace,
    /// Unmapping before blocks are freed by punch and truncate (C3).
    UnmapBeforeFree,
    /// Waking all waiters when an entry is removed (C2).
    WakeAllOnRemove,
}

#[cfg(feature = "canary")]
static LEFT_OUT: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

/// Leaves `step` out from now on, in the whole process, or puts it back.
#[cfg(feature = "canary")]
pub fn leave_out(step: Step, out: bool) {
    use core::sync::atomic::Ordering::SeqCst;
    let bit = 1 << step as u8;
    if out {
        LEFT_OUT.fetch_or(bit, SeqCst)
    } else {
        LEFT_OUT.fetch_and(!bit, SeqCst)
    };
}

/// True if a test left `step` out.
#[cfg(feature = "canary")]
pub fn left_out(step: Step) -> bool {
    LEFT_OUT.load(core::sync::atomic::Ordering::SeqCst) & (1 << step as u8) != 0
}

/// True if a test left `step` out: never, without the feature `canary`.
#[cfg(not(feature = "canary"))]
pub const fn left_out(_step: Step) -> bool {
    false
}
