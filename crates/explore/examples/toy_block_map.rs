//! How to try a block map of your own: implement `Iomap` and `Subject`, and search.
//!
//! The block map here has a bug: it publishes without looking whether somebody else has given the
//! page a block meanwhile (bug A1 of Linux's history). It is found at once, and shown.
//!
//! `cargo run --release -p limpid-explore --example toy_block_map`

use core::ops::Range;

use limpid_dax::{Backing, Extent, Intent, Iomap, PageRange, Published};
use limpid_explore::{Limits, Replay, SimBug, Subject, ToyBlockMap, ToyError, catalog, shrink};
use limpid_pmem::MediaError;

/// A block map that forgets the condition of `publish`.
struct Careless(ToyBlockMap);

impl Subject for Careless {
    fn create(medium_len: u64) -> Self {
        Careless(ToyBlockMap::create(medium_len))
    }

    fn extents(&self) -> Vec<Extent> {
        self.0.extents()
    }
}

impl Iomap for Careless {
    type Error = ToyError;

    fn publish(
        &self,
        extents: &[Extent],
        written: Range<u64>,
        extend: bool,
        zero: &mut dyn FnMut(Range<u64>) -> Result<(), MediaError>,
    ) -> Result<Published, ToyError> {
        for fresh in extents.iter().filter(|extent| extent.backing == Backing::New) {
            self.0.punch(fresh.pages)?;
        }
        self.0.publish(extents, written, extend, zero)
    }

    fn size(&self) -> u64 {
        self.0.size()
    }
    fn begin(&self, pages: PageRange, intent: Intent) -> Result<Extent, ToyError> {
        self.0.begin(pages, intent)
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
    let scenarios = catalog::all().into_iter().filter(|scenario| !scenario.shares());
    let mut found = scenarios.map(|one| shrink::<Careless>(&one, SimBug::None, Limits::default()));
    found.find_map(|found| found)
}

/// Prints it.
pub fn main() {
    let found = find().expect("the bug is found");
    print!("{}", found.columns());
}
