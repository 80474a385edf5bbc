//! Invalidation: the index and the page tables cache the block map, and are told when it changed.
//!
//! The order is that of the flow of information, block map → index → page tables. The caller has
//! changed the block map; then the entries are locked; then the whole range is unmapped, once;
//! then the entries go. Unmapping before they are locked would be useless, since a fault could map
//! the old entry again; unmapping per entry costs a walk over the maps for each. And were they
//! gone before the unmap, a store could fault the new block in and return while another map still
//! shows the old zeroes: a load through it would miss that store (C1).
//!
//! Why no fault can slip through: a fault holds its entry lock from before it asks the block map
//! until the page is installed. If it asked before the change, its entry is found here and waited
//! for, and what it installed is unmapped below. If it asked after, it saw the change.
//!
//! Several entry locks are held here while another is waited for. That cannot deadlock: whoever
//! else holds an entry waits for no other (a fault only tries for its neighbours), and lock 1
//! keeps a second invalidation out.

use alloc::vec::Vec;
use core::mem::forget;

use limpid_pmem::Media as _;

use crate::canary::{Step, left_out};
use crate::change::Forgotten;
use crate::cover::{Branch, cover};
use crate::entry::Entry;
use crate::index::{Slot, Visit};
use crate::iomap::Iomap as _;
use crate::lock::Locked;
use crate::mapping::{Config, Mapping, count};
use crate::seam::Mutex as _;
use crate::units::{PAGE_SIZE, PageIndex, PageRange};
use crate::wait::Wake;

/// What becomes of a DIRTY entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dirty {
    /// It stays: its block did not change (a write never moves blocks that have data).
    Keep,
    /// It goes, unwritten, if it lies wholly in the range: its blocks are about to be freed. One
    /// that reaches beyond the range is written back first, for the part that stays.
    Forget,
    /// It goes, and its bytes are written back first: its blocks stay in the file but move to
    /// other pages.
    WriteBack,
}

/// What an operation changes in the block map without lock 2, and how far it makes the file
/// grow: to be invalidated in the end. If that is not done when this goes out of scope, it is done
/// then, on unwind too: what was published stays so, and entries and page tables that say otherwise
/// would do so for ever (I2, C1, C5). And what was written in place is in the file, so it is
/// fenced: the next fsync answers for it (I4).
///
/// Made with lock 1 exclusive and dropped with that lock alone: an invalidation waits for the
/// owners of entries, and some of them may wait for lock 2.
#[must_use]
pub(crate) struct Changed<'a, C: Config> {
    mapping: &'a Mapping<C>,
    /// Size of the file before.
    pub old_size: u64,
    pages: Option<PageRange>,
    /// Whether a commit has fenced everything written so far.
    pub fenced: bool,
}

impl<C: Config> Changed<'_, C> {
    /// Blocks of `pages` are about to be published.
    pub fn add(&mut self, pages: PageRange) {
        let all = self.pages.get_or_insert(pages);
        all.start = all.start.min(pages.start);
        all.end = all.end.max(pages.end);
    }

    /// Invalidates all of it at once.
    pub fn invalidate(mut self) {
        self.settle();
        forget(self);
    }

    /// Past the old end maps may show SIGBUS.
    fn settle(&mut self) {
        if !self.fenced {
            self.mapping.media.fence();
        }
        let old_end = PageIndex(self.old_size.div_ceil(PAGE_SIZE));
        let grown = PageRange { start: old_end, end: self.mapping.end_page() };
        if !grown.is_empty() && !left_out(Step::InvalidateGrown) {
            cover(Branch::InvalidateGrown);
            self.add(grown);
        }
        match self.pages {
            Some(pages) => self.mapping.invalidate(pages),
            None => cover(Branch::InvalidateNothing),
        }
    }
}

impl<C: Config> Drop for Changed<'_, C> {
    fn drop(&mut self) {
        self.settle();
    }
}

