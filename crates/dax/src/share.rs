//! Sharing: a range of one file becomes that of another one, without a copy (reflink).
//!
//! Locks 1 of both files, then locks 2 of both, each pair in the order of the files' numbers. No
//! other operation takes the same lock of two files, so no two can wait for each other. Both
//! ranges are unmapped and unpinned, and their entries deleted, before the block map shares the
//! blocks: no store reaches them from then on (I3), and stores made before are on the medium.
//!
//! While a pin is waited for, both locks 2 are let go: who holds the pin may have to fault in
//! either file before he drops it.

use core::ops::Range;

use limpid_pmem::Media as _;

use crate::canary::{Step, left_out};
use crate::change::{Forgotten, Outcome};
use crate::copy::Lock2;
use crate::cover::{Branch, cover};
use crate::error::DaxError;
use crate::invalidate::Dirty;
use crate::iomap::{Iomap, Share};
use crate::mapping::{Config, Lock, Mapping};
use crate::seam::RwLock;
use crate::units::{MAX_FILE_SIZE, PAGE_SIZE, PageRange};
use crate::wait::Ticket;

type Guard<'a, C> = <Lock<C, ()> as RwLock<()>>::Exclusive<'a>;

impl<C: Config> Mapping<C>
where
    C::Iomap: Share,
{
    /// Makes this file show, from offset `at` on, what `source` shows at `bytes`, by sharing the
    /// blocks. `source` may be this very mapping; the ranges must not overlap then. All bounds lie
    /// on pages; the last page of `source` counts as a whole, and what lies in it past the end of
    /// that file shows as zeroes. This file grows if it has to.
    pub fn clone_range(&self, at: u64, source: &Self, bytes: Range<u64>) -> Outcome<C> {
        let ordered = self.file <= source.file || left_out(Step::ShareLockOrder);
        let (first, second) = if ordered { (self, source) } else { (source, self) };
        let second = (!core::ptr::eq(self, source)).then_some(second);
        let _first = first.inode_lock.exclusive();
        let _second = second.map(|other| other.inode_lock.exclusive());

        let changed = self.changed();
        let source_size = source.iomap.size();
        let (from, to) = self.clone_pages(at, source, &bytes, source_size)?;
        let end = at + (bytes.end.min(source_size) - bytes.start);
        let size = (end > changed.old_size).then_some(end);
        if size.is_some() {
            cover(Branch::CloneGrows);
            self.zero_past_end(end)?;
        }
        let (guards, forgotten) = loop {
            let guards = (
                first.invalidate_lock.exclusive(),
                second.map(|other| other.invalidate_lock.exclusive()),
            );
            match self.clear_both(to, source, from) {
                Ok(forgotten) => break (guards, forgotten),
                Err(pinned) => {
                    cover(Branch::CloneWaitsForPin);
                    drop(guards);
                    pinned.wait();
                }
            }
        };
        source.zero_tail(source_size..bytes.end)?;
        source.iomap.share(from, &self.iomap, to.start, size).map_err(DaxError::Iomap)?;
        forgotten.done();
        self.iomap.touch();
        drop::<(Guard<'_, C>, Option<Guard<'_, C>>)>(guards);
        changed.invalidate();
        Ok(())
    }

    /// Zeroes the bytes behind the end of the file that a clone takes along. Wants locks 1 and 2
    /// exclusive.
    fn zero_tail(&self, tail: Range<u64>) -> Outcome<C> {
        if !tail.is_empty() {
            cover(Branch::CloneZeroesTail);
            self.zero_in_page(tail, Lock2::Held)?;
            self.media.fence();
        }
        Ok(())
    }

    /// Checks the ranges; returns the pages of the source and those of this file.
    fn clone_pages(
        &self,
        at: u64,
        source: &Self,
        bytes: &Range<u64>,
        source_size: u64,
    ) -> Result<(PageRange, PageRange), DaxError<<C::Iomap as Iomap>::Error>> {
        let len = bytes.end.saturating_sub(bytes.start);
        let on_pages = [at, bytes.start, bytes.end].iter().all(|at| at.is_multiple_of(PAGE_SIZE));
        let inside = bytes.start < source_size && bytes.end.saturating_sub(PAGE_SIZE) < source_size;
        if len == 0 || !on_pages || !inside {
            cover(Branch::CloneUnaligned);
            return Err(DaxError::Unaligned { at: bytes.start, len, size: source_size });
        }
        let to = match at.checked_add(len) {
            Some(end) if end <= MAX_FILE_SIZE => at..end,
            _ => {
                cover(Branch::CloneTooLarge);
                return Err(DaxError::TooLarge { at, len });
            }
        };
        let (from, to) = (PageRange::covering(bytes), PageRange::covering(&to));
        if core::ptr::eq(self, source) && !from.intersect(to).is_empty() {
            cover(Branch::CloneOverlaps);
            return Err(DaxError::Overlap { at, from: bytes.start, len });
        }
        Ok((from, to))
    }

    /// Unmaps both ranges and deletes their entries, unless a pin is in the way: then nothing is
    /// deleted, and the pin is to be waited for. Wants locks 1 and 2 of both files exclusive.
    fn clear_both(
        &self,
        to: PageRange,
        source: &Self,
        from: PageRange,
    ) -> Result<Forgotten<'_, C>, Ticket<C::Seam>> {
        let blind = left_out(Step::UnmapBeforeShare);
        let pinned = self.unmap_unpinned(to);
        let pinned = pinned.or_else(|| if blind { None } else { source.unmap_unpinned(from) });
        if let Some(pinned) = pinned {
            return Err(pinned);
        }
        let mut forgotten = self.forgotten();
        self.remove_entries(to, Dirty::Forget, &mut forgotten);
        let dirty = match left_out(Step::CleanBeforeShare) {
            true => Dirty::Keep,
            false => Dirty::WriteBack,
        };
        source.remove_entries(from, dirty, &mut forgotten);
        self.media.fence();
        Ok(forgotten)
    }
}
