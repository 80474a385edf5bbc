//! Which pages were stored to: write tracking by the kernel (WP_ASYNC, PAGEMAP_SCAN), and what is
//! remembered of storage that is no longer shown.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU8, Ordering};

use limpid_dax::{Order, PageIndex, PageRange, Protection};
use rustix::io::Errno;

use crate::backing::Backing;
use crate::engine::Engine;
use crate::map::{LinuxMap, State};
use crate::mm::{HUGE, Region, Span};
use crate::pagemap::{Query, is};
use crate::segments::Shown;
use crate::uffd::Report;

/// Whether stores to storage are noted reliably, by size of the page that maps it.
///
/// Not a matter of the kernel's version alone: on large DAX pages (fsdax and devdax, Linux 6.12)
/// a store after the protection goes unnoticed, so each pool is put to the test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tracking {
    pub small: bool,
    pub huge: bool,
}

/// Tries the tracking on the pool's first unit.
pub(crate) fn probe(engine: &Engine, backing: &Backing) -> Tracking {
    let options = backing.options();
    // Off by one page from the alignment of large pages, so that only small ones can map it.
    let small = options.granularity == 4096
        && options.len >= 4096
        && is_noted(engine, backing, 4096, 4096).unwrap_or(false);
    let huge = options.len >= HUGE as u64 && is_noted(engine, backing, HUGE, 0).unwrap_or(false);
    Tracking { small, huge }
}

/// Maps, stores, protects, stores, scans: true if the second store was noted.
fn is_noted(engine: &Engine, backing: &Backing, len: usize, residue: usize) -> Result<bool, Errno> {
    let Some(tracker) = &engine.tracker else { return Ok(false) };
    let region = Region::reserve(len, residue, true)?;
    let span = region.span();
    backing.map(&region, span, 0, true, false)?;
    store_same(span);
    // On DAX a unit that the file system gave in pieces is mapped by small pages, and says nothing
    // about large ones.
    if len == HUGE && backing.options().sync && !is_large(engine, span)? {
        return Ok(false);
    }
    tracker.register(&region, span, Report::Protected)?;
    let query = Query { all: is::WRITTEN, tell: is::WRITTEN, protect: true, ..Query::default() };
    engine.pagemap.scan(span, query, |_, _| ())?;
    let mut noted = false;
    engine.pagemap.scan(span, query, |_, _| noted = true)?;
    if noted {
        // Protecting had no effect.
        return Ok(false);
    }
    store_same(span);
    engine.pagemap.scan(span, query, |run, _| noted |= run.start == span.start)?;
    Ok(noted)
}

/// Whether a large page maps all of the span.
fn is_large(engine: &Engine, span: Span) -> Result<bool, Errno> {
    let query = Query { all: is::HUGE | is::PRESENT, ..Query::default() };
    let mut large = 0;
    engine.pagemap.scan(span, query, |run, _| large += run.len)?;
    Ok(large == span.len)
}

/// A store that changes nothing, even if others store to the same byte at the same time.
fn store_same(span: Span) {
    // SAFETY: the span is mapped, readable and writable, and shared with others only as memory
    // that is accessed atomically or by raw copies.
    let byte = unsafe { AtomicU8::from_ptr(span.start as *mut u8) };
    let mut value = byte.load(Ordering::Relaxed);
    // A compare-and-exchange is not optimised into a load, as an addition of 0 would be.
    while let Err(now) = byte.compare_exchange(value, value, Ordering::Relaxed, Ordering::Relaxed) {
        value = now;
    }
}

impl LinuxMap {
    /// Whether stores to `pages` of storage from `device` on will be noted: a range that may hold
    /// a large page needs the test of large pages, too.
    pub(crate) fn is_tracked(&self, pages: PageRange, device: u64) -> bool {
        let tracking = self.backing.tracking();
        let huge = Order::Pmd.bytes();
        let congruent = device % huge == pages.start.offset() % huge;
        let first_unit = PageIndex(pages.start.0.next_multiple_of(Order::Pmd.pages()));
        if congruent && pages.covers(first_unit.unit(Order::Pmd)) {
            tracking.huge && tracking.small
        } else {
            tracking.small
        }
    }

    /// Called before storage in `pages` is taken away: the kernel's notes go with it, and a store
    /// may come between a last look and the removal. So all of it counts as stored to.
    pub(crate) fn remember(&self, state: &mut State, pages: PageRange) {
        if !self.writable || self.private {
            return;
        }
        for (part, shown) in state.segments.parts(pages) {
            if shown.is_storage() {
                state.remembered.add(part);
            }
        }
    }

    pub(crate) fn collect_written(
        &self,
        pages: PageRange,
        written: &mut dyn FnMut(PageRange),
    ) -> Protection {
        let pages = pages.intersect(self.pages);
        if pages.is_empty() || !self.writable || self.private {
            return Protection::Faults;
        }
        let mut protection = Protection::Faults;
        let mut runs;
        {
            let mut state = self.lock();
            runs = state.remembered.take(pages);
            for (part, shown) in state.segments.parts(pages) {
                let noted = match shown {
                    Shown::Storage { tracked: true, .. } => self.scan_written(part, &mut runs),
                    Shown::Storage { tracked: false, .. } => Err(Errno::NOSYS),
                    _ => continue,
                };
                if noted.is_err() {
                    protection = Protection::Unnoticed;
                } else if protection == Protection::Faults {
                    protection = Protection::Noted;
                }
            }
        }
        // Called with nothing locked: it is the caller's code.
        runs.into_iter().for_each(written);
        protection
    }

    fn scan_written(&self, pages: PageRange, runs: &mut Vec<PageRange>) -> Result<(), Errno> {
        // The kernel takes pages that were never touched for written. On DAX nothing but we takes
        // pages out of the tables, so what is absent there was not stored to since.
        let all = if self.backing.options().sync { is::WRITTEN | is::PRESENT } else { is::WRITTEN };
        let query = Query { all, tell: is::WRITTEN, protect: true, ..Query::default() };
        let scan = |run, _| runs.push(self.pages_at(run));
        self.engine.pagemap.scan(self.span(pages), query, scan)
    }
}
