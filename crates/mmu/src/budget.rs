//! The budget of kernel mappings: a process may have vm.max_map_count of them, and a map of
//! scattered extents can want any number. Beyond the budget the least recently installed ranges
//! are unmapped again, to be faulted in when they are next wanted, instead of failing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use limpid_dax::PageRange;

use crate::engine::Engine;
use crate::map::LinuxMap;

/// Ranges given up in one go: enough that the search for the oldest pays.
const BATCH: usize = 256;

#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: AtomicUsize,
}

impl Budget {
    pub fn new(limit: usize) -> Budget {
        Budget { used: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// A map that was counted as `before` costs `after` now.
    pub fn recount(&self, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    fn is_exceeded(&self) -> bool {
        self.used() > self.limit.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// Called before something is installed, with no map's state locked.
    pub(crate) fn make_room(&self) {
        if self.budget.is_exceeded() {
            self.evict();
        }
        self.ballast.refill();
    }

    /// Called when the system refused a mapping, with no map's state locked; false if nothing
    /// can be given up.
    pub(crate) fn make_more_room(&self) -> bool {
        let given = self.ballast.give_up();
        self.evict() || given
    }

    /// Unmaps a batch of the least recently installed ranges; false if nothing could be.
    pub(crate) fn evict(&self) -> bool {
        let mut oldest: Vec<(u64, usize, PageRange)> = Vec::new();
        let maps = self.maps();
        for (number, map) in maps.iter().enumerate() {
            oldest.extend(map.evictable().into_iter().map(|(tick, pages)| (tick, number, pages)));
        }
        // A quarter at most, so that a tiny budget does not empty every map each time.
        let batch = BATCH.min(oldest.len().div_ceil(4));
        if batch == 0 {
            return false;
        }
        oldest.select_nth_unstable_by_key(batch - 1, |(tick, ..)| *tick);
        oldest.truncate(batch);
        oldest.sort_unstable_by_key(|(_, number, pages)| (*number, pages.start));
        let mut victims = oldest.into_iter().map(|(_, number, pages)| (number, pages)).peekable();
        let mut evicted = false;
        while let Some((number, mut pages)) = victims.next() {
            // Neighbours go in one step.
            while let Some((_, more)) =
                victims.next_if(|(other, more)| *other == number && more.start == pages.end)
            {
                pages.end = more.end;
            }
            evicted |= self.evict_from(&maps[number], pages);
        }
        evicted
    }

    fn evict_from(&self, map: &Arc<LinuxMap>, pages: PageRange) -> bool {
        let evicted = map.evict(pages);
        self.counters.evictions.fetch_add(u64::from(evicted), Ordering::Relaxed);
        evicted
    }
}
