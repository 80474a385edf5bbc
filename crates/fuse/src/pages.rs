//! What the kernel may hold of a file that the pool does not know of: pages over holes.
//!
//! A program's store through a map goes into the kernel's page, which is written back later. Where
//! the page has blocks, that concerns its bytes alone. Over a hole it also makes data of the hole:
//! SEEK_DATA, SEEK_HOLE and st_blocks would not tell of it, and copies would lose it. So an account
//! is kept of the pages over holes that the kernel has read, since a page has to be read before
//! anybody can store into it; and who asks for holes has just those pages written and dropped first
//! (`holes.rs`).
//!
//! 1. A page is noted before the answer to its read. So whoever drops it afterwards waits for that
//!    answer, the kernel having locked the page; and a page that was noted before the dropping
//!    began is gone when the dropping is done. One noted later may have come in again.
//! 2. What makes data of a hole takes it off the account before it is answered.
//! 3. What makes a hole of data has the kernel drop its pages, be it by the kernel itself or by
//!    `gates.rs`; so nothing comes onto the account then.
//! 4. Nothing can be stored into a page unless the file is open for reading and writing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use limpid_locks::{Class, Mutex, mutex};
use rustc_hash::FxHashMap;

/// The kernel caches whole pages, of this many bytes.
pub(crate) const PAGE: u64 = 4096;

/// The class of their locks.
static PAGES: Class = Class::new("fuse: pages over holes");

const SHARDS: usize = 16;

/// A moment, as far as notes and droppings are in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

/// Where a run of pages ends, and when it was noted.
#[derive(Clone, Copy)]
struct Run {
    end: u64,
    noted: Moment,
}

/// Runs of pages by their first page; they do not overlap.
type Runs = BTreeMap<u64, Run>;

/// The pages over holes that the kernel may have, by inode. The locks are leaves.
pub(crate) struct Pages {
    shards: [Mutex<FxHashMap<u64, Runs>>; SHARDS],
    clock: AtomicU64,
}

/// The pages that bytes lie in.
pub(crate) fn pages_of(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / PAGE..bytes.end.div_ceil(PAGE)
}

/// The bytes of pages.
pub(crate) fn bytes_of(pages: &Range<u64>) -> Range<u64> {
    pages.start * PAGE..pages.end.saturating_mul(PAGE)
}

impl Default for Pages {
    fn default() -> Pages {
        let shards = std::array::from_fn(|_| mutex(&PAGES, FxHashMap::default()));
        Pages { shards, clock: AtomicU64::new(0) }
    }
}

impl Pages {
    fn shard(&self, ino: u64) -> &Mutex<FxHashMap<u64, Runs>> {
        &self.shards[ino as usize % SHARDS]
    }

    /// The kernel is about to get pages over a hole; true if it had none of the file before.
    pub fn note(&self, ino: u64, pages: Range<u64>) -> bool {
        let noted = Moment(self.clock.load(Ordering::SeqCst));
        let mut shard = self.shard(ino).lock();
        let runs = shard.entry(ino).or_default();
        let first = runs.is_empty();
        let mut run = (pages.start, Run { end: pages.end, noted });
        take(runs, &pages, Moment(u64::MAX));
        // Joined with its neighbours: the later moment holds for all, which is on the safe side.
        if let Some((&start, before)) = runs.range(..pages.start).next_back()
            && before.end == pages.start
        {
            run = (start, Run { end: run.1.end, noted: noted.max(before.noted) });
        }
        if let Some(after) = runs.remove(&pages.end) {
            run.1 = Run { end: after.end, noted: run.1.noted.max(after.noted) };
        }
        runs.insert(run.0, run.1);
        first
    }

    /// Bytes were written: the pages they lie in are no longer over a hole.
    pub fn filled(&self, ino: u64, bytes: &Range<u64>) {
        if !bytes.is_empty() {
            self.take(ino, &pages_of(bytes), Moment(u64::MAX));
        }
    }

    /// Before pages are dropped: what [`dropped`](Pages::dropped) wants to know.
    pub fn dropping(&self) -> Moment {
        Moment(self.clock.fetch_add(1, Ordering::SeqCst))
    }

    /// Pages have been dropped since a moment.
    pub fn dropped(&self, ino: u64, pages: Range<u64>, since: Moment) {
        self.take(ino, &pages, since);
    }

