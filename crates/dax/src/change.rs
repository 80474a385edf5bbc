//! Operations that take blocks away or move them: truncate, punch, zero, collapse, insert.
//!
//! All take lock 1, then lock 2 exclusive, which keeps faults out; unmap the range; wait for pins
//! (dropping lock 2 while asleep); delete the entries whatever their marks; and only then change
//! the block map. Freed blocks can be given out again at once, since no page table and no pin
//! refers to them any more (I6).

use alloc::vec::Vec;
use core::ops::Range;

use limpid_pmem::Media as _;

use crate::canary::{Step, left_out};
use crate::copy::Lock2;
use crate::cover::{Branch, cover};
use crate::entry::Entry;
use crate::error::DaxError;
use crate::fault::IomapError;
use crate::invalidate::{Changed, Dirty};
use crate::iomap::{Backing, Intent, Iomap};
use crate::mapping::{Config, Lock, Mapping};
use crate::seam::{Mutex as _, RwLock};
use crate::units::{MAX_FILE_SIZE, PAGE_SIZE, PageIndex, PageRange};
use crate::wait::{Key, Ticket};

pub(crate) type Outcome<C> = Result<(), DaxError<IomapError<C>>>;

/// Stores that no entry tells of any more: DIRTY entries were deleted unwritten, since their
/// blocks are about to be freed. If these stay in the file, since the operation fails or panics,
/// the stores are written back when this goes out of scope (C4, I4). Dropped with locks 1 and 2
/// exclusive: a writeback that finds no entry waits for lock 2.
#[must_use]
pub(crate) struct Forgotten<'a, C: Config> {
    mapping: &'a Mapping<C>,
    /// Where they lie on the medium, in bytes.
    stores: Vec<Range<u64>>,
}

impl<C: Config> Forgotten<'_, C> {
    pub fn add(&mut self, entry: Entry) {
        let device = entry.device().expect("a DIRTY entry has storage (I7)");
        let stores = device..device + entry.order().bytes();
        match self.stores.last_mut() {
            Some(last) if last.end == stores.start => last.end = stores.end,
            _ => self.stores.push(stores),
        }
    }

    /// The blocks are gone.
    pub fn done(mut self) {
        self.stores.clear();
    }
}

impl<C: Config> Drop for Forgotten<'_, C> {
    fn drop(&mut self) {
        if !self.stores.is_empty() && !left_out(Step::KeepStoresOnFailure) {
            cover(Branch::ChangeFails);
            self.stores.drain(..).for_each(|stores| self.mapping.media.flush(stores));
            self.mapping.media.fence();
        }
    }
}

/// A range whose blocks may be freed or moved: lock 2 is held exclusive; nobody maps or pins the
/// range, and it has no entries.
#[must_use]
struct Broken<'a, C: Config> {
    old_size: u64,
    forgotten: Forgotten<'a, C>,
    _faults_wait: <Lock<C, ()> as RwLock<()>>::Exclusive<'a>,
}

impl<C: Config> Broken<'_, C> {
    /// The blocks were freed.
    fn done(mut self) {
        self.forgotten.stores.clear();
    }
}

/// The change is over, whatever became of it; lock 2 is held still.
impl<C: Config> Drop for Broken<'_, C> {
    /// Takes the private copies of what was cut off the file from all maps: of the pages that lie
    /// past its end now, and did not before (C5). One that fails loses no copy. Nobody can make a
    /// new one there.
    fn drop(&mut self) {
        let mapping = self.forgotten.mapping;
        let old_end = PageIndex(self.old_size.div_ceil(PAGE_SIZE));
        let gone = PageRange { start: mapping.end_page(), end: old_end };
        if !gone.is_empty() && !left_out(Step::DropCutOff) {
            mapping.discard_copies(gone);
        }
    }
}

