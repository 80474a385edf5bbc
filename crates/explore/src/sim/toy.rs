//! A toy block map: lowest free block first, freed blocks are given out again at once. Files on
//! one medium can share blocks.

use core::ops::Range;
use std::sync::{Arc, Mutex};

use limpid_dax::Published;
use limpid_dax::{Backing, Extent, Intent, Iomap, PAGE_SHIFT, PAGE_SIZE, PageIndex, PageRange};
use limpid_pmem::MediaError;

use super::Subject;
use crate::runs::Runs;
use crate::world::{self, SimBug};

const FILE_PAGES: u32 = 4096;
const UNIT: u32 = 512;

/// Why the toy block map refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToyError {
    /// All blocks are taken.
    NoSpace,
    /// The medium failed.
    Media(MediaError),
}

impl From<MediaError> for ToyError {
    fn from(error: MediaError) -> Self {
        ToyError::Media(error)
    }
}

/// What lies behind a page. `shift` is device page less file page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Hole,
    Block { shift: i32, written: bool },
}

#[derive(Debug)]
struct File {
    size: u64,
    pages: Runs<Page>,
}

#[derive(Debug)]
struct State {
    files: Vec<File>,
    /// For each block, of how many pages it is, and whether it is reserved for one.
    used: Runs<u8>,
}

/// The block map of one file, on a medium that it may share with other files.
#[derive(Debug)]
pub struct ToyBlockMap {
    state: Arc<Mutex<State>>,
    file: usize,
}

fn range(pages: PageRange) -> Range<u32> {
    let end = pages.end.0.min(u64::from(FILE_PAGES)) as u32;
    (pages.start.0 as u32).min(end)..end
}

fn device(pages: &Range<u32>, shift: i32) -> Range<u32> {
    (pages.start as i32 + shift) as u32..(pages.end as i32 + shift) as u32
}

fn extent(pages: Range<u32>, page: Page, shared: bool) -> Extent {
    let (device, backing) = match page {
        Page::Hole => (0, Backing::Hole),
        Page::Block { shift, written } => {
            let backing = match (written, shared) {
                (false, _) => Backing::Unwritten,
                (true, false) => Backing::Mapped,
                (true, true) => Backing::Shared,
            };
            (u64::from(device(&pages, shift).start) << PAGE_SHIFT, backing)
        }
    };
    Extent { pages: PageRange::new(pages.start.into(), pages.end.into()), device, backing }
}

fn fresh(pages: Range<u32>, first: u32, backing: Backing) -> Extent {
    let device = u64::from(first) << PAGE_SHIFT;
    Extent { pages: PageRange::new(pages.start.into(), pages.end.into()), device, backing }
}

fn first_device_page(extent: &Extent) -> u32 {
    (extent.device >> PAGE_SHIFT) as u32
}

impl State {
    /// The first run of pages of `pages` that are alike and equally shared.
    fn first(&self, file: usize, pages: Range<u32>) -> (Range<u32>, Page, bool) {
        let (run, page) = self.files[file].pages.within(pages).next().expect("it is not empty");
        let Page::Block { shift, .. } = page else {
            return (run, page, false);
        };
        let mut counts = self.used.within(device(&run, shift));
        let (first, count) = counts.next().expect("it is not empty");
        let shared = count > 1;
        let same = counts.take_while(|(_, count)| (*count > 1) == shared);
        let end = same.last().map_or(first.end, |(last, _)| last.end);
        (run.start..(end as i32 - shift) as u32, page, shared)
    }

    /// The runs of `pages` that are alike and equally shared.
    fn runs(&self, file: usize, pages: Range<u32>) -> Vec<(Range<u32>, Page, bool)> {
        let mut runs = Vec::new();
        let mut at = pages.start;
        while at < pages.end {
            let run = self.first(file, at..pages.end);
            at = run.0.end;
            runs.push(run);
        }
        runs
    }

