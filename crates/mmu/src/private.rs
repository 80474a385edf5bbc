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

/// Ranges of a private map that take no stores until they are thawed.
#[must_use]
pub(crate) struct Frozen(Vec<PageRange>);

impl LinuxMap {
    /// Makes the storage in `pages` read-only, with whatever lies between; stores wait until
    /// `thaw`.
    pub(crate) fn freeze(&self, state: &mut State, pages: PageRange) -> Frozen {
        let Some(hull) = state.segments.hull(pages, Shown::is_storage) else {
            return Frozen(Vec::new());
        };
        self.watch().freeze();
        let mut frozen = Vec::new();
        if !state.segments.any(hull, is_barred) {
            frozen.push(hull);
            if self.region.protect(self.span(hull), false).is_ok() {
                return Frozen(frozen);
            }
        }
        // What is barred stays so. Whole segments need no mapping to be split.
        for (segment, _) in state.segments.whole(pages).iter().filter(|(_, s)| s.is_storage()) {
            frozen.push(*segment);
            if let Err(errno) = self.region.protect(self.span(*segment), false) {
                fatal("freezing a private map", errno);
            }
        }
        Frozen(frozen)
    }

    /// Lets stores go on, whatever the range shows now. Zero pages stay write-protected: that
    /// is a property of the page, not of the range. What was barred meanwhile stays so.
    ///
    /// Splits nothing: a mapping that reaches out of the range takes stores already, and mprotect
    /// passes it by.
    pub(crate) fn thaw(&self, state: &State, frozen: Frozen) {
        // Whole segments first: the range that was tried before them ends inside of some.
        for range in frozen.0.iter().rev() {
            let mut parts = vec![*range];
            if state.segments.any(*range, is_barred) {
                let open = state.segments.parts(*range).into_iter();
                parts = open.filter(|(_, s)| !is_barred(*s)).map(|(part, _)| part).collect();
            }
            for part in parts {
                if let Err(errno) = self.region.protect(self.span(part), true) {
                    fatal("thawing a private map", errno);
                }
            }
        }
        if !frozen.0.is_empty() {
            self.watch().thaw();
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
}

fn is_barred(shown: Shown) -> bool {
    matches!(shown, Shown::Barred { .. })
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
