//! How to try page tables of your own: implement `Mmu` over the simulated hardware, and search.
//!
//! The page tables here save the hardware an unmap where they believe that nothing is mapped. They
//! have a bug: they believe so after any unmap, also one of other pages, or one that came between
//! the note of an install and the install itself. It is found, and shown.
//!
//! `cargo run --release -p limpid-explore --example page_tables`

use core::ops::Range;
use std::sync::Arc;

use limpid_dax::{
    Extent, Intent, Iomap, Mmu, MmuError, Mutex, PageIndex, PageRange, Protection, Published, Seam,
    Target,
};
use limpid_explore::{
    Flavour, Limits, Replay, SimBug, SimMmu, SimSeam, Subject, ToyBlockMap, ToyError, catalog,
    shrink,
};
use limpid_pmem::MediaError;

/// Page tables that remember whether they may show anything.
struct Forgetful {
    hardware: SimMmu,
    shows: <SimSeam as Seam>::Mutex<bool>,
}

impl Mmu for Forgetful {
    fn install(&self, pages: PageRange, target: Target) -> Result<(), MmuError> {
        self.shows.with(|shows| *shows = true);
        self.hardware.install(pages, target)
    }

    fn unmap(&self, pages: PageRange) {
        // The bug: `pages` need not be all that is mapped, or about to be.
        if self.shows.with(core::mem::take) {
            self.hardware.unmap(pages);
        }
    }

    fn discard(&self, pages: PageRange) {
        self.hardware.discard(pages);
    }
    fn can_map_huge(&self, page: PageIndex) -> bool {
        self.hardware.can_map_huge(page)
    }
    fn storage_stores_fault(&self) -> bool {
        self.hardware.storage_stores_fault()
    }
    fn write_protect(&self, pages: PageRange, written: &mut dyn FnMut(PageRange)) -> Protection {
        self.hardware.write_protect(pages, written)
    }
}

/// The toy block map, under these page tables.
struct OwnTables(ToyBlockMap);

impl Subject for OwnTables {
    fn create(medium_len: u64) -> Self {
        OwnTables(ToyBlockMap::create(medium_len))
    }

    fn extents(&self) -> Vec<Extent> {
        self.0.extents()
    }

    fn page_tables(hardware: SimMmu) -> Arc<dyn Mmu> {
        Arc::new(Forgetful { hardware, shows: Mutex::new(false) })
    }
}

impl Iomap for OwnTables {
    type Error = ToyError;

    fn size(&self) -> u64 {
        self.0.size()
    }
    fn begin(&self, pages: PageRange, intent: Intent) -> Result<Extent, ToyError> {
        self.0.begin(pages, intent)
    }
    fn publish(
        &self,
        extents: &[Extent],
        written: Range<u64>,
        extend: bool,
        zero: &mut dyn FnMut(Range<u64>) -> Result<(), MediaError>,
    ) -> Result<Published, ToyError> {
        self.0.publish(extents, written, extend, zero)
    }
    fn abandon(&self, extent: &Extent) {
        self.0.abandon(extent);
    }
    fn touch(&self) {}
    fn set_size(&self, size: u64) -> Result<(), ToyError> {
        self.0.set_size(size)
    }
    fn punch(&self, pages: PageRange) -> Result<(), ToyError> {
        self.0.punch(pages)
    }
    fn make_unwritten(&self, pages: PageRange, size: Option<u64>) -> Result<(), ToyError> {
        self.0.make_unwritten(pages, size)
    }
    fn allocate(&self, pages: PageRange, size: Option<u64>) -> Result<(), ToyError> {
        self.0.allocate(pages, size)
    }
    fn collapse(&self, pages: PageRange) -> Result<(), ToyError> {
        self.0.collapse(pages)
    }
    fn insert(&self, pages: PageRange) -> Result<(), ToyError> {
        self.0.insert(pages)
    }
}

/// The smallest schedule that shows the bug.
pub fn find() -> Option<Replay> {
    // Files of this block map cannot share blocks.
    let scenarios = catalog::pairs(Flavour::Kernel).into_iter().filter(|one| !one.shares());
    let mut found = scenarios.map(|one| shrink::<OwnTables>(&one, SimBug::None, Limits::default()));
    found.find_map(|found| found)
}

/// Prints it.
pub fn main() {
    let found = find().expect("the bug is found");
    print!("{}", found.columns());
}