    fn take(&self, ino: u64, pages: &Range<u64>, until: Moment) {
        let mut shard = self.shard(ino).lock();
        if let Some(runs) = shard.get_mut(&ino) {
            take(runs, pages, until);
            if runs.is_empty() {
                shard.remove(&ino);
            }
        }
    }

    /// Those of `pages` that the kernel may have over holes, as runs in order.
    pub fn held(&self, ino: u64, pages: &Range<u64>) -> Vec<Range<u64>> {
        let shard = self.shard(ino).lock();
        let Some(runs) = shard.get(&ino) else { return Vec::new() };
        let clipped = overlapping(runs, pages)
            .map(|(start, run)| start.max(pages.start)..run.end.min(pages.end));
        clipped.collect()
    }

    /// How many of `pages` the kernel may have over holes.
    pub fn count(&self, ino: u64, pages: &Range<u64>) -> u64 {
        self.held(ino, pages).iter().map(|run| run.end - run.start).sum()
    }

    /// Whether the kernel may have any of the file.
    pub fn any(&self, ino: u64) -> bool {
        self.shard(ino).lock().contains_key(&ino)
    }

    /// The kernel has forgotten an inode, and so all its pages.
    pub fn forget(&self, ino: u64) {
        self.shard(ino).lock().remove(&ino);
    }
}

/// The runs that have some of `pages`, in order.
fn overlapping<'a>(
    runs: &'a Runs,
    pages: &Range<u64>,
) -> impl Iterator<Item = (u64, Run)> + use<'a> {
    let before = runs.range(..pages.start).next_back();
    let before = before.filter(|(_, run)| run.end > pages.start);
    let within = (pages.start < pages.end).then(|| runs.range(pages.clone()));
    let both = before.into_iter().chain(within.into_iter().flatten());
    both.map(|(start, run)| (*start, *run))
}

/// Takes `pages` out of the runs noted until a moment.
fn take(runs: &mut Runs, pages: &Range<u64>, until: Moment) {
    let found: Vec<(u64, Run)> =
        overlapping(runs, pages).filter(|(_, run)| run.noted <= until).collect();
    for (start, run) in found {
        runs.remove(&start);
        if start < pages.start {
            runs.insert(start, Run { end: pages.start, ..run });
        }
        if pages.end < run.end {
            runs.insert(pages.end, run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pages: &Pages) -> Vec<Range<u64>> {
        pages.held(7, &(0..u64::MAX))
    }

    #[test]
    fn neighbours_are_joined_and_parts_are_taken_out() {
        let pages = Pages::default();
        assert!(pages.note(7, 10..20));
        assert!(!pages.note(7, 30..40));
        pages.note(7, 20..25);
        pages.note(7, 12..14);
        assert_eq!(all(&pages), [10..25, 30..40]);
        pages.note(7, 25..30);
        assert_eq!(all(&pages), [10..40]);
        pages.filled(7, &bytes_of(&(15..16)));
        assert_eq!(pages.held(7, &(12..17)), [12..15, 16..17]);
        assert_eq!(pages.count(7, &(0..u64::MAX)), 29);
        assert_eq!(pages.held(8, &(0..u64::MAX)), []);
        pages.filled(7, &bytes_of(&(0..100)));
        assert!(!pages.any(7), "nothing is kept of it");
    }

    #[test]
    fn what_comes_in_while_pages_are_dropped_stays() {
        let pages = Pages::default();
        pages.note(7, 0..4);
        let since = pages.dropping();
        pages.note(7, 2..3);
        pages.dropped(7, 0..100, since);
        // Joined with its neighbours, it keeps them too.
        assert_eq!(all(&pages), [0..4]);
        pages.note(7, 10..11);
        let since = pages.dropping();
        pages.note(7, 20..21);
        pages.dropped(7, 0..100, since);
        assert_eq!(all(&pages), [20..21]);
        pages.forget(7);
        assert!(!pages.any(7));
    }

    /// Against one bit per page.
    #[test]
    fn as_one_note_per_page() {
        let pages = Pages::default();
        let mut model = [false; 64];
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for _ in 0..2000 {
            let start = random(63);
            let end = start + 1 + random(63 - start);
            let noted = random(2) == 0;
            if noted {
                pages.note(7, start..end);
            } else {
                pages.filled(7, &bytes_of(&(start..end)));
            }
            model[start as usize..end as usize].fill(noted);
            for page in 0..64 {
                assert_eq!(pages.count(7, &(page..page + 1)) == 1, model[page as usize]);
            }
        }
    }
}
