//! Writeback: stores through maps reach the medium.
//!
//! A store after the write-protect faults (or is noted by the page tables), and that fault waits
//! for the entry lock held here; so DIRTY cannot be cleared over a store that was not written
//! back (B3, B4). *Every* map over the *whole* entry is protected, whatever part of it the caller
//! named and however small the other map is (B6, B7).

use alloc::sync::Arc;

use limpid_pmem::Media as _;

use crate::canary::{Step, left_out};
use crate::cover::{Branch, cover};
use crate::entry::Entry;
use crate::lock::Locked;
use crate::mapping::{Config, Mapping, count};
use crate::maps::Vma;
use crate::mmu::Protection;
use crate::seam::{Mutex as _, RwLock as _};
use crate::units::{PageIndex, PageRange};
use crate::wait::Ticket;

enum Next<'a, C: Config> {
    /// Owned now, with TOWRITE taken from it.
    Locked(Locked<'a, C>),
    Wait(Ticket<C::Seam>),
    Done,
}

impl<C: Config> Mapping<C> {
    /// Writes back every store through a map that completed before the call, for the entries
    /// that overlap `pages` (I4). Wants no lock held; waits for lock 2 at the end.
    pub fn writeback(&self, pages: PageRange) {
        self.mark_towrite(pages);
        let mut cursor = pages;
        loop {
            let next = self.index.with(|index| {
                while let Some(slot) = index.first_in(cursor) {
                    // Its owner may be another writeback, which took TOWRITE from it and is not
                    // done: what it writes is ours, too.
                    let busy = slot.marks.towrite
                        || (slot.marks.dirty && !left_out(Step::WaitForWriteback));
                    if slot.entry.is_locked() && busy {
                        cover(Branch::WritebackWaits);
                        let exclusive = left_out(Step::ScanPassesWakes);
                        return Next::Wait(self.waits.join(self.key(slot.start), exclusive));
                    }
                    // Looked at anew after each wait: gone, replaced by a clean one, or written by
                    // another writeback that started later and so saw at least our stores.
                    if !slot.marks.towrite {
                        cover(Branch::WritebackPassesBy);
                        cursor.start = slot.pages().end;
                        continue;
                    }
                    cover(Branch::WritebackTakes);
                    index.update(slot.start, |_, marks| marks.towrite = false);
                    return Next::Locked(self.lock_found(index, slot));
                }
                Next::Done
            });
            match next {
                Next::Locked(locked) => {
                    cursor.start = locked.pages().end;
                    self.write_entry(locked);
                }
                Next::Wait(ticket) => ticket.wait(),
                Next::Done => break,
            }
        }
        // An entry that is gone may have been removed by an operation that has not changed the
        // block map yet, so its old block would still be found after a power loss, without our
        // stores. That operation holds lock 2 until it is done.
        if !left_out(Step::WritebackWaitsForLock2) {
            drop(self.invalidate_lock.shared());
        }
    }

    fn mark_towrite(&self, pages: PageRange) {
        self.index.with(|index| {
            let mut cursor = pages;
            while let Some(slot) = index.first_in(cursor) {
                if slot.marks.dirty {
                    cover(Branch::WritebackMarks);
                    index.update(slot.start, |_, marks| marks.towrite = true);
                }
                cursor.start = slot.pages().end;
            }
        });
    }

    /// Writes one owned, DIRTY entry back and gives it back. TOWRITE was cleared under the same
    /// mutex hold that locked it, so a second writeback that finds it DIRTY again marks it anew.
    fn write_entry(&self, locked: Locked<'_, C>) {
        let mut pages = locked.pages();
        if left_out(Step::WritebackWholeEntry) {
            pages.end = PageIndex(pages.start.0 + 1);
        }
        let early = left_out(Step::WholeAfterWalk) && self.take_whole(&locked);
        let mut whole = self.pins.with(|pins| pins.overlaps(pages));
        let mut keep_dirty = self.pins.with(|pins| pins.overlaps(pages));
        {
            let maps = self.maps.shared();
            let tracked =
                |vma: &&Arc<Vma>| vma.shared && vma.writable && !left_out(Step::WriteProtect);
            for vma in maps.overlapping(pages).filter(tracked) {
                let range = vma.pages.intersect(pages);
                cover(Branch::WritebackProtects);
                let protection = vma.mmu.write_protect(range, &mut |run| {
                    self.flush_pages(locked.start, locked.found, run);
                });
                keep_dirty |= protection != Protection::Faults;
                whole |= protection == Protection::Unnoticed;
            }
        }
        // A map or pin that is not there any more marked its entries WHOLE before it went, so WHOLE
        // is taken after they were looked at: what it leaves behind is written now (I4).
        whole |= early || (!left_out(Step::WholeAfterWalk) && self.take_whole(&locked));
        if whole {
            cover(Branch::WritebackWhole);
            self.flush_entry(locked.found);
        }
        // Before DIRTY is cleared: another writeback that finds it cleared does not wait for us.
        if !left_out(Step::FenceBeforeClean) {
            self.media.fence();
        }
        count(&self.counters.written_back);
        self.index.with(|index| {
            index.update(locked.start, |_, marks| {
                // A map closed since then left WHOLE behind: its stores are not written yet.
                marks.dirty = keep_dirty || marks.whole;
                if marks.whole {
                    cover(Branch::WritebackLeftWhole);
                } else if keep_dirty {
                    cover(Branch::WritebackKeepsDirty);
                } else {
                    cover(Branch::WritebackCleans);
                }
            });
        });
        locked.unlock();
    }

    fn take_whole(&self, locked: &Locked<'_, C>) -> bool {
        self.index.with(|index| {
            let mut taken = false;
            index.update(locked.start, |_, marks| taken = core::mem::take(&mut marks.whole));
            if taken {
                cover(Branch::WritebackTakesWhole);
            }
            taken
        })
    }

    fn flush_pages(&self, start: PageIndex, entry: Entry, run: PageRange) {
        let device = entry.device().expect("a DIRTY entry has storage (I7)");
        let first = device + (run.start.offset() - start.offset());
        self.media.flush(first..first + (run.end.offset() - run.start.offset()));
    }
}
