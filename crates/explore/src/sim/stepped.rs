//! Any block map under the scheduler: each call a step, and a look at what it did.

use core::ops::Range;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use limpid_dax::{Extent, Intent, Iomap, Mmu, PAGE_SHIFT, PageIndex, PageRange, Published, Share};
use limpid_pmem::MediaError;
use rustc_hash::FxHasher;

use super::{Owner, SimMmu};
use crate::panics::{call, call_or};
use crate::scenario::Call;
use crate::world::{self, Alone, SimBug, World};

/// What is explored under the DAX layer: a block map, and page tables if these are not the
/// simulated ones. Its own locks must be let go inside each method, and never be waited for by a
/// thread that holds another.
pub trait Subject: Iomap + Sized + 'static {
    /// An empty file of size 0 on an empty medium of this many bytes.
    fn create(medium_len: u64) -> Self;

    /// Pages of the medium that belong to no file, and to nobody who got them fresh and has not
    /// published them: at the end of each execution these and the files' are all. `None` if that
    /// cannot be told.
    fn free_pages(&self) -> Option<u64> {
        None
    }

    /// All extents of the file that have blocks (`Unwritten`, `Mapped` or `Shared`), in file order.
    fn extents(&self) -> Vec<Extent>;

    /// The page tables of one map, over simulated hardware: whoever brings page tables of his own
    /// drives the hardware from them, by its [`Mmu`] methods, each of which is a step. What the
    /// hardware shows is what loads and stores meet, and what is checked. State that several
    /// threads reach belongs in `<SimSeam as Seam>::Mutex`, so that the scheduler knows of it.
    fn page_tables(hardware: SimMmu) -> Arc<dyn Mmu> {
        Arc::new(hardware)
    }

    /// Another empty file of size 0 on the same medium. `None` if there can be none; scenarios of
    /// two files ([`Scenario::shares`](crate::Scenario::shares)) are of no use then.
    fn another(&self) -> Option<Self> {
        None
    }

    /// As [`Share::share`], which has the rules. `None` if files cannot share blocks.
    fn share(
        &self,
        _pages: PageRange,
        _into: &Self,
        _at: PageIndex,
        _size: Option<u64>,
    ) -> Option<Result<(), Self::Error>> {
        None
    }
}

/// The block map of one file, each call of which is a step.
#[derive(Debug)]
pub struct Stepped<B> {
    files: Arc<Vec<B>>,
    file: usize,
}

impl<B: Subject> Stepped<B> {
    /// The block maps of so many files on one medium.
    pub(crate) fn make(medium_len: u64, count: usize) -> Vec<Self> {
        let first = B::create(medium_len);
        let others: Option<Vec<_>> = (1..count).map(|_| first.another()).collect();
        let mut files = vec![first];
        match others {
            Some(others) => files.extend(others),
            None => world::with(|world| {
                world.fail("scenario", "the block map has one file only".into());
            }),
        }
        let files = Arc::new(files);
        let stepped = |file| Stepped { files: files.clone(), file };
        let all: Vec<_> = (0..files.len()).map(stepped).collect();
        all[0].look(&[]);
        all
    }

    /// The block map itself.
    pub fn inner(&self) -> &B {
        &self.files[self.file]
    }

    /// Takes note of what belongs to the files now. `released`: reserved blocks that are no longer.
    fn look(&self, released: &[Extent]) {
        let files = self.files.iter().map(|file| (file.extents(), file.size()));
        let files: Vec<_> = files.collect();
        world::with(|world| {
            let before = world.own.of(Owner::File);
            for pages in &before {
                world.own.set(pages.clone(), Owner::Free);
            }
            for extent in released.iter().filter(|extent| extent.backing.is_fresh()) {
                world.own.set(device_pages(extent), Owner::Free);
            }
            for extent in files.iter().flat_map(|file| &file.0) {
                world.own.set(device_pages(extent), Owner::File);
            }
            for extent in released.iter().filter(|extent| extent.backing.is_fresh()) {
                freed(world, device_pages(extent));
            }
            for pages in before {
                freed(world, pages);
            }
            let mut hasher = FxHasher::default();
            for (file, (extents, size)) in files.into_iter().enumerate() {
                size.hash(&mut hasher);
                for extent in &extents {
                    (extent.pages, extent.device, extent.backing).hash(&mut hasher);
                }
                world.files[file].extents = extents;
                world.files[file].size = size;
            }
            world.map_hash = hasher.finish();
        });
    }

