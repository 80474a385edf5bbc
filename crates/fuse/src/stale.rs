//! Writes of programs that miss the page they should have changed.
//!
//! The kernel copies what a program writes into its page and then sends it here. If the page is
//! dropped between the two, on the library's behalf, another program can read the page in anew
//! before the write is served: without what is written. It would be shown for as long as the kernel
//! keeps it. So who serves a write looks whether that may have happened, and has the pages dropped
//! once more before the write is answered.
//!
//! 1. The kernel lets one write at a time into a file's pages. So a write that was copied before
//!    some pages were dropped is the first to be served after that, or is being served meanwhile.
//! 2. A page that nobody has read since it was dropped cannot be stale.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use limpid_locks::{Class, Mutex, mutex};
use rustc_hash::FxHashMap;

/// The class of the lock.
static STALE: Class = Class::new("fuse: dropped pages");

/// So many droppings of a file are told apart.
const MANY: usize = 8;

/// Pages of a file that are being dropped, or have been.
struct Dropping {
    number: u64,
    pages: Range<u64>,
    /// When it was done.
    done: Option<u64>,
    /// Some of the pages have been read since it began.
    is_read: bool,
}

#[derive(Default)]
struct State {
    files: FxHashMap<u64, Vec<Dropping>>,
    /// Counts beginnings and ends.
    now: u64,
}

/// What has been dropped since the last write to a file. The lock is a leaf.
pub(crate) struct Stale {
    /// Number of files: spares all others the lock.
    count: AtomicUsize,
    state: Mutex<State>,
}

impl Default for Stale {
    fn default() -> Stale {
        Stale { count: AtomicUsize::new(0), state: mutex(&STALE, State::default()) }
    }
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

impl Stale {
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Pages are about to be dropped; the number to be given to [`done`](Stale::done).
    pub fn begin(&self, ino: u64, pages: Range<u64>) -> u64 {
        let mut state = self.state.lock();
        state.now += 1;
        let number = state.now;
        let of = state.files.entry(ino).or_default();
        if of.len() >= MANY {
            join(of);
        }
        of.push(Dropping { number, pages, done: None, is_read: false });
        self.count.store(state.files.len(), Ordering::SeqCst);
        number
    }

    /// They are dropped.
    pub fn done(&self, ino: u64, number: u64) {
        let mut state = self.state.lock();
        state.now += 1;
        let now = state.now;
        let Some(of) = state.files.get_mut(&ino) else { return };
        let Some(this) = of.iter_mut().find(|this| this.number == number) else { return };
        this.done = Some(now);
        let pages = this.pages.clone();
        // What was read of the same pages before this began was dropped by it.
        of.retain(|old| {
            let is_before = old.done.is_some_and(|done| done < number);
            !is_before || old.pages.start < pages.start || pages.end < old.pages.end
        });
    }

    /// Pages were dropped while a write was held that is answered only now: no other write can
    /// have been copied before.
    pub fn between_writes(&self, ino: u64, number: u64) {
        let mut state = self.state.lock();
        if let Some(of) = state.files.get_mut(&ino) {
            of.retain(|this| this.number != number);
            if of.is_empty() {
                state.files.remove(&ino);
            }
        }
        self.count.store(state.files.len(), Ordering::SeqCst);
    }

    /// Pages are about to come in again.
    pub fn read(&self, ino: u64, pages: &Range<u64>) {
        if self.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        let of = state.files.get_mut(&ino).into_iter().flatten();
        of.filter(|of| overlap(&of.pages, pages)).for_each(|of| of.is_read = true);
    }

    /// A write begins to be served: what [`written`](Stale::written) wants to know.
    pub fn write(&self) -> u64 {
        if self.is_empty() { 0 } else { self.state.lock().now }
    }

    /// A write of `pages` is done; whether the kernel may have some of them without it.
    pub fn written(&self, ino: u64, pages: &Range<u64>, begun: u64) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut state = self.state.lock();
        let Some(of) = state.files.get_mut(&ino) else { return false };
        let is_stale = of.iter().any(|of| of.is_read && overlap(&of.pages, pages));
        of.retain(|of| of.done.is_none_or(|done| done > begun));
        if of.is_empty() {
            state.files.remove(&ino);
            self.count.store(state.files.len(), Ordering::SeqCst);
        }
        is_stale
    }

    /// The kernel has forgotten an inode.
    pub fn forget(&self, ino: u64) {
        if !self.is_empty() {
            let mut state = self.state.lock();
            state.files.remove(&ino);
            self.count.store(state.files.len(), Ordering::SeqCst);
        }
    }
}

/// Makes one of all that are done.
fn join(of: &mut Vec<Dropping>) {
    let mut all: Option<Dropping> = None;
    of.retain(|dropping| {
        let Some(done) = dropping.done else { return true };
        let Range { start, end } = dropping.pages.clone();
        let all = all.get_or_insert(Dropping {
            number: 0,
            pages: start..end,
            done: Some(done),
            is_read: false,
        });
        all.pages = all.pages.start.min(start)..all.pages.end.max(end);
        all.done = all.done.max(Some(done));
        all.is_read |= dropping.is_read;
        false
    });
    of.extend(all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_write_after_a_page_was_dropped_and_read_may_have_missed_it() {
        let stale = Stale::default();
        let write = |pages: Range<u64>| stale.written(7, &pages, stale.write());
        assert!(!write(0..1));
        let number = stale.begin(7, 0..4);
        stale.done(7, number);
        assert!(!write(0..1), "nobody has read it");
        stale.read(7, &(0..4));
        assert!(!write(0..1), "it was copied after the last answer");
        let number = stale.begin(7, 0..4);
        stale.done(7, number);
        stale.read(7, &(0..4));
        assert!(!stale.written(8, &(0..1), stale.write()));
        assert!(write(0..1));
        assert!(!write(0..1));
        assert!(stale.is_empty());
    }

    #[test]
    fn one_that_is_served_meanwhile_may_too_and_so_may_the_next() {
        let stale = Stale::default();
        let begun = stale.write();
        let number = stale.begin(7, 0..4);
        stale.read(7, &(3..4));
        assert!(stale.written(7, &(3..5), begun));
        stale.done(7, number);
        assert!(stale.written(7, &(2..3), stale.write()));
        assert!(!stale.written(7, &(2..3), stale.write()));
    }

    #[test]
    fn what_is_dropped_again_was_not_read() {
        let stale = Stale::default();
        for again in 0..3 * MANY as u64 {
            let number = stale.begin(7, 0..4 + again);
            stale.done(7, number);
            stale.read(7, &(0..1));
        }
        assert_eq!(stale.state.lock().files[&7].len(), 1);
        let number = stale.begin(7, 0..100);
        stale.done(7, number);
        assert!(!stale.written(7, &(0..1), stale.write()));
        for apart in 0..3 * MANY as u64 {
            let number = stale.begin(7, 10 * apart..10 * apart + 1);
            stale.done(7, number);
        }
        assert!(stale.state.lock().files[&7].len() <= MANY);
        stale.read(7, &(0..1));
        assert!(stale.written(7, &(0..1), stale.write()), "none of them is forgotten");
        let number = stale.begin(7, 0..1);
        stale.done(7, number);
        stale.between_writes(7, number);
        assert!(stale.is_empty());
    }
}
