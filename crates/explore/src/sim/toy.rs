//! A toy block map: lowest free block first, freed blocks are given out again at once.

use core::ops::Range;
use std::sync::Mutex;

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
struct State {
    size: u64,
    pages: Runs<Page>,
    /// True for blocks in use.
    used: Runs<bool>,
}

/// The block map of one file on a medium of its own.
#[derive(Debug)]
pub struct ToyBlockMap {
    state: Mutex<State>,
}

impl Page {
    fn backing(self) -> Backing {
        match self {
            Page::Hole => Backing::Hole,
            Page::Block { written: true, .. } => Backing::Mapped,
            Page::Block { .. } => Backing::Unwritten,
        }
    }
}

fn range(pages: PageRange) -> Range<u32> {
    let end = pages.end.0.min(u64::from(FILE_PAGES)) as u32;
    (pages.start.0 as u32).min(end)..end
}

fn extent(pages: Range<u32>, page: Page) -> Extent {
    let device = match page {
        Page::Hole => 0,
        Page::Block { shift, .. } => ((pages.start as i64 + i64::from(shift)) as u64) << PAGE_SHIFT,
    };
    let pages = PageRange::new(pages.start.into(), pages.end.into());
    Extent { pages, device, backing: page.backing() }
}

fn first_device_page(extent: &Extent) -> u32 {
    (extent.device >> PAGE_SHIFT) as u32
}

impl State {
    /// The run of like pages at the beginning of `pages`.
    fn first(&self, pages: PageRange) -> (Range<u32>, Page) {
        self.pages.within(range(pages)).next().expect("the range is not empty")
    }

    fn take(&mut self, wanted: Range<u32>, whole_units: bool) -> Result<(u32, u32), ToyError> {
        let need = wanted.len() as u32;
        if whole_units && wanted.start.is_multiple_of(UNIT) && need >= UNIT {
            let free = self.used.iter().filter(|run| !run.1).find_map(|(run, _)| {
                let start = run.start.next_multiple_of(UNIT);
                (start + UNIT <= run.end).then_some(start)
            });
            if let Some(start) = free {
                self.used.fill(start..start + UNIT, true);
                return Ok((start, UNIT));
            }
        }
        let (run, _) = self.used.iter().find(|run| !run.1).ok_or(ToyError::NoSpace)?;
        let count = need.min(run.len() as u32);
        self.used.fill(run.start..run.start + count, true);
        Ok((run.start, count))
    }

    fn free(&mut self, pages: Range<u32>) {
        let blocks: Vec<_> = self.pages.within(pages.clone()).collect();
        for (run, page) in blocks {
            if let Page::Block { shift, .. } = page {
                let first = (run.start as i32 + shift) as u32;
                self.used.fill(first..first + run.len() as u32, false);
            }
        }
        self.pages.fill(pages, Page::Hole);
    }

    fn allocate(&mut self, pages: Range<u32>) -> Result<(), ToyError> {
        let mut at = pages.start;
        while at < pages.end {
            let rest = PageRange::new(at.into(), pages.end.into());
            let (run, page) = self.first(rest);
            at = run.end;
            if page == Page::Hole {
                let (device, count) = self.take(run.clone(), true)?;
                let shift = device as i32 - run.start as i32;
                at = run.start + count;
                self.pages.fill(run.start..at, Page::Block { shift, written: false });
            }
        }
        Ok(())
    }

    fn moved(&mut self, from: u32, to: u32) {
        let old: Vec<_> = self.pages.within(from..FILE_PAGES).collect();
        let by = to as i32 - from as i32;
        self.pages.fill(from.min(to)..FILE_PAGES, Page::Hole);
        for (run, page) in old {
            if let Page::Block { shift, written } = page {
                let target = (run.start as i32 + by) as u32..(run.end as i32 + by) as u32;
                self.pages.fill(target, Page::Block { shift: shift - by, written });
            }
        }
    }
}

impl ToyBlockMap {
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.state.try_lock().expect("no step is made inside the block map"))
    }
}

impl Subject for ToyBlockMap {
    fn create(medium_len: u64) -> Self {
        let state = State {
            size: 0,
            pages: Runs::new(FILE_PAGES, Page::Hole),
            used: Runs::new((medium_len >> PAGE_SHIFT) as u32, false),
        };
        ToyBlockMap { state: Mutex::new(state) }
    }

    fn extents(&self) -> Vec<Extent> {
        self.with(|state| {
            let blocks = state.pages.iter().filter(|run| run.1 != Page::Hole);
            blocks.map(|(run, page)| extent(run, page)).collect()
        })
    }
}

impl Iomap for ToyBlockMap {
    type Error = ToyError;

