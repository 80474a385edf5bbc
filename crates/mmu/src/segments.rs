//! What the pages of a map show, as far as we installed it: a partition of the map's pages.
//!
//! The number of segments is also the estimate of the kernel mappings the map costs, since two
//! neighbours are one segment where the kernel would merge them.

use std::ops::Range;

use limpid_dax::PageRange;
use rangemap::{RangeMap, RangeSet};

/// What a page shows, private copies aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Anonymous, registered, nothing installed: an access faults. `island` is not 0 where the
    /// kernel keeps the range apart from its neighbours.
    Empty { island: u64 },
    /// Zero pages, write-protected, registered: a store faults. Never merges with neighbours.
    Zero { island: u64 },
    /// Anonymous, not registered, in a map that takes no stores: loads find zeroes.
    ZeroReadOnly,
    /// Zero pages of which a store raises SIGBUS (`loads_only.rs`), kept apart from everything.
    LoadsOnly { island: u64 },
    /// Registered, an access raises SIGBUS.
    Poison,
    /// The pool. `shift` is the device offset of the page less its file offset, modulo 2^64, so
    /// ranges that follow one another in both are equal and merge.
    Storage { shift: u64, tracked: bool },
    /// Storage that nobody may access (`ballast.rs`): an access raises SIGSEGV, and our handler
    /// has it wait until the range is empty. `shift` as above.
    Barred { shift: u64 },
}

impl Shown {
    /// Storage that shows `device` at `pages.start`.
    pub fn storage(pages: PageRange, device: u64, tracked: bool) -> Shown {
        Shown::Storage { shift: device.wrapping_sub(pages.start.offset()), tracked }
    }

    pub fn is_storage(self) -> bool {
        matches!(self, Shown::Storage { .. })
    }

    /// True if it is not registered with the engine, so that dropping its pages does not do: it
    /// has to be replaced.
    pub fn is_foreign(self) -> bool {
        matches!(self, Shown::Storage { .. } | Shown::LoadsOnly { .. })
    }

    /// True if taking it away saves a kernel mapping.
    fn is_evictable(self) -> bool {
        match self {
            Shown::Storage { .. } | Shown::Barred { .. } => true,
            Shown::Zero { .. } | Shown::LoadsOnly { .. } => true,
            Shown::Empty { island } => island != 0,
            Shown::ZeroReadOnly | Shown::Poison => false,
        }
    }
}

/// The partition.
#[derive(Debug)]
pub(crate) struct Segments {
    shown: RangeMap<u64, Shown>,
    /// When each range was last installed (ticks of the engine).
    installed: RangeMap<u64, u64>,
}

impl Segments {
    /// All of `pages` is empty.
    pub fn new(pages: PageRange) -> Segments {
        let mut shown = RangeMap::new();
        shown.insert(keys(pages), Shown::Empty { island: 0 });
        Segments { shown, installed: RangeMap::new() }
    }

    /// Number of segments.
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// The parts of `pages` with what each shows, in order.
    pub fn parts(&self, pages: PageRange) -> Vec<(PageRange, Shown)> {
        let clip = |range: &Range<u64>| PageRange::new(range.start, range.end).intersect(pages);
        self.shown.overlapping(keys(pages)).map(|(range, shown)| (clip(range), *shown)).collect()
    }

    /// The segments that `pages` touch, whole, in order. Where one of storage or of `ZeroReadOnly`
    /// ends, a kernel mapping ends.
    pub fn whole(&self, pages: PageRange) -> Vec<(PageRange, Shown)> {
        let whole = |range: &Range<u64>| PageRange::new(range.start, range.end);
        self.shown.overlapping(keys(pages)).map(|(range, shown)| (whole(range), *shown)).collect()
    }

    /// True if all of `pages` shows `shown`.
    pub fn all(&self, pages: PageRange, shown: Shown) -> bool {
        self.shown.overlapping(keys(pages)).all(|(_, other)| *other == shown)
    }

