//! Any block map under the scheduler: each call a step, and a look at what it did.

use core::ops::Range;
use std::hash::{Hash, Hasher};

use limpid_dax::{Backing, Extent, Intent, Iomap, PAGE_SHIFT, PageRange, Published};
use limpid_pmem::MediaError;
use rustc_hash::FxHasher;

use super::Owner;
use crate::world::{self, Pending, World};

/// A block map that can be explored. Its own locks must be let go inside each method, and never
/// be waited for by a thread that holds another.
pub trait Subject: Iomap + Sized + 'static {
    /// An empty file of size 0 on an empty medium of this many bytes.
    fn create(medium_len: u64) -> Self;

    /// All extents of the file that have blocks (`Unwritten` or `Mapped`), in file order.
    fn extents(&self) -> Vec<Extent>;
}

/// A block map, each call of which is a step.
#[derive(Debug)]
pub struct Stepped<B> {
    inner: B,
}

impl<B: Subject> Stepped<B> {
    pub(crate) fn new(inner: B) -> Self {
        let stepped = Stepped { inner };
        stepped.look(&[]);
        stepped
    }

    /// The block map itself.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Takes note of what belongs to the file now. `released`: reserved blocks that are no longer.
    fn look(&self, released: &[Extent]) {
        let extents = self.inner.extents();
        let size = self.inner.size();
        world::with(|world| {
            let before = world.own.of(Owner::File);
            for pages in &before {
                world.own.set(pages.clone(), Owner::Free);
            }
            for extent in released.iter().filter(|extent| extent.backing == Backing::New) {
                world.own.set(device_pages(extent), Owner::Free);
            }
            for extent in &extents {
                world.own.set(device_pages(extent), Owner::File);
            }
            for extent in released.iter().filter(|extent| extent.backing == Backing::New) {
                freed(world, device_pages(extent));
            }
            for pages in before {
                freed(world, pages);
            }
            let mut hasher = FxHasher::default();
            size.hash(&mut hasher);
            for extent in &extents {
                (extent.pages, extent.device, extent.backing).hash(&mut hasher);
            }
            world.map_hash = hasher.finish();
            world.extents = extents;
            world.size = size;
        });
    }

    /// A step, then the call with nobody in between, then a look.
    fn call<R>(&self, label: impl FnOnce() -> String, work: impl FnOnce(&B) -> R) -> R {
        world::step(Pending::Step, label);
        world::with(|world| world.depth += 1);
        let result = work(&self.inner);
        world::with(|world| world.depth -= 1);
        result
    }

    fn mutate<R>(&self, label: impl FnOnce() -> String, work: impl FnOnce(&B) -> R) -> R {
        let result = self.call(label, work);
        self.look(&[]);
        world::with(|world| world.observe(world.map_hash));
        result
    }
}

fn device_pages(extent: &Extent) -> Range<u32> {
    let first = (extent.device >> PAGE_SHIFT) as u32;
    first..first + extent.pages.len() as u32
}

/// The free ones of `pages` were given back just now: no map and no pin may refer to them (I6).
fn freed(world: &mut World, pages: Range<u32>) {
    for free in world.own.of(Owner::Free) {
        let run = free.start.max(pages.start)..free.end.min(pages.end);
        if run.is_empty() {
            continue;
        }
        let shown = world.tables.iter().position(|tables| tables.shows_device(&run));
        if let Some(map) = shown {
            let map = (b'p' + map as u8) as char;
            world.fail("I6", format!("blocks {run:?} freed while map {map} shows them"));
        }
        let bytes = u64::from(run.start)..u64::from(run.end);
        let device = PageRange::new(bytes.start, bytes.end);
        let pins = world.actors.iter().flat_map(|actor| &actor.pinned);
        if pins.into_iter().any(|pin| !pin.intersect(device).is_empty()) {
            world.fail("C6", format!("blocks {run:?} freed while pinned"));
        }
        world.medium.give_away(run.start * 2..run.end * 2);
    }
}

impl<B: Subject> Iomap for Stepped<B> {
    type Error = B::Error;

    fn size(&self) -> u64 {
        // No step where no operation of the scenario changes the size: all commute with this.
        if world::with(|world| world.sizes_change) {
            world::step(Pending::Step, || "size".into());
        }
        let size = self.inner.size();
        world::with(|world| world.observe(size));
        size
    }

    fn begin(&self, pages: PageRange, intent: Intent) -> Result<Extent, Self::Error> {
        let label = || format!("look up {pages:?} to {intent:?}");
        let extent = self.call(label, |inner| inner.begin(pages, intent));
        world::with(|world| match &extent {
            Ok(extent) => {
                if extent.backing == Backing::New {
                    world.own.set(device_pages(extent), Owner::Reserved);
                }
                world.observe((extent.pages, extent.device, extent.backing));
            }
            Err(_) => world.observe(u64::MAX),
        });
        world::note(|| match &extent {
            Ok(extent) => format!("{:?} {:?}", extent.backing, extent.pages),
            Err(error) => format!("{error:?}"),
        });
        extent
    }

    fn publish(
        &self,
        extents: &[Extent],
        written: Range<u64>,
        extend: bool,
        zero: &mut dyn FnMut(Range<u64>) -> Result<(), MediaError>,
    ) -> Result<Published, Self::Error> {
        let label = || format!("publish bytes {:x?}", written);
        let result =
            self.call(label, |inner| inner.publish(extents, written.clone(), extend, zero));
        limpid_pmem::Media::fence(&super::SimMedia);
        self.look(extents);
        world::with(|world| {
            world.observe(match &result {
                Ok(Published::All) => 0,
                Ok(Published::Some) => 1,
                Err(_) => 2u8,
            });
            world.observe(world.map_hash);
        });
        world::note(|| format!("{result:?}"));
        result
    }

    fn abandon(&self, extent: &Extent) {
        self.inner.abandon(extent);
        self.look(core::slice::from_ref(extent));
    }

    fn touch(&self) {
        self.inner.touch();
    }

    fn set_size(&self, size: u64) -> Result<(), Self::Error> {
        self.mutate(|| format!("set size {size:#x}"), |inner| inner.set_size(size))
    }

    fn punch(&self, pages: PageRange) -> Result<(), Self::Error> {
        self.mutate(|| format!("free {pages:?}"), |inner| inner.punch(pages))
    }

    fn make_unwritten(&self, pages: PageRange, size: Option<u64>) -> Result<(), Self::Error> {
        let label = || format!("make {pages:?} unwritten");
        self.mutate(label, |inner| inner.make_unwritten(pages, size))
    }

    fn allocate(&self, pages: PageRange, size: Option<u64>) -> Result<(), Self::Error> {
        self.mutate(|| format!("allocate {pages:?}"), |inner| inner.allocate(pages, size))
    }

    fn collapse(&self, pages: PageRange) -> Result<(), Self::Error> {
        self.mutate(|| format!("collapse {pages:?}"), |inner| inner.collapse(pages))
    }

    fn insert(&self, pages: PageRange) -> Result<(), Self::Error> {
        self.mutate(|| format!("insert {pages:?}"), |inner| inner.insert(pages))
    }
}
