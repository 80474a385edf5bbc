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

/// Storage of a private map that takes no stores until it is thawed.
#[must_use]
pub(crate) struct Frozen(Vec<PageRange>);

impl LinuxMap {
    /// Makes the storage in `pages` read-only; stores wait until `thaw`.
    pub(crate) fn freeze(&self, state: &mut State, pages: PageRange) -> Frozen {
        let storage: Vec<_> = state
            .segments
            .parts(pages)
            .into_iter()
            .filter_map(|(part, shown)| shown.is_storage().then_some(part))
            .collect();
        if !storage.is_empty() {
            self.watch_of_private().freeze();
            for part in &storage {
                if let Err(errno) = self.region.protect(self.span(*part), false) {
                    fatal("freezing a private map", errno);
                }
            }
        }
        Frozen(storage)
    }

    /// Lets stores to the storage that is left go on, whatever replaced the rest.
    pub(crate) fn thaw(&self, state: &mut State, frozen: Frozen) {
        if frozen.0.is_empty() {
            return;
        }
        for (part, shown) in frozen.0.iter().flat_map(|range| state.segments.parts(*range)) {
            if shown.is_storage()
                && let Err(errno) = self.region.protect(self.span(part), true)
            {
                fatal("thawing a private map", errno);
            }
        }
        self.watch_of_private().thaw();
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
        for (part, shown) in state.segments.parts(pages) {
            // Poison looks like a page swapped out; what was poisoned held no copy.
            if shown == Shown::Poison {
                push(&mut runs, part);
                continue;
            }
            let mut from = part.start;
            self.engine.pagemap.scan(self.span(part), COPIES, |run, _| {
                let copy = self.pages_at(run);
                push(&mut runs, PageRange { start: from, end: copy.start });
                from = copy.end;
            })?;
            push(&mut runs, PageRange { start: from, end: part.end });
        }
        Ok(runs)
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
