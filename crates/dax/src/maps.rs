//! `i_mmap`: all live maps of one file, by file range, over all address spaces.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

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
    /// Its page tables.
    pub mmu: Arc<dyn Mmu>,
}

/// The maps of one file, ordered by their first page.
#[derive(Default)]
pub(crate) struct Maps {
    by_start: BTreeMap<(u64, usize), Arc<Vma>>,
    /// Length in pages of the longest map there ever was: bounds the search to the left.
    longest: u64,
}

impl Maps {
    fn key(vma: &Arc<Vma>) -> (u64, usize) {
        (vma.pages.start.0, Arc::as_ptr(vma) as usize)
    }

    pub fn add(&mut self, vma: Arc<Vma>) {
        self.longest = self.longest.max(vma.pages.len());
        let before = self.by_start.insert(Self::key(&vma), vma);
        assert!(before.is_none(), "a map is added once");
    }

    pub fn remove(&mut self, vma: &Arc<Vma>) {
        let removed = self.by_start.remove(&Self::key(vma));
        assert!(removed.is_some(), "a map is removed once");
        if self.by_start.is_empty() {
            self.longest = 0;
        }
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