    /// Takes up to as many blocks as are wanted, an aligned unit of them where whole units are.
    fn take(&mut self, wanted: &Range<u32>) -> Result<(u32, u32), ToyError> {
        let need = wanted.len() as u32;
        if wanted.start.is_multiple_of(UNIT) && need >= UNIT {
            let free = self.used.iter().filter(|run| run.1 == 0).find_map(|(run, _)| {
                let start = run.start.next_multiple_of(UNIT);
                (start + UNIT <= run.end).then_some(start)
            });
            if let Some(start) = free {
                self.used.fill(start..start + UNIT, 1);
                return Ok((start, UNIT));
            }
        }
        let (run, _) = self.used.iter().find(|run| run.1 == 0).ok_or(ToyError::NoSpace)?;
        let count = need.min(run.len() as u32);
        self.used.fill(run.start..run.start + count, 1);
        Ok((run.start, count))
    }

    /// Counts each block of `blocks` as one page's more, or less.
    fn count(&mut self, blocks: Range<u32>, by: i8) {
        let counts: Vec<_> = self.used.within(blocks).collect();
        for (run, count) in counts {
            self.used.fill(run, count.checked_add_signed(by).expect("a count is never negative"));
        }
    }

    fn free(&mut self, file: usize, pages: Range<u32>) {
        let blocks: Vec<_> = self.files[file].pages.within(pages.clone()).collect();
        for (run, page) in blocks {
            if let Page::Block { shift, .. } = page {
                self.count(device(&run, shift), -1);
            }
        }
        self.files[file].pages.fill(pages, Page::Hole);
    }

    fn allocate(&mut self, file: usize, pages: Range<u32>) -> Result<(), ToyError> {
        let mut at = pages.start;
        while at < pages.end {
            let (run, page) =
                self.files[file].pages.within(at..pages.end).next().expect("not empty");
            at = run.end;
            if page == Page::Hole {
                let (first, count) = self.take(&run)?;
                let shift = first as i32 - run.start as i32;
                at = run.start + count;
                self.files[file].pages.fill(run.start..at, Page::Block { shift, written: false });
            }
        }
        Ok(())
    }

    /// Moves the pages from `from` on to `to`; nothing lies in between.
    fn moved(&mut self, file: usize, from: u32, to: u32) {
        let by = to as i32 - from as i32;
        let stop = FILE_PAGES - to.saturating_sub(from);
        let pages = &mut self.files[file].pages;
        let old: Vec<_> = pages.within(from..stop).collect();
        pages.fill(from.min(to)..FILE_PAGES, Page::Hole);
        for (run, page) in old {
            if let Page::Block { shift, written } = page {
                pages.fill(device(&run, by), Page::Block { shift: shift - by, written });
            }
        }
    }

    /// The pages of an extent in runs, each with whether it is lost: no longer what it was when the
    /// extent was handed out.
    fn pieces(&self, file: usize, extent: &Extent, bug: SimBug) -> Vec<(Range<u32>, bool)> {
        let first = extent.pages.start.0 as i32;
        let shift = first_device_page(extent) as i32 - first;
        let wanted = match extent.backing {
            Backing::New => (Page::Hole, false),
            Backing::Copy { from } => {
                let from = (from >> PAGE_SHIFT) as i32 - first;
                (Page::Block { shift: from, written: true }, true)
            }
            _ => (Page::Block { shift, written: false }, false),
        };
        let runs = self.runs(file, range(extent.pages)).into_iter();
        let runs = runs.map(|(run, page, shared)| {
            let unshared = shared != wanted.1 && bug != SimBug::CopyThoughUnshared;
            let lost = page != wanted.0 || unshared;
            (run, lost && bug != SimBug::PublishUnconditional)
        });
        runs.collect()
    }