    /// True if any of `pages` shows what `is` accepts.
    pub fn any(&self, pages: PageRange, is: impl Fn(Shown) -> bool) -> bool {
        self.shown.overlapping(keys(pages)).any(|(_, shown)| is(*shown))
    }

    /// From the first page to the last that show what `is` accepts.
    pub fn hull(&self, pages: PageRange, is: impl Fn(Shown) -> bool) -> Option<PageRange> {
        let parts = self.parts(pages);
        let mut accepted = parts.iter().filter(|(_, shown)| is(*shown)).map(|(part, _)| *part);
        let first = accepted.next()?;
        let last = accepted.next_back().unwrap_or(first);
        Some(PageRange { start: first.start, end: last.end })
    }

    /// Records that `pages` show `shown` from tick `now` on.
    pub fn set(&mut self, pages: PageRange, shown: Shown, now: u64) {
        self.shown.insert(keys(pages), shown);
        if shown.is_evictable() {
            self.installed.insert(keys(pages), now);
        } else {
            self.installed.remove(keys(pages));
        }
    }

    /// Ranges whose removal saves kernel mappings, with the tick of their installation.
    pub fn evictable(&self) -> Vec<(u64, PageRange)> {
        let old =
            |(range, tick): (&Range<u64>, &u64)| (*tick, PageRange::new(range.start, range.end));
        self.installed.iter().map(old).collect()
    }
}

/// A set of pages: those that may have been stored to since they were last asked for, though no
/// table shows it, say.
#[derive(Debug, Default)]
pub(crate) struct Remembered(RangeSet<u64>);

impl Remembered {
    pub fn add(&mut self, pages: PageRange) {
        if !pages.is_empty() {
            self.0.insert(keys(pages));
        }
    }

    /// Takes what is remembered of `pages` out.
    pub fn take(&mut self, pages: PageRange) -> Vec<PageRange> {
        let clip = |range: &Range<u64>| PageRange::new(range.start, range.end).intersect(pages);
        let taken: Vec<_> = self.0.overlapping(keys(pages)).map(clip).collect();
        self.0.remove(keys(pages));
        taken
    }
}

fn keys(pages: PageRange) -> Range<u64> {
    pages.start.0..pages.end.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(start: u64, end: u64) -> PageRange {
        PageRange::new(start, end)
    }

    #[test]
    fn storage_that_follows_merges() {
        let mut segments = Segments::new(pages(0, 100));
        segments.set(pages(0, 10), Shown::storage(pages(0, 10), 40960, true), 1);
        segments.set(pages(10, 20), Shown::storage(pages(10, 20), 81920, true), 2);
        assert_eq!(segments.len(), 2);
        segments.set(pages(20, 30), Shown::storage(pages(20, 30), 0, true), 3);
        assert_eq!(segments.len(), 3);
    }

    #[test]
    fn zero_pages_stay_apart() {
        let mut segments = Segments::new(pages(0, 100));
        segments.set(pages(10, 20), Shown::Zero { island: 7 }, 7);
        segments.set(pages(20, 30), Shown::Zero { island: 8 }, 8);
        assert_eq!(segments.len(), 4);
        assert_eq!(
            segments.hull(pages(0, 15), |shown| matches!(shown, Shown::Zero { .. })),
            Some(pages(10, 15))
        );
        assert_eq!(segments.evictable(), vec![(7, pages(10, 20)), (8, pages(20, 30))]);
        segments.set(pages(0, 100), Shown::Empty { island: 0 }, 9);
        assert_eq!((segments.len(), segments.evictable().len()), (1, 0));
    }

    #[test]
    fn what_is_remembered_is_told_once() {
        let mut remembered = Remembered::default();
        remembered.add(pages(0, 10));
        remembered.add(pages(10, 12));
        assert_eq!(remembered.take(pages(5, 11)), vec![pages(5, 11)]);
        assert_eq!(remembered.take(pages(0, 100)), vec![pages(0, 5), pages(11, 12)]);
        assert_eq!(remembered.take(pages(0, 100)), vec![]);
    }
}
