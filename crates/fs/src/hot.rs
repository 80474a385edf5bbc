//! The run that was looked up last, for readers without the inode's lock.
//!
//! A sequence lock made of atomics: odd while it is changed. It is set by who holds the inode's
//! lock shared and has just found the run in the map, and cleared by who takes that lock
//! exclusive, before anything is changed. So what a reader gets was true at some moment between
//! its call and its return, as if it had taken the lock.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::extent::Run;

/// One run with data, or none.
#[derive(Default)]
pub(crate) struct HotRun {
    sequence: AtomicU64,
    page: AtomicU64,
    len: AtomicU64,
    block: AtomicU64,
}

impl HotRun {
    /// The run, if it holds `page`.
    #[inline]
    pub fn get(&self, page: u64) -> Option<Run> {
        let before = self.sequence.load(Ordering::Acquire);
        let run = Run {
            page: self.page.load(Ordering::Relaxed),
            len: self.len.load(Ordering::Relaxed),
            block: self.block.load(Ordering::Relaxed),
            unwritten: false,
        };
        fence(Ordering::Acquire);
        let same = self.sequence.load(Ordering::Relaxed) == before && before.is_multiple_of(2);
        (same && page.wrapping_sub(run.page) < run.len).then_some(run)
    }

    /// Remembers a run with data. Wants the inode's lock held shared. If another thread is
    /// setting one at this moment, that one is as good.
    pub fn set(&self, run: Run) {
        debug_assert!(!run.unwritten);
        let before = self.sequence.load(Ordering::Relaxed);
        let odd = before | 1;
        let taken = before != odd
            && self
                .sequence
                .compare_exchange(before, odd, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if taken {
            fence(Ordering::Release);
            self.store(run.page, run.len, run.block);
            self.sequence.store(before + 2, Ordering::Release);
        }
    }

    /// Forgets the run. Wants the inode's lock held exclusive, so nobody sets one meanwhile.
    pub fn clear(&self) {
        let before = self.sequence.load(Ordering::Relaxed);
        debug_assert!(before.is_multiple_of(2), "nobody sets a run under the exclusive lock");
        self.sequence.store(before + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.store(0, 0, 0);
        self.sequence.store(before + 2, Ordering::Release);
    }

    fn store(&self, page: u64, len: u64, block: u64) {
        self.page.store(page, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.block.store(block, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_never_see_a_mixture() {
        let hot = HotRun::default();
        let run = |number: u64| Run {
            page: number % 7,
            len: 100 + number % 7,
            block: 1000 * (number % 7),
            unwritten: false,
        };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200_000).for_each(|number| hot.set(run(number))));
            for _ in 0..200_000 {
                if let Some(seen) = hot.get(50) {
                    assert_eq!(seen, run(seen.page));
                }
            }
        });
        hot.clear();
        assert_eq!(hot.get(50), None);
    }
}
