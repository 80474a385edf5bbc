//! Writes of programs that miss the page they should have changed.
//!
//! The kernel copies what a program writes into its page and then sends it here. If the page is
//! dropped between the two, on the library's behalf, another program can read the page in anew
//! before the write is served: without what is written. It would be shown for as long as the kernel
//! keeps it; and if that program stores into the page, it is written back whole, over the write. So
//! who is to serve a write looks whether that may have happened, and has the pages dropped before
//! the write is made (`write.rs`).
//!
//! 1. The kernel lets one write at a time into a file's pages. So a write that was copied before
//!    some pages were dropped is the first to be served after that, or is being served meanwhile.
//!    Other requests for which it lets no write in tell that there is none.
//! 2. A page that nobody has read since it was dropped cannot be stale.
//! 3. A read is noted before it looks for gates, and once more when it has waited at one; a write
//!    has its gate before it looks for reads. So one of the two sees the other.
//! 4. Past the cache (`direct.rs`) nothing is copied: such a write tells nothing of others.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use limpid_locks::{Class, Mutex, MutexGuard, mutex};
use rustc_hash::FxHashMap;

/// The class of the lock.
static STALE: Class = Class::new("fuse: dropped pages");

/// So many droppings of a file are told apart, and so many reads of each.
const MANY: usize = 8;

/// Pages that were read.
#[derive(Clone)]
struct Read {
    pages: Range<u64>,
    /// The number of the last request for any of them.
    request: u64,
}

/// Pages of a file that are being dropped, or have been.
struct Dropping {
    number: u64,
    pages: Range<u64>,
    /// When it was done.
    done: Option<u64>,
    /// Those of the pages that have been read since it began.
    reads: Vec<Read>,
}