impl<C: Config> Mapping<C> {
    /// Nothing has changed yet. Wants lock 1 exclusive.
    pub(crate) fn changed(&self) -> Changed<'_, C> {
        Changed { mapping: self, old_size: self.iomap.size(), pages: None, fenced: false }
    }

    /// Tells the index and all page tables that the block map of `pages` changed. Wants lock 1;
    /// takes entry locks' waits and lock 6. On return no page table shows what was there before.
    fn invalidate(&self, pages: PageRange) {
        if left_out(Step::InvalidateEmptyIndex) && self.entry_pages() == 0 {
            return;
        }
        if left_out(Step::UnmapAfterEntries) {
            self.unmap_range(self.index.with(|index| index.round_out(pages)));
            self.remove_entries(pages, Dirty::Keep, &mut self.forgotten());
            return;
        }
        if left_out(Step::StaleStayLocked) {
            let unmap = self.remove_entries(pages, Dirty::Keep, &mut self.forgotten());
            self.unmap_range(unmap);
            return;
        }
        let (unmap, stale) = self.lock_entries(pages);
        if !left_out(Step::UnmapOnWrite) {
            self.unmap_range(unmap);
        }
        for locked in stale {
            count(&self.counters.invalidated);
            locked.discard();
        }
    }

    /// Locks the entries that overlap `pages`, waiting for each owner as [`Self::remove_entries`]
    /// does; DIRTY ones are left alone. Returns `pages` rounded out to what was locked, and the
    /// entries, whose locks are left held.
    fn lock_entries(&self, pages: PageRange) -> (PageRange, Vec<Locked<'_, C>>) {
        let mut rounded = pages;
        let mut stale = Vec::new();
        let mut cursor = pages;
        loop {
            let wait = self.index.with(|index| {
                while let Some(slot) = index.first_in(cursor) {
                    if slot.entry.is_locked() && !left_out(Step::ScanWaits) {
                        cover(Branch::InvalidateWaits);
                        // Everything before the owned entry is ours; it is looked at again.
                        cursor.start = cursor.start.max(slot.start);
                        if left_out(Step::ScanLooksAgain) {
                            cursor.start = slot.pages().end;
                        }
                        let exclusive = left_out(Step::ScanPassesWakes);
                        return Some(self.waits.join(self.key(slot.start), exclusive));
                    }
                    cursor.start = slot.pages().end;
                    if slot.marks.dirty && !left_out(Step::KeepDirtyOnInvalidate) {
                        cover(Branch::InvalidateKeepsDirty);
                    } else if !slot.entry.is_locked() {
                        cover(Branch::InvalidateLocks);
                        rounded.start = rounded.start.min(slot.start);
                        rounded.end = rounded.end.max(slot.pages().end);
                        stale.push(self.lock_found(index, slot));
                    }
                }
                None
            });
            match wait {
                Some(ticket) => ticket.wait(),
                None => return (rounded, stale),
            }
        }
    }

    /// Removes the entries that overlap `pages`, waiting for each owner at its own index and
    /// looking at that index again (C5, C6 of Linux: a scan that moved on missed the entry).
    /// Returns `pages` rounded out to what was removed, so that no page table keeps showing a
    /// part of a removed large entry (I1).
    pub(crate) fn remove_entries(
        &self,
        pages: PageRange,
        dirty: Dirty,
        forgotten: &mut Forgotten<'_, C>,
    ) -> PageRange {
        let mut rounded = pages;
        let mut cursor = pages;
        loop {
            let wait = self.index.with(|index| {
                let stop = index.visit(cursor, |slot| {
                    let decision = self.decide(slot, pages, dirty, forgotten);
                    if let Visit::Remove = decision {
                        count(&self.counters.invalidated);
                        rounded.start = rounded.start.min(slot.start);
                        rounded.end = rounded.end.max(slot.pages().end);
                        self.wake_entry(slot.start, Wake::All);
                    }
                    decision
                })?;
                cover(Branch::RemoveWaits);
                // Everything before the owned entry is done; it is looked at again.
                cursor.start = cursor.start.max(stop.start);
                Some(self.waits.join(self.key(stop.start), false))
            });
            match wait {
                Some(ticket) => ticket.wait(),
                None => return rounded,
            }
        }
    }

    fn decide(
        &self,
        slot: &Slot,
        pages: PageRange,
        dirty: Dirty,
        forgotten: &mut Forgotten<'_, C>,
    ) -> Visit {
        if slot.entry.is_locked() {
            return Visit::Stop;
        }
        if slot.marks.dirty {
            match dirty {
                Dirty::Keep => {
                    cover(Branch::RemoveKeepsDirty);
                    return Visit::Keep;
                }
                Dirty::Forget if pages.covers(slot.pages()) => {
                    cover(Branch::RemoveForgets);
                    forgotten.add(slot.entry);
                }
                Dirty::WriteBack if left_out(Step::WriteBackBeforeMove) => {}
                Dirty::Forget | Dirty::WriteBack => {
                    cover(Branch::RemoveWritesBack);
                    self.flush_entry(slot.entry);
                }
            }
        } else {
            cover(Branch::RemoveClean);
        }
        Visit::Remove
    }

    /// Writes all cache lines of an entry's storage back. The caller fences.
    pub(crate) fn flush_entry(&self, entry: Entry) {
        if let Some(device) = entry.device() {
            self.media.flush(device..device + entry.order().bytes());
        }
    }
}
