//! Operations that take blocks away or move them: truncate, punch, zero, collapse, insert.
//!
//! All take lock 1, then lock 2 exclusive, which keeps faults out; unmap the range; wait for pins
//! (dropping lock 2 while asleep); delete the entries whatever their marks; and only then change
//! the block map. Freed blocks can be given out again at once, since no page table and no pin
//! refers to them any more (I6).

use core::ops::Range;

use limpid_pmem::Media as _;

use crate::canary::{Step, left_out};
use crate::copy::Lock2;
use crate::cover::{Branch, cover};
use crate::error::DaxError;
use crate::fault::IomapError;
use crate::invalidate::Dirty;
use crate::iomap::{Backing, Intent, Iomap};
use crate::mapping::{Config, Lock, Mapping};
use crate::seam::{Mutex as _, RwLock};
use crate::units::{MAX_FILE_SIZE, PAGE_SIZE, PageIndex, PageRange};
use crate::wait::{Key, Ticket};

type ExclusiveGuard<'a, C> = <Lock<C, ()> as RwLock<()>>::Exclusive<'a>;
pub(crate) type Outcome<C> = Result<(), DaxError<IomapError<C>>>;

impl<C: Config> Mapping<C> {
    /// Takes lock 2 exclusive, with `pages` unmapped, unpinned and without entries. Private copies
    /// stay: see `drop_cut_off`. Wants lock 1 exclusive.
    fn break_layout(&self, pages: PageRange, dirty: Dirty) -> ExclusiveGuard<'_, C> {
        loop {
            let guard = self.invalidate_lock.exclusive();
            match self.unmap_unpinned(pages) {
                Some(ticket) => {
                    cover(Branch::BreakWaitsForPin);
                    drop(guard);
                    ticket.wait();
                }
                None => {
                    if !left_out(Step::DeleteEntriesOnBreak) {
                        self.remove_entries(pages, dirty);
                    }
                    self.media.fence();
                    return guard;
                }
            }
        }
    }

    /// Takes the private copies of what was cut off the file from all maps: of the pages that lie
    /// past its end now, and did not when it had `old` bytes (C5). Called when the change is over,
    /// whatever became of it, so that one that fails loses no copy. Nobody can make a new one
    /// there. Wants locks 1 and 2 exclusive.
    fn drop_cut_off(&self, old: u64) {
        let gone = PageRange { start: self.end_page(), end: PageIndex(old.div_ceil(PAGE_SIZE)) };
        if !gone.is_empty() && !left_out(Step::DropCutOff) {
            self.discard_copies(gone);
        }
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
        let old = self.iomap.size();
        if size > old {
            cover(Branch::TruncateGrows);
            return self.grow(old, size);
        }
        cover(Branch::TruncateShrinks);
        let gone = PageRange::from(PageIndex(size.div_ceil(PAGE_SIZE)));
        let _guard = self.break_layout(gone, Dirty::Forget);
        let done = self.shrink(old, size);
        self.drop_cut_off(old);
        self.or_keep_stores(gone, done)
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

    /// Passes the outcome of an operation on, before which DIRTY entries of `pages` were deleted
    /// unwritten. If it failed, their blocks stay in the file, and no entry tells any more that
    /// stores to them may not be on the medium: all of them are written back (C4, I4). Wants locks
    /// 1 and 2 exclusive.
    pub(crate) fn or_keep_stores(&self, pages: PageRange, done: Outcome<C>) -> Outcome<C> {
        if done.is_ok() || left_out(Step::KeepStoresOnFailure) {
            return done;
        }
        cover(Branch::ChangeFails);
        let mut rest = PageRange { start: pages.start, end: pages.end.min(self.end_page()) };
        while !rest.is_empty() {
            // A block map that cannot be read any more leaves nothing to write back to.
            let Ok(extent) = self.iomap.begin(rest, Intent::Read) else { break };
            if extent.backing == Backing::Mapped {
                let len = extent.pages.end.offset() - extent.pages.start.offset();
                self.media.flush(extent.device..extent.device + len);
            }
            rest.start = extent.pages.end;
        }
        self.media.fence();
        done
    }

    /// Grows the file; maps that showed SIGBUS there are unmapped. Wants lock 1 exclusive.
    fn grow(&self, old: u64, size: u64) -> Outcome<C> {
        self.zero_past_end(size)?;
        self.media.fence();
        self.iomap.set_size(size).map_err(DaxError::Iomap)?;
        if left_out(Step::InvalidateGrown) {
            return Ok(());
        }
        self.invalidate(PageRange {
            start: PageIndex(old.div_ceil(PAGE_SIZE)),
            end: PageIndex(size.div_ceil(PAGE_SIZE)),
        });
        Ok(())
    }

    /// Makes a range read as zeroes and frees its blocks; the size stays.
    pub fn punch(&self, bytes: Range<u64>) -> Outcome<C> {
        let bytes = checked(bytes)?;
        let _inode = self.inode_lock.exclusive();
        let (bytes, pages) = self.split_edges(bytes);
        self.zero_edges(&bytes, pages)?;
        if !pages.is_empty() {
            cover(Branch::PunchFrees);
            let _guard = self.break_layout(pages, Dirty::Forget);
            let done = self.iomap.punch(pages).map_err(DaxError::Iomap);
            self.or_keep_stores(pages, done)?;
        }
        self.iomap.touch();
        Ok(())
    }

    /// Makes a range read as zeroes and gives it blocks, so that later writes there cannot run
    /// out of space. The file grows to the end of the range unless `keep_size`.
    pub fn zero_range(&self, bytes: Range<u64>, keep_size: bool) -> Outcome<C> {
        let bytes = checked(bytes)?;
        let _inode = self.inode_lock.exclusive();
        let old = self.iomap.size();
        let grow = !keep_size && bytes.end > old;
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
            let _guard = self.break_layout(pages, Dirty::Forget);
            let done = self.iomap.make_unwritten(pages, size).map_err(DaxError::Iomap);
            self.or_keep_stores(pages, done)?;
        }
        self.iomap.touch();
        self.invalidate_grown(old, size);
        Ok(())
    }

    /// Gives blocks to the holes of a range. The file grows to the end of the range unless
    /// `keep_size`. What maps show does not change: unwritten blocks read as zeroes.
    pub fn allocate(&self, bytes: Range<u64>, keep_size: bool) -> Outcome<C> {
        let bytes = checked(bytes)?;
        let _inode = self.inode_lock.exclusive();
        let old = self.iomap.size();
        let size = (!keep_size && bytes.end > old).then_some(bytes.end);
        if size.is_some() {
            cover(Branch::AllocateGrows);
            self.zero_past_end(bytes.end)?;
            self.media.fence();
        }
        self.iomap.allocate(PageRange::covering(&bytes), size).map_err(DaxError::Iomap)?;
        self.iomap.touch();
        self.invalidate_grown(old, size);
        Ok(())
    }

    /// Removes a range of whole pages that ends before the end of the file, and moves what
    /// follows down.
    pub fn collapse(&self, bytes: Range<u64>) -> Outcome<C> {
        let bytes = checked(bytes)?;
        let _inode = self.inode_lock.exclusive();
        let pages = self.whole_pages(&bytes, |size| bytes.end < size)?;
        cover(Branch::CollapseMoves);
        let old = self.iomap.size();
        let _guard = self.break_layout(PageRange::from(pages.start), Dirty::WriteBack);
        let done = self.iomap.collapse(pages).map_err(DaxError::Iomap);
        self.drop_cut_off(old);
        done
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
        let _guard = self.break_layout(PageRange::from(pages.start), Dirty::WriteBack);
        self.iomap.insert(pages).map_err(DaxError::Iomap)
    }

    fn set_grown(&self, size: Option<u64>) -> Outcome<C> {
        self.media.fence();
        match size {
            Some(size) => self.iomap.set_size(size).map_err(DaxError::Iomap),
            None => Ok(()),
        }
    }

    /// Invalidates what a file of `old` bytes grew by; maps may show SIGBUS there.
    pub(crate) fn invalidate_grown(&self, old: u64, size: Option<u64>) {
        if let Some(size) = size {
            self.invalidate(PageRange {
                start: PageIndex(old.div_ceil(PAGE_SIZE)),
                end: PageIndex(size.div_ceil(PAGE_SIZE)),
            });
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