    /// Zeroes what was not written of the pages of an extent that are to be published.
    fn zero_edges(
        &self,
        file: usize,
        extent: &Extent,
        written: &Range<u64>,
        zero: &mut dyn FnMut(Range<u64>) -> Result<(), MediaError>,
        bug: SimBug,
    ) -> Result<(), MediaError> {
        if matches!(extent.backing, Backing::Copy { .. }) || bug == SimBug::PublishKeepsEdges {
            return Ok(());
        }
        for (run, _) in self.pieces(file, extent, bug).into_iter().filter(|piece| !piece.1) {
            let bytes = PageRange::new(run.start.into(), run.end.into()).bytes();
            let head = bytes.start..written.start.clamp(bytes.start, bytes.end);
            let tail = written.end.clamp(head.end, bytes.end)..bytes.end;
            for part in [head, tail].into_iter().filter(|part| !part.is_empty()) {
                zero(extent.device_at(part.start)..extent.device_at(part.end))?;
            }
        }
        Ok(())
    }

    /// Publishes the pages of one extent that are not lost; false if any are.
    fn publish(&mut self, file: usize, extent: &Extent, bug: SimBug) -> bool {
        let shift = first_device_page(extent) as i32 - extent.pages.start.0 as i32;
        let mut all = true;
        for (run, lost) in self.pieces(file, extent, bug) {
            if lost {
                all = false;
                if extent.backing.is_fresh() {
                    self.count(device(&run, shift), -1);
                }
                continue;
            }
            if extent.backing.is_fresh() {
                self.free(file, run.clone());
            }
            self.files[file].pages.fill(run, Page::Block { shift, written: true });
        }
        all
    }

    /// Gives the blocks of a fresh extent back.
    fn abandon(&mut self, extent: &Extent) {
        let first = first_device_page(extent);
        self.used.fill(first..first + extent.pages.len() as u32, 0);
    }
}

impl ToyBlockMap {
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.state.try_lock().expect("no step is made inside the block map"))
    }

    fn file<R>(&self, work: impl FnOnce(&mut File) -> R) -> R {
        self.with(|state| work(&mut state.files[self.file]))
    }
}

fn empty_file() -> File {
    File { size: 0, pages: Runs::new(FILE_PAGES, Page::Hole) }
}

impl Subject for ToyBlockMap {
    fn create(medium_len: u64) -> Self {
        let used = Runs::new((medium_len >> PAGE_SHIFT) as u32, 0);
        let state = State { files: vec![empty_file()], used };
        ToyBlockMap { state: Arc::new(Mutex::new(state)), file: 0 }
    }

    fn another(&self) -> Option<Self> {
        let file = self.with(|state| {
            state.files.push(empty_file());
            state.files.len() - 1
        });
        Some(ToyBlockMap { state: self.state.clone(), file })
    }

    fn free_pages(&self) -> Option<u64> {
        let free = |state: &mut State| {
            let runs = state.used.iter().filter(|run| run.1 == 0);
            runs.map(|(run, _)| run.len() as u64).sum()
        };
        Some(self.with(free))
    }

    fn extents(&self) -> Vec<Extent> {
        self.with(|state| {
            let runs = state.runs(self.file, 0..FILE_PAGES).into_iter();
            let blocks = runs.filter(|run| run.1 != Page::Hole);
            blocks.map(|(run, page, shared)| extent(run, page, shared)).collect()
        })
    }

    fn share(
        &self,
        pages: PageRange,
        into: &Self,
        at: PageIndex,
        size: Option<u64>,
    ) -> Option<Result<(), ToyError>> {
        assert!(Arc::ptr_eq(&self.state, &into.state), "both files are on one medium");
        self.with(|state| {
            let pages = range(pages);
            let by = at.0 as i32 - pages.start as i32;
            let runs: Vec<_> = state.files[self.file].pages.within(pages.clone()).collect();
            state.free(into.file, device(&pages, by));
            for (run, page) in runs {
                if let Page::Block { shift, written: true } = page {
                    state.count(device(&run, shift), 1);
                    let block = Page::Block { shift: shift - by, written: true };
                    state.files[into.file].pages.fill(device(&run, by), block);
                }
            }
            let file = &mut state.files[into.file];
            file.size = file.size.max(size.unwrap_or(0));
        });
        Some(Ok(()))
    }
}

impl Iomap for ToyBlockMap {
    type Error = ToyError;

    fn size(&self) -> u64 {
        self.file(|file| file.size)
    }

