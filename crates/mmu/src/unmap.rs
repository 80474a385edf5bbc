//! Unmapping: for the DAX layer, to make room, and before something else is installed.

use std::sync::atomic::Ordering;

use limpid_dax::{PAGE_SIZE, PageRange};
use rustix::io::Errno;

use crate::map::{LinuxMap, State};
use crate::mm::fatal;
use crate::segments::Shown;

impl LinuxMap {
    pub(crate) fn unmap_pages(&self, pages: PageRange) {
        let pages = pages.intersect(self.pages);
        if pages.is_empty() {
            return;
        }
        let mut state = self.lock();
        self.clear(&mut state, pages);
        self.recount(&mut state);
        self.engine.counters.unmaps.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes whatever `pages` show, private copies included: for bytes that are cut off the
    /// file, as truncate does it in the kernel.
    pub fn discard(&self, pages: PageRange) {
        let pages = pages.intersect(self.pages);
        if pages.is_empty() {
            return;
        }
        let mut state = self.lock();
        self.empty(&mut state, pages);
        self.recount(&mut state);
        self.engine.counters.unmaps.fetch_add(1, Ordering::Relaxed);
    }

    /// Ranges that cost kernel mappings and could be given up, with their age.
    pub(crate) fn evictable(&self) -> Vec<(u64, PageRange)> {
        if self.private { Vec::new() } else { self.lock().segments.evictable() }
    }

    /// Unmaps `pages` such that they cost no kernel mapping of their own any more; false if the
    /// system refuses.
    pub(crate) fn evict(&self, pages: PageRange) -> bool {
        let mut state = self.lock();
        let result = self.try_empty(&mut state, pages);
        self.recount(&mut state);
        result.is_ok()
    }

    /// Makes `pages` empty or barred, private copies aside: an access faults.
    pub(crate) fn clear(&self, state: &mut State, pages: PageRange) {
        if !self.private {
            return self.clear_shared(state, pages);
        }
        let frozen = self.freeze(state, pages);
        match self.without_copies(state, pages) {
            Ok(runs) => runs.into_iter().for_each(|run| self.clear_shared(state, run)),
            Err(errno) => fatal("looking for private copies", errno),
        }
        self.thaw(state, frozen);
    }

    /// One step over all storage, then the zero pages on either side of it.
    fn clear_shared(&self, state: &mut State, pages: PageRange) {
        if let Some(foreign) = state.segments.hull(pages, Shown::is_foreign) {
            self.empty(state, foreign);
        }
        self.report_zeroes(state, pages);
        self.drop_filled(state, pages);
    }

    /// Drops the pages of anonymous memory that is registered: the next access faults.
    pub(crate) fn drop_filled(&self, state: &mut State, pages: PageRange) {
        let filled =
            |shown| matches!(shown, Shown::Zero { .. } | Shown::ZeroReadOnly | Shown::Poison);
        if let Some(filled) = state.segments.hull(pages, filled) {
            if let Err(errno) = self.region.drop_pages(self.span(filled)) {
                fatal("dropping pages of a map", errno);
            }
            self.mark_dropped(state, filled);
        }
    }

    /// `pages` with the rest of the units that the medium's storage can only be mapped, and so
    /// unmapped, as a whole in. What is unmapped in excess faults again.
    pub(crate) fn whole_units(&self, state: &State, pages: PageRange) -> PageRange {
        let unit = self.backing.options().granularity / PAGE_SIZE;
        if unit == 1 || pages.is_empty() {
            return pages;
        }
        let mut whole = pages;
        let around = |page: u64| {
            let start = page / unit * unit;
            PageRange::new(start, start + unit).intersect(self.pages)
        };
        let first = around(pages.start.0);
        if state.segments.any(first, Shown::is_storage) {
            whole.start = whole.start.min(first.start);
        }
        let last = around(pages.end.0 - 1);
        if state.segments.any(last, Shown::is_storage) {
            whole.end = whole.end.max(last.end);
        }
        whole
    }

    /// Makes `pages` empty whatever they show, in one step, or barred where that is refused.
    pub(crate) fn empty(&self, state: &mut State, pages: PageRange) {
        if self.empty_with_ballast(state, pages).is_err() {
            self.bar(state, pages);
        }
    }

    /// As `empty`, but fails when the system has no room for the mappings.
    pub(crate) fn empty_with_ballast(
        &self,
        state: &mut State,
        pages: PageRange,
    ) -> Result<(), Errno> {
        let result = self.try_empty(state, pages);
        if result.is_err() && self.engine.ballast.give_up() {
            return self.try_empty(state, pages);
        }
        result
    }

    fn try_empty(&self, state: &mut State, pages: PageRange) -> Result<(), Errno> {
        let pages = self.whole_units(state, pages);
        self.remember(state, pages);
        self.engine.stage.empty(&self.region, self.span(pages), self.writable, |piece| {
            state.segments.set(self.pages_at(piece), Shown::Empty { island: 0 }, 0);
        })
    }

    /// Makes `pages` empty after a system call that failed half way.
    pub(crate) fn restore(&self, state: &mut State, pages: PageRange) {
        self.empty(state, pages);
    }

    /// The pages of anonymous memory were dropped in place: what the kernel kept apart it still
    /// keeps apart.
    fn mark_dropped(&self, state: &mut State, pages: PageRange) {
        for (part, shown) in state.segments.parts(pages) {
            let island = match shown {
                Shown::Zero { island } | Shown::Empty { island } => island,
                Shown::ZeroReadOnly | Shown::Poison => 0,
                // Copies of a private map are not touched by this, nor is what is barred; what is
                // for loads only was replaced before.
                Shown::Storage { .. } | Shown::Barred { .. } | Shown::LoadsOnly { .. } => continue,
            };
            state.segments.set(part, Shown::Empty { island }, island);
        }
    }
}