impl Dropping {
    fn read(&mut self, read: &Read) {
        let pages = read.pages.start.max(self.pages.start)..read.pages.end.min(self.pages.end);
        if pages.start >= pages.end {
            return;
        }
        if self.reads.len() >= MANY {
            // One that spans all.
            for old in std::mem::take(&mut self.reads) {
                let all = self.reads.pop().unwrap_or_else(|| old.clone());
                let start = all.pages.start.min(old.pages.start);
                let pages = start..all.pages.end.max(old.pages.end);
                self.reads.push(Read { pages, request: all.request.max(old.request) });
            }
        }
        match self.reads.iter_mut().find(|old| old.pages == pages) {
            Some(old) => old.request = old.request.max(read.request),
            None => self.reads.push(Read { pages, request: read.request }),
        }
    }
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
        of.push(Dropping { number, pages, done: None, reads: Vec::new() });
        self.count.store(state.files.len(), Ordering::SeqCst);
        number
    }

    /// They are dropped. Unless a write `may` have been copied before that, nothing is kept of it.
    pub fn done(&self, ino: u64, number: u64, may: bool) {
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
            let is_kept = old.number != number || may;
            is_kept && (!is_before || old.pages.start < pages.start || pages.end < old.pages.end)
        });
        self.count_files(state, ino);
    }

    /// The kernel holds back all writes to a file, or has just had the only one served that it let
    /// in: what was dropped before concerns no write.
    pub fn no_write(&self, ino: u64) {
        if self.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if let Some(of) = state.files.get_mut(&ino) {
            of.retain(|this| this.done.is_none());
            self.count_files(state, ino);
        }
    }

    /// Forgets a file of which nothing is left.
    fn count_files(&self, mut state: MutexGuard<'_, State>, ino: u64) {
        if state.files.get(&ino).is_some_and(Vec::is_empty) {
            state.files.remove(&ino);
        }
        self.count.store(state.files.len(), Ordering::SeqCst);
    }

    /// Pages are about to come in again, by the request of this number.
    pub fn read(&self, ino: u64, pages: &Range<u64>, request: u64) {
        if self.is_empty() {
            return;
        }
        let read = Read { pages: pages.clone(), request };
        let mut state = self.state.lock();
        state.files.get_mut(&ino).into_iter().flatten().for_each(|of| of.read(&read));
    }

    /// The last request by which the kernel read some of `pages` since they were dropped, if a
    /// write to them may have been copied before that.
    pub fn last_read(&self, ino: u64, pages: &Range<u64>) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        let state = self.state.lock();
        let reads = state.files.get(&ino)?.iter().flat_map(|of| &of.reads);
        reads.filter(|read| overlap(&read.pages, pages)).map(|read| read.request).max()
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
    let (done, mut left): (Vec<Dropping>, _) = of.drain(..).partition(|of| of.done.is_some());
    let all = done.into_iter().reduce(|mut all, one| {
        all.pages = all.pages.start.min(one.pages.start)..all.pages.end.max(one.pages.end);
        all.done = all.done.max(one.done);
        one.reads.iter().for_each(|read| all.read(read));
        all
    });
    left.extend(all);
    *of = left;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_pages(stale: &Stale, pages: Range<u64>) {
        let number = stale.begin(7, pages);
        stale.done(7, number, true);
    }

    /// A write that finds out whether it may have missed pages, and is answered.
    fn write(stale: &Stale, pages: Range<u64>) -> Option<u64> {
        let read = stale.last_read(7, &pages);
        stale.no_write(7);
        read
    }

    #[test]
    fn the_first_write_after_a_page_was_dropped_and_read_may_have_missed_it() {
        let stale = Stale::default();
        assert_eq!(write(&stale, 0..1), None);
        drop_pages(&stale, 0..4);
        assert_eq!(write(&stale, 0..1), None, "nobody has read it");
        stale.read(7, &(0..4), 10);
        assert_eq!(write(&stale, 0..1), None, "it was copied after the last answer");
        drop_pages(&stale, 0..4);
        stale.read(7, &(1..9), 20);
        stale.read(7, &(2..3), 30);
        assert_eq!(stale.last_read(7, &(0..1)), None);
        assert_eq!(stale.last_read(7, &(1..2)), Some(20));
        assert_eq!(stale.last_read(7, &(4..9)), None, "not dropped");
        assert_eq!(stale.last_read(8, &(0..4)), None);
        assert_eq!(write(&stale, 0..4), Some(30));
        assert_eq!(write(&stale, 0..4), None);
        assert!(stale.is_empty());
    }

    #[test]
    fn one_that_is_served_meanwhile_may_too_and_so_may_the_next() {
        let stale = Stale::default();
        let number = stale.begin(7, 0..4);
        stale.read(7, &(3..4), 1);
        assert_eq!(write(&stale, 3..5), Some(1));
        stale.done(7, number, true);
        assert_eq!(write(&stale, 3..4), Some(1));
        assert_eq!(write(&stale, 3..4), None);
        let number = stale.begin(7, 0..4);
        stale.done(7, number, false);
        assert!(stale.is_empty(), "nobody writes");
    }

    #[test]
    fn what_is_dropped_again_was_not_read() {
        let stale = Stale::default();
        for again in 0..3 * MANY as u64 {
            drop_pages(&stale, 0..4 + again);
            stale.read(7, &(0..1), again);
        }
        assert_eq!(stale.state.lock().files[&7].len(), 1);
        drop_pages(&stale, 0..100);
        assert_eq!(write(&stale, 0..1), None);
        for apart in 0..3 * MANY as u64 {
            drop_pages(&stale, 10 * apart..10 * apart + 1);
            stale.read(7, &(10 * apart..10 * apart + 1), apart);
        }
        assert!(stale.state.lock().files[&7].len() <= MANY);
        for apart in 0..3 * MANY as u64 {
            let read = stale.last_read(7, &(10 * apart..10 * apart + 1));
            assert!(read >= Some(apart), "none of them is forgotten");
        }
        assert_eq!(stale.last_read(7, &(1000..1001)), None);
    }
}
