//! `i_mmap`: all live maps of one file, by file range, over all address spaces.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::ahead::StoreUnit;
use crate::mmu::Mmu;
use crate::units::PageRange;

/// One map of a file (a VMA).
pub struct Vma {
    /// Pages of the file that the map shows.
    pub pages: PageRange,
    /// Shared: stores go to the file. Private: they go to a copy.
    pub shared: bool,
    /// Whether the map may be stored to at all.
    pub writable: bool,
    /// What its stores to holes take; `None` as the policy has it.
    pub store_unit: Option<StoreUnit>,
    /// Its page tables.
    pub mmu: Arc<dyn Mmu>,
}

/// The maps of one file, ordered by their first page, and among those that begin at one page by
/// when they were added: a walk visits them in an order that does not depend on addresses, so a
/// schedule of the explorer replays exactly.
#[derive(Default)]
pub(crate) struct Maps {
    by_start: BTreeMap<(u64, u64), Arc<Vma>>,
    /// Number of maps added so far.
    added: u64,
    /// Length in pages of the longest map there ever was: bounds the search to the left.
    longest: u64,
}

impl Maps {
    pub fn add(&mut self, vma: Arc<Vma>) {
        assert!(self.key(&vma).is_none(), "a map is added once");
        self.longest = self.longest.max(vma.pages.len());
        self.by_start.insert((vma.pages.start.0, self.added), vma);
        self.added += 1;
    }

    pub fn remove(&mut self, vma: &Arc<Vma>) {
        let key = self.key(vma).expect("a map is removed once");
        self.by_start.remove(&key);
        if self.by_start.is_empty() {
            self.longest = 0;
        }
    }

    fn key(&self, vma: &Arc<Vma>) -> Option<(u64, u64)> {
        let start = vma.pages.start.0;
        let mut same = self.by_start.range((start, 0)..=(start, u64::MAX));
        same.find(|(_, other)| Arc::ptr_eq(other, vma)).map(|(key, _)| *key)
    }

    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    pub fn len(&self) -> usize {
        self.by_start.len()
    }

    /// The maps that show at least one page of `pages`.
    pub fn overlapping(&self, pages: PageRange) -> impl Iterator<Item = &Arc<Vma>> {
        let from = pages.start.0.saturating_sub(self.longest);
        self.by_start
            .range((from, 0)..(pages.end.0.max(from), 0))
            .map(|(_, vma)| vma)
            .filter(move |vma| !vma.pages.intersect(pages).is_empty())
    }
}
