//! The block map as the DAX layer asks for it.

use std::ops::Range;

use limpid_dax::{Backing, Extent, Intent, Iomap, MAX_FILE_SIZE, PageIndex, PageRange, Published};
use limpid_pmem::MediaError;

use crate::alloc::{Purpose, Want};
use crate::error::{FsError, Result};
use crate::extent::Run;
use crate::inode::Inode;
use crate::layout::{BLOCK, MAX_PAGES, UNIT, clamp};
use crate::map;
use crate::pieces::Pieces;

/// From this page on a file that grows by appends gets units of its own.
pub(crate) const LARGE_PAGES: u64 = 16;

impl Iomap for Inode {
    type Error = FsError;

    fn size(&self) -> u64 {
        Inode::size(self)
    }

    fn begin(&self, pages: PageRange, intent: Intent) -> Result<Extent> {
        let (start, end) = (pages.start.0, pages.end.0);
        if let Some(run) = self.hot.get(start) {
            return Ok(extent(run.clip(start, end), Backing::Mapped));
        }
        let map = self.map()?;
        let next = match map::find(&map, start) {
            Ok(run) => {
                if !run.unwritten {
                    self.hot.set(run);
                }
                let run = run.clip(start, end);
                let backing = if run.unwritten { Backing::Unwritten } else { Backing::Mapped };
                return Ok(extent(run, backing));
            }
            Err(next) => next.min(end),
        };
        if intent == Intent::Read {
            let pages = PageRange::new(start, next);
            return Ok(Extent { pages, device: 0, backing: Backing::Hole });
        }
        self.core.writable()?;
        if start >= MAX_PAGES {
            return Err(FsError::TooLarge);
        }
        let before = map.range(..start).next_back().map(|(_, run)| *run);
        let hole = Hole {
            page: start,
            len: next.min(MAX_PAGES) - start,
            goal: before.filter(|run| run.end() == start).map(|run| run.block + run.len),
            last: map.range(start..).next().is_none(),
        };
        let (block, len) = self.place(hole)?;
        Ok(extent(Run { page: start, len, block, unwritten: false }, Backing::New))
    }

    fn publish(
        &self,
        extents: &[Extent],
        written: Range<u64>,
        extend: bool,
        zero: &mut dyn FnMut(Range<u64>) -> core::result::Result<(), MediaError>,
    ) -> Result<Published> {
        let mut pieces = Pieces::new(self);
        let state = self.core.writable().and_then(|()| self.write_mapped());
        let mut state = match state {
            Ok(state) => state,
            Err(error) => {
                extents.iter().for_each(|extent| self.abandon(extent));
                return Err(error);
            }
        };
        let lost = pieces.collect(state.map.as_ref().expect("it is loaded"), extents);
        if lost {
            // The size stays, so pages past it have to wait for the caller's next attempt.
            pieces.give_up_from(state.meta.size.div_ceil(BLOCK));
        }
        for run in pieces.runs() {
            zero_rest(run, &written, zero)?;
        }
        let size = (extend && !lost).then_some(written.end.min(MAX_FILE_SIZE));
        pieces.commit(&mut state, size, true)?;
        Ok(if lost { Published::Some } else { Published::All })
    }

    fn abandon(&self, extent: &Extent) {
        if extent.backing == Backing::New && !extent.pages.is_empty() {
            self.core.space.release(extent.device / BLOCK, extent.pages.len());
        }
    }

    fn touch(&self) {
        self.touch_modified();
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.resize(size)
    }

    fn punch(&self, pages: PageRange) -> Result<()> {
        self.free_pages(clamp(pages))
    }

    fn make_unwritten(&self, pages: PageRange, size: Option<u64>) -> Result<()> {
        self.fill(pages, size, true)
    }

    fn allocate(&self, pages: PageRange, size: Option<u64>) -> Result<()> {
        self.fill(pages, size, false)
    }

    fn collapse(&self, pages: PageRange) -> Result<()> {
        self.remove_pages(clamp(pages))
    }

    fn insert(&self, pages: PageRange) -> Result<()> {
        self.insert_pages(pages)
    }
}

/// Pages that want blocks.
#[derive(Clone, Copy)]
pub(crate) struct Hole {
    pub page: u64,
    pub len: u64,
    /// The block that would continue the page before.
    pub goal: Option<u64>,
    /// No page after it has a block.
    pub last: bool,
}

impl Inode {
    /// Reserves blocks for the beginning of a hole: the first block and how many.
    pub(crate) fn place(&self, hole: Hole) -> Result<(u64, u64)> {
        let Hole { page, len, goal, last } = hole;
        let space = &self.core.space;
        let media = &*self.core.media;
        if let Some(run) = space.soft.take(self.ino().0, page, len) {
            return Ok(run);
        }
        let unit = page / UNIT * UNIT;
        if page == unit && len >= UNIT {
            let want = Want::Units(len / UNIT);
            if let Some(run) = space.reserve(media, want, goal, Purpose::Grow) {
                return Ok(run);
            }
        }
        let crosses = page + len > unit + UNIT;
        let appends = page >= LARGE_PAGES && goal.is_some() && last;
        // A unit that holds the page before already is not left for a new one.
        let follows = goal.is_some_and(|goal| page % UNIT != 0 && goal % UNIT == page % UNIT);
        if (crosses || appends) && !follows {
            let best = goal.and_then(|goal| goal.checked_sub(page - unit));
            if let Some((block, _)) = space.reserve(media, Want::Units(1), best, Purpose::Grow) {
                space.soft.hold(space, self.ino().0, unit, block);
                if let Some(run) = space.soft.take(self.ino().0, page, len) {
                    return Ok(run);
                }
            }
        }
        let len = len.min(UNIT - page % UNIT);
        space.reserve(media, Want::Blocks(len), goal, Purpose::Grow).ok_or(FsError::NoSpace)
    }
}

/// An extent of the DAX layer.
pub(crate) fn extent(run: Run, backing: Backing) -> Extent {
    let pages = PageRange { start: PageIndex(run.page), end: PageIndex(run.end()) };
    Extent { pages, device: run.block * BLOCK, backing }
}

/// Zeroes the parts of a run that were not written.
fn zero_rest(
    run: &Run,
    written: &Range<u64>,
    zero: &mut dyn FnMut(Range<u64>) -> core::result::Result<(), MediaError>,
) -> Result<()> {
    let (start, end) = (run.page * BLOCK, run.end() * BLOCK);
    let device = |offset: u64| run.block * BLOCK + (offset - start);
    let first = written.start.clamp(start, end);
    let last = written.end.clamp(first, end);
    if first == last {
        return Ok(zero(device(start)..device(end))?);
    }
    if start < first {
        zero(device(start)..device(first))?;
    }
    if last < end {
        zero(device(last)..device(end))?;
    }
    Ok(())
}