    fn begin(&self, pages: PageRange, intent: Intent) -> Result<Extent, ToyError> {
        self.with(|state| {
            let (run, page, shared) = state.first(self.file, range(pages));
            let known = extent(run.clone(), page, shared);
            let backing = match known.backing {
                Backing::Hole => Backing::New,
                Backing::Shared => Backing::Copy { from: known.device },
                _ => return Ok(known),
            };
            if intent == Intent::Read {
                return Ok(known);
            }
            let (first, count) = state.take(&run)?;
            Ok(fresh(run.start..run.start + count, first, backing))
        })
    }

    fn publish(
        &self,
        extents: &[Extent],
        written: Range<u64>,
        extend: bool,
        zero: &mut dyn FnMut(Range<u64>) -> Result<(), MediaError>,
    ) -> Result<Published, ToyError> {
        let bug = world::with(|world| world.bug);
        self.with(|state| {
            let extents = extents.iter().filter(|extent| extent.backing != Backing::Mapped);
            // What can fail comes first, so that all is published or nothing is.
            for one in extents.clone() {
                if let Err(error) = state.zero_edges(self.file, one, &written, zero, bug) {
                    let fresh = extents.filter(|extent| extent.backing.is_fresh());
                    fresh.for_each(|extent| state.abandon(extent));
                    return Err(error.into());
                }
            }
            let mut all = true;
            let most = if bug == SimBug::PublishThree { 3 } else { usize::MAX };
            for one in extents.take(most) {
                all &= state.publish(self.file, one, bug);
            }
            let file = &mut state.files[self.file];
            if extend && all {
                file.size = file.size.max(written.end);
            }
            Ok(if all { Published::All } else { Published::Some })
        })
    }

    fn abandon(&self, extent: &Extent) {
        self.with(|state| state.abandon(extent));
    }

    fn touch(&self) {}

    fn set_size(&self, size: u64) -> Result<(), ToyError> {
        self.with(|state| {
            if size <= state.files[self.file].size {
                let gone = range(PageRange::from(PageIndex(size.div_ceil(PAGE_SIZE))));
                state.free(self.file, gone);
            }
            state.files[self.file].size = size;
        });
        Ok(())
    }

    fn punch(&self, pages: PageRange) -> Result<(), ToyError> {
        self.with(|state| state.free(self.file, range(pages)));
        Ok(())
    }

    fn make_unwritten(&self, pages: PageRange, size: Option<u64>) -> Result<(), ToyError> {
        self.with(|state| {
            for (run, _, shared) in state.runs(self.file, range(pages)) {
                if shared {
                    state.free(self.file, run);
                }
            }
            state.allocate(self.file, range(pages))?;
            let file = &mut state.files[self.file];
            let blocks: Vec<_> = file.pages.within(range(pages)).collect();
            for (run, page) in blocks {
                if let Page::Block { shift, .. } = page {
                    file.pages.fill(run, Page::Block { shift, written: false });
                }
            }
            file.size = file.size.max(size.unwrap_or(0));
            Ok(())
        })
    }

    fn allocate(&self, pages: PageRange, size: Option<u64>) -> Result<(), ToyError> {
        self.with(|state| {
            state.allocate(self.file, range(pages))?;
            let file = &mut state.files[self.file];
            file.size = file.size.max(size.unwrap_or(0));
            Ok(())
        })
    }

    fn collapse(&self, pages: PageRange) -> Result<(), ToyError> {
        self.with(|state| {
            let pages = range(pages);
            state.free(self.file, pages.clone());
            state.moved(self.file, pages.end, pages.start);
            state.files[self.file].size -= (pages.len() as u64) << PAGE_SHIFT;
        });
        Ok(())
    }

    fn insert(&self, pages: PageRange) -> Result<(), ToyError> {
        self.with(|state| {
            let pages = range(pages);
            state.moved(self.file, pages.start, pages.end);
            state.files[self.file].size += (pages.len() as u64) << PAGE_SHIFT;
        });
        Ok(())
    }
}
