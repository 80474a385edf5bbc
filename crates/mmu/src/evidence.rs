//! Evidence: what the page tables really hold, for tests and for showing users the page size.

use limpid_dax::PageRange;
use rustix::io::Errno;

use crate::map::LinuxMap;
use crate::mm::Span;
use crate::pagemap::{Query, is};
use crate::segments::Shown;

/// Bytes of a range by what maps them now. Their sum is the length of the range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageSizes {
    /// Storage in 4 KiB pages.
    pub storage_small: u64,
    /// Storage in 2 MiB pages.
    pub storage_huge: u64,
    /// The zero page of 4 KiB.
    pub zero_small: u64,
    /// The zero page of 2 MiB.
    pub zero_huge: u64,
    /// Private copies, in memory or swapped out.
    pub private: u64,
    /// Nothing: an access faults, in our tables or the kernel's.
    pub absent: u64,
}

impl LinuxMap {
    /// What maps the given pages (clipped to the map) at this moment.
    pub fn page_sizes(&self, pages: PageRange) -> Result<PageSizes, std::io::Error> {
        let pages = pages.intersect(self.pages);
        let mut sizes = PageSizes::default();
        let state = self.lock();
        for (part, shown) in state.segments.parts(pages) {
            self.count(part, shown, &mut sizes)?;
        }
        Ok(sizes)
    }

    fn count(&self, part: PageRange, shown: Shown, sizes: &mut PageSizes) -> Result<(), Errno> {
        let bytes = part.len() << 12;
        let mut seen = 0;
        // Poison looks like a page swapped out, and nobody sees what is barred.
        if shown != Shown::Poison && !matches!(shown, Shown::Barred { .. }) {
            let query = Query {
                any: is::PRESENT | is::SWAPPED,
                tell: is::FILE | is::ZERO | is::HUGE,
                ..Query::default()
            };
            let mut unknown = Vec::new();
            self.engine.pagemap.scan(self.span(part), query, |run, categories| {
                let huge = categories & is::HUGE != 0;
                let field = if categories & is::FILE != 0 {
                    if huge { &mut sizes.storage_huge } else { &mut sizes.storage_small }
                } else if categories & is::ZERO != 0 {
                    if huge { &mut sizes.zero_huge } else { &mut sizes.zero_small }
                } else {
                    unknown.push((run, huge));
                    return;
                };
                *field += run.len as u64;
                seen += run.len as u64;
            })?;
            for (run, huge) in unknown {
                let copies = self.copies_in(run, shown)?;
                let storage = run.len as u64 - copies;
                let field = if huge { &mut sizes.storage_huge } else { &mut sizes.storage_small };
                *field += storage;
                sizes.private += copies;
                seen += run.len as u64;
            }
        }
        sizes.absent += bytes - seen;
        Ok(())
    }

    /// Bytes of private copies in a run of pages that are neither of a file nor zero pages for the
    /// kernel. On a DAX medium the rest is storage.
    fn copies_in(&self, run: Span, shown: Shown) -> Result<u64, Errno> {
        if !shown.is_storage() || !self.backing.options().sync {
            return Ok(run.len as u64);
        }
        let mut copies = 0;
        if self.private {
            self.engine.pagemap.own_pages(run, |page| copies += page.len as u64)?;
        }
        Ok(copies)
    }
}
