//! Private copies (MAP_PRIVATE): finding them, and keeping the kernel from making one unnoticed.
//!
//! A private writable map shows storage by a private mapping of the pool, so a store there makes
//! a copy in the kernel at any moment, with no fault of ours. To replace the pages that were not
//! copied, the range is *frozen* first: made read-only, so that a store raises SIGSEGV, where our
//! handler has it wait (`sigsegv.rs`). Then the copies are what the page tables show, and stay so.
//! A system call that stores to the range in that short time returns EFAULT instead of waiting.

use limpid_dax::PageRange;
use rustix::io::Errno;

use crate::map::{LinuxMap, State};
use crate::mm::fatal;
use crate::pagemap::{Query, is};
use crate::segments::Shown;

/// A range of a private map that takes no stores until it is thawed.
#[must_use]
pub(crate) struct Frozen(Option<PageRange>);

impl LinuxMap {
    /// Makes the storage in `pages` read-only, with whatever lies between; stores wait until
    /// `thaw`.
    pub(crate) fn freeze(&self, state: &mut State, pages: PageRange) -> Frozen {
        let storage = state.segments.hull(pages, Shown::is_storage);
        if let Some(storage) = storage {
            self.watch_of_private().freeze();
            if let Err(errno) = self.region.protect(self.span(storage), false) {
                fatal("freezing a private map", errno);
            }
        }
        Frozen(storage)
    }

    /// Lets stores go on, whatever the range shows now. Zero pages stay write-protected: that
    /// is a property of the page, not of the range.
    pub(crate) fn thaw(&self, frozen: Frozen) {
        if let Some(range) = frozen.0 {
            if let Err(errno) = self.region.protect(self.span(range), true) {
                fatal("thawing a private map", errno);
            }
            self.watch_of_private().thaw();
        }
    }

    /// The runs of `pages` that hold no private copy; all of `pages` in a shared map.
    pub(crate) fn without_copies(
        &self,
        state: &State,
        pages: PageRange,
    ) -> Result<Vec<PageRange>, Errno> {
        if !self.private {
            return Ok(vec![pages]);
        }
        let mut runs = Vec::new();
        let mut from = pages.start;
        // Poison looks like a page swapped out, so it is not asked for; what was poisoned held
        // no copy.
        for (poison, _) in state.segments.parts(pages).iter().filter(|(_, s)| *s == Shown::Poison) {
            self.scan_for_copies(PageRange { start: from, end: poison.start }, &mut runs)?;
            push(&mut runs, *poison);
            from = poison.end;
        }
        self.scan_for_copies(PageRange { start: from, end: pages.end }, &mut runs)?;
        Ok(runs)
    }

    fn scan_for_copies(&self, pages: PageRange, runs: &mut Vec<PageRange>) -> Result<(), Errno> {
        if pages.is_empty() {
            return Ok(());
        }
        let mut from = pages.start;
        let mut found = Vec::new();
        self.engine.pagemap.scan(self.span(pages), COPIES, |run, _| found.push(run))?;
        if self.backing.options().sync {
            // Pages of a DAX medium look the same to the scan.
            let suspects = std::mem::take(&mut found);
            for run in suspects {
                self.engine.pagemap.own_pages(run, |page| found.push(page))?;
            }
        }
        for run in found {
            let copy = self.pages_at(run);
            push(runs, PageRange { start: from, end: copy.start });
            from = copy.end;
        }
        push(runs, PageRange { start: from, end: pages.end });
        Ok(())
    }

    fn watch_of_private(&self) -> &crate::sigsegv::Watch {
        self.watch.as_ref().expect("a private map has a watch")
    }
}

/// What is in memory or swapped out, and is neither a page of the pool nor a zero page.
const COPIES: Query = Query {
    all: 0,
    any: is::PRESENT | is::SWAPPED,
    none: is::FILE | is::ZERO,
    tell: 0,
    protect: false,
};

/// Appends a run, joining it to the one before where they touch.
fn push(runs: &mut Vec<PageRange>, run: PageRange) {
    if run.is_empty() {
        return;
    }
    match runs.last_mut() {
        Some(last) if last.end == run.start => last.end = run.end,
        _ => runs.push(run),
    }
}