    fn size(&self) -> u64 {
        self.with(|state| state.size)
    }

    fn begin(&self, pages: PageRange, intent: Intent) -> Result<Extent, ToyError> {
        self.with(|state| {
            let (run, page) = state.first(pages);
            if page != Page::Hole || intent == Intent::Read {
                return Ok(extent(run, page));
            }
            let (device, count) = state.take(run.clone(), true)?;
            let shift = device as i32 - run.start as i32;
            let block = Page::Block { shift, written: false };
            let fresh = extent(run.start..run.start + count, block);
            Ok(Extent { backing: Backing::New, ..fresh })
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
            let mut published = Published::All;
            for fresh in extents.iter().filter(|extent| extent.backing != Backing::Mapped) {
                let shift = first_device_page(fresh) as i32 - fresh.pages.start.0 as i32;
                let wanted = match fresh.backing {
                    Backing::New => Page::Hole,
                    _ => Page::Block { shift, written: false },
                };
                let runs: Vec<_> = state.pages.within(range(fresh.pages)).collect();
                for (run, page) in runs {
                    let blocks = extent(run.clone(), Page::Block { shift, written: true });
                    if page != wanted && bug != SimBug::PublishUnconditional {
                        published = Published::Some;
                        if fresh.backing == Backing::New {
                            let first = first_device_page(&blocks);
                            state.used.fill(first..first + run.len() as u32, false);
                        }
                        continue;
                    }
                    if page != wanted {
                        state.free(run.clone());
                    }
                    let bytes = blocks.pages.bytes();
                    let head = bytes.start..written.start.clamp(bytes.start, bytes.end);
                    let tail = written.end.clamp(head.end, bytes.end)..bytes.end;
                    for part in [head, tail] {
                        if !part.is_empty() && bug != SimBug::PublishKeepsEdges {
                            zero(blocks.device_at(part.start)..blocks.device_at(part.end))?;
                        }
                    }
                    state.pages.fill(run, Page::Block { shift, written: true });
                }
            }
            if extend && published == Published::All {
                state.size = state.size.max(written.end);
            }
            Ok(published)
        })
    }

    fn abandon(&self, extent: &Extent) {
        let first = first_device_page(extent);
        let count = extent.pages.len() as u32;
        self.with(|state| state.used.fill(first..first + count, false));
    }

    fn touch(&self) {}

    fn set_size(&self, size: u64) -> Result<(), ToyError> {
        self.with(|state| {
            if size < state.size {
                state.free(range(PageRange::from(PageIndex(size.div_ceil(PAGE_SIZE)))));
            }
            state.size = size;
        });
        Ok(())
    }

    fn punch(&self, pages: PageRange) -> Result<(), ToyError> {
        self.with(|state| state.free(range(pages)));
        Ok(())
    }

    fn make_unwritten(&self, pages: PageRange, size: Option<u64>) -> Result<(), ToyError> {
        self.with(|state| {
            state.allocate(range(pages))?;
            let blocks: Vec<_> = state.pages.within(range(pages)).collect();
            for (run, page) in blocks {
                if let Page::Block { shift, .. } = page {
                    state.pages.fill(run, Page::Block { shift, written: false });
                }
            }
            state.size = state.size.max(size.unwrap_or(0));
            Ok(())
        })
    }

    fn allocate(&self, pages: PageRange, size: Option<u64>) -> Result<(), ToyError> {
        self.with(|state| {
            state.allocate(range(pages))?;
            state.size = state.size.max(size.unwrap_or(0));
            Ok(())
        })
    }

    fn collapse(&self, pages: PageRange) -> Result<(), ToyError> {
        self.with(|state| {
            let pages = range(pages);
            state.free(pages.clone());
            state.moved(pages.end, pages.start);
            state.size -= (pages.len() as u64) << PAGE_SHIFT;
        });
        Ok(())
    }

    fn insert(&self, pages: PageRange) -> Result<(), ToyError> {
        self.with(|state| {
            let pages = range(pages);
            state.moved_up(pages.clone());
            state.size += (pages.len() as u64) << PAGE_SHIFT;
        });
        Ok(())
    }
}

impl State {
    /// Moves the pages from `gap.start` on up by the length of the gap.
    fn moved_up(&mut self, gap: Range<u32>) {
        let old: Vec<_> = self.pages.within(gap.start..FILE_PAGES - gap.len() as u32).collect();
        self.pages.fill(gap.start..FILE_PAGES, Page::Hole);
        for (run, page) in old {
            if let Page::Block { shift, written } = page {
                let by = gap.len() as u32;
                let block = Page::Block { shift: shift - by as i32, written };
                self.pages.fill(run.start + by..run.end + by, block);
            }
        }
    }
}