impl<C: Config> Mapping<C> {
    /// Takes lock 2 exclusive, with `pages` unmapped, unpinned and without entries. Private copies
    /// stay, but for those that lie past the end when the change is over. Wants lock 1 exclusive.
    fn break_layout(&self, pages: PageRange, dirty: Dirty) -> Broken<'_, C> {
        loop {
            let guard = self.invalidate_lock.exclusive();
            match self.unmap_unpinned(pages) {
                Some(ticket) => {
                    cover(Branch::BreakWaitsForPin);
                    drop(guard);
                    ticket.wait();
                }
                None => {
                    let forgotten = self.forgotten();
                    let old_size = self.iomap.size();
                    let mut broken = Broken { old_size, forgotten, _faults_wait: guard };
                    if !left_out(Step::DeleteEntriesOnBreak) {
                        self.remove_entries(pages, dirty, &mut broken.forgotten);
                    }
                    self.media.fence();
                    return broken;
                }
            }
        }
    }

    /// Nothing is forgotten yet. Wants locks 1 and 2 exclusive.
    pub(crate) fn forgotten(&self) -> Forgotten<'_, C> {
        Forgotten { mapping: self, stores: Vec::new() }
    }

    /// Unmaps `pages`, rounded out to whole entries. If a pin overlaps them, the place in the queue
    /// of the file's pins, to be waited on with lock 2 let go. Wants lock 2 exclusive.
    pub(crate) fn unmap_unpinned(&self, pages: PageRange) -> Option<Ticket<C::Seam>> {
        // No fault is running, so no entry is added: rounding out now stays true. Whole entries
        // are unmapped, or a part would stay mapped without an entry (I1).
        let rounded = match left_out(Step::RoundOutOnBreak) {
            true => pages,
            false => self.index.with(|index| index.round_out(pages)),
        };
        if !left_out(Step::UnmapBeforeFree) {
            self.unmap_range(rounded);
        }
        let blind = left_out(Step::WaitForPins)
            || (left_out(Step::PinsWithoutMaps) && self.map_count() == 0);
        self.pins.with(|pins| {
            (!blind && pins.overlaps(rounded)).then(|| self.waits.join(Key::pins(self.file), false))
        })
    }

    /// Sets the size of the file.
    ///
    /// Shrinking, or to the size it has: blocks past the end are freed, those of `allocate` with
    /// `keep_size` included. When it returns the removed bytes are gone for every map, a load past
    /// the last page raises SIGBUS. Growing shows zeroes (C5).
    pub fn truncate(&self, size: u64) -> Outcome<C> {
        if size > MAX_FILE_SIZE {
            cover(Branch::TruncateTooLarge);
            return Err(DaxError::TooLarge { at: 0, len: size });
        }
        let _inode = self.inode_lock.exclusive();
        let changed = self.changed();
        let old = changed.old_size;
        if size > old {
            cover(Branch::TruncateGrows);
            return self.grow(changed, size);
        }
        cover(Branch::TruncateShrinks);
        let gone = PageRange::from(PageIndex(size.div_ceil(PAGE_SIZE)));
        let broken = self.break_layout(gone, Dirty::Forget);
        self.shrink(old, size)?;
        broken.done();
        Ok(())
    }

    /// Changes the size, and zeroes the bytes past the new end in its page. Wants locks 1 and 2
    /// exclusive.
    ///
    /// In place they are zeroed after the size has changed: a change that fails, or that a crash
    /// forgets, then loses no byte. What a crash leaves there instead lies past the end, where
    /// nobody may look and which every growth zeroes first (`zero_past_end`, C5). Locks 1 and 2
    /// keep the file from growing in between. A shared block is copied before, as that can fail
    /// for want of space; lock 1 keeps a block from becoming shared in between.
    fn shrink(&self, old: u64, size: u64) -> Outcome<C> {
        let tail = size..size.next_multiple_of(PAGE_SIZE).min(old);
        let in_place = tail.is_empty() || !self.is_shared(&tail)?;
        if !in_place {
            self.zero_in_page(tail.clone(), Lock2::Held)?;
        }
        self.media.fence();
        self.iomap.set_size(size).map_err(DaxError::Iomap)?;
        if in_place {
            self.zero_in_page(tail, Lock2::Held)?;
            self.media.fence();
        }
        Ok(())
    }

    /// True if the block behind bytes of one page is shared with another file.
    fn is_shared(&self, bytes: &Range<u64>) -> Result<bool, DaxError<IomapError<C>>> {
        let pages = PageRange::covering(bytes);
        let extent = self.iomap.begin(pages, Intent::Read).map_err(DaxError::Iomap)?;
        Ok(extent.backing == Backing::Shared)
    }

    /// Grows the file; maps that showed SIGBUS there are unmapped. Wants lock 1 exclusive.
    fn grow(&self, changed: Changed<'_, C>, size: u64) -> Outcome<C> {
        self.zero_past_end(size)?;
        self.media.fence();
        self.iomap.set_size(size).map_err(DaxError::Iomap)?;
        changed.invalidate();
        Ok(())
    }

    /// Makes a range read as zeroes and frees its blocks; the size stays.
    pub fn punch(&self, bytes: Range<u64>) -> Outcome<C> {
        let bytes = checked(bytes)?;
        let _inode = self.inode_lock.exclusive();
        let _changed = self.changed();
        let (bytes, pages) = self.split_edges(bytes);
        self.zero_edges(&bytes, pages)?;
        if !pages.is_empty() {
            cover(Branch::PunchFrees);
            let broken = self.break_layout(pages, Dirty::Forget);
            self.iomap.punch(pages).map_err(DaxError::Iomap)?;
            broken.done();
        }
        self.iomap.touch();
        Ok(())
    }

    /// Makes a range read as zeroes and gives it blocks, so that later writes there cannot run
    /// out of space. The file grows to the end of the range unless `keep_size`.
    pub fn zero_range(&self, bytes: Range<u64>, keep_size: bool) -> Outcome<C> {
        let bytes = checked(bytes)?;
        let _inode = self.inode_lock.exclusive();
        let changed = self.changed();
        let grow = !keep_size && bytes.end > changed.old_size;
        if grow {
            cover(Branch::ZeroGrows);
            self.zero_past_end(bytes.end)?;
        }
        let size = grow.then_some(bytes.end);
        let covering = PageRange::covering(&bytes);
        let (wide, pages) = self.split_edges(bytes);
        // First what can fail for want of space: new blocks read as zeroes and change no byte.
        self.iomap.allocate(covering, None).map_err(DaxError::Iomap)?;
        self.zero_edges(&wide, pages)?;
        if pages.is_empty() {
            cover(Branch::ZeroKeepsBlocks);
            self.set_grown(size)?;
        } else {
            cover(Branch::ZeroMakesUnwritten);
            let broken = self.break_layout(pages, Dirty::Forget);
            self.iomap.make_unwritten(pages, size).map_err(DaxError::Iomap)?;
            broken.done();
        }
        self.iomap.touch();
        changed.invalidate();
        Ok(())
    }

    /// Gives blocks to the holes of a range. The file grows to the end of the range unless
    /// `keep_size`. What maps show does not change: unwritten blocks read as zeroes.
    pub fn allocate(&self, bytes: Range<u64>, keep_size: bool) -> Outcome<C> {
        let bytes = checked(bytes)?;
        let _inode = self.inode_lock.exclusive();
        let changed = self.changed();
        let size = (!keep_size && bytes.end > changed.old_size).then_some(bytes.end);
        if size.is_some() {
            cover(Branch::AllocateGrows);
            self.zero_past_end(bytes.end)?;
            self.media.fence();
        }
        self.iomap.allocate(PageRange::covering(&bytes), size).map_err(DaxError::Iomap)?;
        self.iomap.touch();
        changed.invalidate();
        Ok(())
    }

    /// Removes a range of whole pages that ends before the end of the file, and moves what
    /// follows down.
    pub fn collapse(&self, bytes: Range<u64>) -> Outcome<C> {
        let bytes = checked(bytes)?;
        let _inode = self.inode_lock.exclusive();
        let pages = self.whole_pages(&bytes, |size| bytes.end < size)?;
        cover(Branch::CollapseMoves);
        let _broken = self.break_layout(PageRange::from(pages.start), Dirty::WriteBack);
        self.iomap.collapse(pages).map_err(DaxError::Iomap)
    }

    /// Inserts a hole of whole pages before the end of the file, and moves what follows up.
    pub fn insert(&self, bytes: Range<u64>) -> Outcome<C> {
        let bytes = checked(bytes)?;
        let _inode = self.inode_lock.exclusive();
        let pages = self.whole_pages(&bytes, |size| bytes.start < size)?;
        let len = bytes.end - bytes.start;
        let old = self.iomap.size();
        if old.checked_add(len).is_none_or(|size| size > MAX_FILE_SIZE) {
            cover(Branch::InsertTooLarge);
            return Err(DaxError::TooLarge { at: bytes.start, len });
        }
        cover(Branch::InsertMoves);
        let _broken = self.break_layout(PageRange::from(pages.start), Dirty::WriteBack);
        self.iomap.insert(pages).map_err(DaxError::Iomap)
    }

    fn set_grown(&self, size: Option<u64>) -> Outcome<C> {
        self.media.fence();
        match size {
            Some(size) => self.iomap.set_size(size).map_err(DaxError::Iomap),
            None => Ok(()),
        }
    }

    /// The range, and the pages that lie wholly in it. A range that reaches the end of the file
    /// takes the rest of the last page along: nobody can see it.
    fn split_edges(&self, bytes: Range<u64>) -> (Range<u64>, PageRange) {
        let size = self.iomap.size();
        let mut wide = bytes;
        if wide.end >= size {
            cover(Branch::RangeReachesEnd);
            wide.end = wide.end.next_multiple_of(PAGE_SIZE);
        }
        let pages = PageRange::inside(&wide);
        (wide, pages)
    }

    /// Zeroes the parts of `bytes` outside `pages`, in place. Wants lock 1 exclusive.
    fn zero_edges(&self, bytes: &Range<u64>, pages: PageRange) -> Outcome<C> {
        if pages.is_empty() {
            cover(Branch::EdgesWithinPages);
            // No whole page: the range lies within one page, or in two neighbours.
            let middle = bytes.start.next_multiple_of(PAGE_SIZE).min(bytes.end);
            self.zero_in_page(bytes.start..middle, Lock2::Free)?;
            self.zero_in_page(middle..bytes.end, Lock2::Free)?;
        } else {
            cover(Branch::EdgesAroundPages);
            self.zero_in_page(bytes.start..pages.start.offset(), Lock2::Free)?;
            self.zero_in_page(pages.end.offset()..bytes.end, Lock2::Free)?;
        }
        self.media.fence();
        Ok(())
    }

    fn whole_pages(
        &self,
        bytes: &Range<u64>,
        inside: impl Fn(u64) -> bool,
    ) -> Result<PageRange, DaxError<IomapError<C>>> {
        let size = self.iomap.size();
        let on_pages = bytes.start.is_multiple_of(PAGE_SIZE) && bytes.end.is_multiple_of(PAGE_SIZE);
        if on_pages && inside(size) {
            return Ok(PageRange::covering(bytes));
        }
        cover(Branch::MoveUnaligned);
        Err(DaxError::Unaligned { at: bytes.start, len: bytes.end - bytes.start, size })
    }
}

/// Refuses empty, reversed and too large ranges.
fn checked<E>(bytes: Range<u64>) -> Result<Range<u64>, DaxError<E>> {
    if bytes.start >= bytes.end || bytes.end > MAX_FILE_SIZE {
        cover(Branch::RangeRefused);
        let len = bytes.end.saturating_sub(bytes.start);
        return Err(DaxError::TooLarge { at: bytes.start, len });
    }
    Ok(bytes)
}