    /// The call, with nobody in between.
    fn alone<R>(&self, work: impl FnOnce(&B) -> R) -> R {
        let _alone = Alone::new();
        work(self.inner())
    }

    /// The time of the last change moves, if `done`: a commit takes it along.
    fn moves_time(&self, done: bool) {
        if done {
            world::with(|world| world.touch(self.file));
        }
    }

    fn mutate<R>(
        &self,
        label: impl FnOnce() -> String,
        work: impl FnOnce(&B) -> Result<R, B::Error>,
    ) -> Result<R, B::Error> {
        let called = call(label);
        let result = self.alone(|inner| match failure(Call::Change) {
            Some(error) => Err(error.into()),
            None => work(inner),
        });
        self.look(&[]);
        world::with(|world| world.observe(world.map_hash));
        self.moves_time(result.is_ok());
        called.done();
        result
    }
}

/// The error of a call that is to fail.
fn failure(call: Call) -> Option<MediaError> {
    let fails = world::with(|world| world.fails_now(call));
    fails.then_some(MediaError::Io { at: 0 })
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
            call(|| "size".into()).done();
        }
        let mut size = self.inner().size();
        world::with(|world| {
            let actor = world.running.filter(|_| world.bug == SimBug::SizeOfBegin);
            size = actor.and_then(|actor| world.actors[actor].size).unwrap_or(size);
            world.observe(size);
        });
        size
    }

    fn begin(&self, pages: PageRange, intent: Intent) -> Result<Extent, Self::Error> {
        // It changes nothing, but for blocks taken, which nobody but it knows of yet: a panic
        // comes before.
        call(|| format!("look up {pages:?} to {intent:?}")).done();
        let extent = self.alone(|inner| match failure(Call::Begin) {
            Some(error) => Err(error.into()),
            None => inner.begin(pages, intent),
        });
        world::with(|world| match &extent {
            Ok(extent) => {
                if extent.backing.is_fresh() {
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
        let give_back = || {
            let fresh = extents.iter().filter(|extent| extent.backing.is_fresh());
            fresh.for_each(|extent| self.inner().abandon(extent));
            self.look(extents);
        };
        let called = call_or(|| format!("publish bytes {:x?}", written), give_back);
        let result = self.alone(|inner| match failure(Call::Publish) {
            Some(error) => {
                let fresh = extents.iter().filter(|extent| extent.backing.is_fresh());
                fresh.for_each(|extent| inner.abandon(extent));
                Err(error.into())
            }
            None => inner.publish(extents, written.clone(), extend, zero),
        });
        limpid_pmem::Media::fence(&super::SimMedia);
        self.look(extents);
        self.moves_time(result.is_ok());
        world::with(|world| {
            world.observe(match &result {
                Ok(Published::All) => 0,
                Ok(Published::Some) => 1,
                Err(_) => 2u8,
            });
            world.observe(world.map_hash);
        });
        world::note(|| format!("{result:?}"));
        called.done();
        result
    }

    fn abandon(&self, extent: &Extent) {
        if world::with(|world| world.bug == SimBug::AbandonForgets) {
            return;
        }
        self.inner().abandon(extent);
        self.look(core::slice::from_ref(extent));
    }

    fn touch(&self) {
        self.inner().touch();
        self.moves_time(world::with(|world| world.bug != SimBug::TouchForgets));
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

impl<B: Subject> Share for Stepped<B> {
    fn share(
        &self,
        pages: PageRange,
        into: &Self,
        at: PageIndex,
        size: Option<u64>,
    ) -> Result<(), Self::Error> {
        let label = || format!("share {pages:?} with {at:?} of file {}", into.file + 1);
        let shared = self.mutate(label, |inner| {
            inner.share(pages, into.inner(), at, size).unwrap_or_else(|| {
                let why = "the block map shares no blocks".into();
                world::with(|world| world.fail("scenario", why));
                Ok(())
            })
        });
        into.moves_time(shared.is_ok());
        shared
    }
}
