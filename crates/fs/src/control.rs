//! What a test may control (feature `control`): the clock, the number of the thread, random bytes
//! and the space that is left, so that a run can be repeated exactly.
//!
//! All of it concerns the calling thread only. Without the feature every question here has a
//! constant answer, which the compiler removes.

#[cfg(feature = "control")]
mod enabled {
    use std::cell::Cell;

    use crate::attributes::Timespec;

    thread_local! {
        /// Nanoseconds since 1970 that the next look at the clock shows; 0 for the real clock.
        static CLOCK: Cell<u64> = const { Cell::new(0) };
        /// Requests for blocks until one is refused, that one included; 0 for none.
        static REFUSAL: Cell<u64> = const { Cell::new(0) };
    }

    /// Between two looks at a controlled clock.
    const TICK: u64 = 1_000_003;

    /// From now on this thread counts as number `thread`, its clock starts at `seconds` since 1970
    /// and moves with each look only, and new pools get the same identity. 0 seconds: the real
    /// clock and real random bytes again.
    pub fn repeat(thread: usize, seconds: u64) {
        crate::thread::set_index(thread);
        CLOCK.set(seconds * 1_000_000_000);
    }

    /// From now on this thread counts as number `thread`.
    pub fn set_thread(thread: usize) {
        crate::thread::set_index(thread);
    }

    /// Refuses the `request`th request for blocks of this thread from now on, counted from 1, and
    /// no other. 0 refuses none.
    pub fn refuse_space(request: u64) {
        REFUSAL.set(request);
    }

    /// True if [`refuse_space`] is still waiting for its request.
    pub fn refusal_is_ahead() -> bool {
        REFUSAL.get() != 0
    }

    pub(crate) fn clock() -> Option<Timespec> {
        let now = CLOCK.get();
        if now == 0 {
            return None;
        }
        CLOCK.set(now + TICK);
        let (seconds, nanoseconds) = (now / 1_000_000_000, now % 1_000_000_000);
        Some(Timespec { seconds: seconds as i64, nanoseconds: nanoseconds as u32 })
    }

    pub(crate) fn refuses_space() -> bool {
        let left = REFUSAL.get();
        REFUSAL.set(left.saturating_sub(1));
        left == 1
    }
}

#[cfg(feature = "control")]
pub use enabled::{refusal_is_ahead, refuse_space, repeat, set_thread};

#[cfg(feature = "control")]
pub(crate) use enabled::{clock, refuses_space};

/// The controlled time, if the thread has one.
#[cfg(not(feature = "control"))]
#[inline]
pub(crate) const fn clock() -> Option<crate::attributes::Timespec> {
    None
}

/// True if this request for blocks is the one to refuse.
#[cfg(not(feature = "control"))]
#[inline]
pub(crate) const fn refuses_space() -> bool {
    false
}

/// Bytes that repeat, where the clock is controlled.
pub(crate) fn random() -> Option<[u8; 16]> {
    let now = clock()?;
    let mut bytes = [0x5a; 16];
    bytes[..8].copy_from_slice(&now.seconds.to_le_bytes());
    bytes[8..12].copy_from_slice(&now.nanoseconds.to_le_bytes());
    Some(bytes)
}
