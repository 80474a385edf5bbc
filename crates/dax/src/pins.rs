//! Pins: ranges of a file whose blocks must not move (layouts).
//!
//! A pin is taken with the invalidate lock held shared, after storage was ensured, and looked for
//! with that lock held exclusive, after the range was unmapped. So either the one who changes the
//! layout sees the pin and waits, or the pin comes after the change and sees the new blocks (D1).
//! A pin outlives maps and entries (D3): it is kept here, by file range, not in them.

use alloc::vec::Vec;

use crate::units::PageRange;

/// The live pins of one file.
#[derive(Default)]
pub(crate) struct Pins {
    ranges: Vec<PageRange>,
}

impl Pins {
    pub fn add(&mut self, pages: PageRange) {
        self.ranges.push(pages);
    }

    pub fn remove(&mut self, pages: PageRange) {
        let at = self.ranges.iter().position(|range| *range == pages).expect("the pin is live");
        self.ranges.swap_remove(at);
    }

    pub fn iter(&self) -> impl Iterator<Item = PageRange> + '_ {
        self.ranges.iter().copied()
    }

    /// True if a page of `pages` is pinned.
    pub fn overlaps(&self, pages: PageRange) -> bool {
        self.ranges.iter().any(|range| !range.intersect(pages).is_empty())
    }
}
