//! The entry lock (class 4): taking, keeping and giving back the LOCKED bit of entries.
//!
//! A locked entry has exactly one owner (I5), who holds a [`Locked`]: there is one token for as
//! long as the entry is LOCKED, and it is made and ends in the hold of the index mutex that sets
//! and clears the bit. It ends by [`Locked::unlock`] or [`Locked::discard`], or, when a panic
//! drops it, as its `Drop` says: no way out of a function leaves an entry locked.
//!
//! Who finds an entry locked joins the queue of the entry's own first page, whatever page it looked
//! for (C1 of Linux: the other hash slept for ever), and a seeker of a large entry never sleeps on
//! a smaller one: that is a conflict.

use crate::canary::{Step, left_out};
use crate::cover::{Branch, cover};
use crate::entry::{Entry, Marks};
use crate::index::{Index, Slot};
use crate::mapping::{Config, Mapping};
use crate::seam::Mutex as _;
use crate::units::{Order, PageIndex, PageRange};
use crate::wait::{Ticket, Wake};

/// An entry this thread owns.
#[must_use]
pub(crate) struct Locked<'a, C: Config> {
    mapping: &'a Mapping<C>,
    pub start: PageIndex,
    /// The entry as it was found, unlocked; EMPTY if there was none.
    pub found: Entry,
}

impl<'a, C: Config> Locked<'a, C> {
    pub fn order(&self) -> Order {
        self.found.order()
    }

    pub fn pages(&self) -> PageRange {
        self.start.unit(self.order())
    }

    /// Replaces what the entry shows; it stays locked. If it showed something else before, the
    /// marks are dropped: the caller has unmapped it and seen to its stores.
    pub fn set(&self, index: &mut Index, to: Entry, dirty: bool) {
        index.update(self.start, |entry, marks| {
            assert!(entry.is_locked(), "owned (I5)");
            if !entry.same_target(to) {
                cover(Branch::SetOtherTarget);
                *marks = Marks::default();
            }
            *entry = to.locked();
            marks.dirty |= dirty;
        });
    }

    /// Gives the entry back as it now is. A place-holder does not outlive its lock: it is
    /// removed, and all are woken; else one waiter is woken.
    pub fn unlock(self) {
        let whom = self.mapping.index.with(|index| {
            let slot = index.find(self.start).expect("a locked entry stays");
            assert!(slot.start == self.start && slot.entry.is_locked(), "owned (I5)");
            if slot.entry.is_empty() {
                cover(Branch::UnlockPlaceHolder);
                index.remove(self.start);
                return Wake::All;
            }
            cover(Branch::UnlockEntry);
            index.update(self.start, |entry, _| *entry = entry.unlocked());
            Wake::One
        });
        self.ended(whom);
    }

    /// Removes the entry and wakes all who wait for it.
    pub fn discard(self) {
        self.mapping.index.with(|index| {
            let slot = index.remove(self.start);
            assert!(slot.entry.is_locked(), "owned (I5)");
        });
        self.ended(Wake::All);
    }

    /// Replaces the entry, large and unmapped, by a locked small one for `page`, in one hold of
    /// the index mutex: were the index left empty in between, a fault of a large page could come
    /// first each time, and the one that needs small pages would never get on.
    fn split(self, page: PageIndex, order: Order) -> Locked<'a, C> {
        let mapping = self.mapping;
        let small = mapping.index.with(|index| {
            let slot = index.remove(self.start);
            assert!(slot.entry.is_locked() && !slot.entry.is_storage(), "owned, no storage (I5)");
            mapping.lock_new(index, page.round_down(order), order)
        });
        self.ended(Wake::All);
        small
    }

    /// The index knows no more of this lock. What is left is to wake who waits for it.
    fn ended(self, whom: Wake) {
        let (mapping, start) = (self.mapping, self.start);
        core::mem::forget(self);
        mapping.wake_entry(start, whom);
    }
}

/// A panic: nobody has said what becomes of the entry, and everybody waits for it.
///
/// - DIRTY by now: it stays. DIRTY is set together with what the entry shows, after the block map
///   said so and before a page table shows it, and nobody changes the blocks of a DIRTY entry
///   without lock 2 exclusive; so it is true (I1 to I3). What the page tables noted of stores may
///   have been taken from them and not be written yet, so all of it counts as stored to: WHOLE. And
///   a writeback that waits for it, because another one was at it, has it to do now: TOWRITE (I4).
/// - Any other: a page table may show what the entry does not say (I1), and the block map may say
///   something else by now (I2). It is unmapped, while it is still locked, so that no store or load
///   gets between, and removed; the next fault asks the block map. Nothing is lost: a page table
///   shows no storage writable unless its entry is DIRTY (I3). A place-holder goes the same way.
///
/// All waiters are woken, since what they find may be gone. Of locks this takes the index's mutex,
/// i_mmap shared and a queue's mutex, each by itself: they come after the entry lock, and what the
/// panicking thread held of them it has let go, as it took them later. Lock 2, taken before, is
/// held still. It waits for no entry.
impl<C: Config> Drop for Locked<'_, C> {
    fn drop(&mut self) {
        if left_out(Step::UnlockOnUnwind) {
            return;
        }
        let (mapping, start) = (self.mapping, self.start);
        let stays = mapping.index.with(|index| {
            let dirty = index.find(start).is_some_and(|slot| slot.marks.dirty);
            let stays = dirty || left_out(Step::RemoveOnUnwind);
            if stays {
                cover(Branch::UnwindKeepsDirty);
                index.update(start, |entry, marks| {
                    *entry = entry.unlocked();
                    marks.towrite = dirty;
                    marks.whole = dirty && !left_out(Step::WholeOnUnwind);
                });
            }
            stays
        });
        if !stays {
            cover(Branch::UnwindRemoves);
            mapping.unmap_range(self.pages());
            mapping.index.with(|index| index.find(start).map(|slot| index.remove(slot.start)));
        }
        let whom = if left_out(Step::WakeAllOnUnwind) { Wake::One } else { Wake::All };
        mapping.wake_entry(start, whom);
    }
}

/// The answer to a try for an entry lock.
pub(crate) enum Grab<'a, C: Config> {
    /// Owned now. The entry may be larger than wanted if it has storage.
    Locked(Locked<'a, C>),
    /// Smaller entries are in the way.
    Conflict,
}

enum Look<'a, C: Config> {
    Done(Grab<'a, C>),
    Wait(Ticket<C::Seam>),
    /// Owned now, but a large entry without storage stands where a small one is wanted.
    Split(Locked<'a, C>),
}

impl<C: Config> Mapping<C> {
    /// Locks an entry of the index, which nobody owns.
    pub(crate) fn lock_found(&self, index: &mut Index, slot: Slot) -> Locked<'_, C> {
        index.update(slot.start, |entry, _| *entry = entry.locked());
        Locked { mapping: self, start: slot.start, found: slot.entry }
    }

    /// Inserts a locked place-holder.
    fn lock_new(&self, index: &mut Index, start: PageIndex, order: Order) -> Locked<'_, C> {
        let entry = Entry::locked_empty(order);
        index.insert(start, entry);
        Locked { mapping: self, start, found: entry.unlocked() }
    }

    /// Finds or inserts the entry of `order` for `page` and locks it; waits for its owner.
    ///
    /// A large entry with storage is never split: it is locked as it is, and small pages share
    /// it. A large ZERO entry is split when `split` is set (a store needs small pages): its maps
    /// are unmapped first, while it is locked, then it is replaced and all its waiters woken, since
    /// the size at this index changes. Wants locks 1 and 2 at most; leaves the entry lock held.
    pub(crate) fn grab_entry(&self, page: PageIndex, order: Order, split: bool) -> Grab<'_, C> {
        loop {
            let look = self.index.with(|index| self.look(index, page, order, split));
            match look {
                Look::Done(grab) => return grab,
                Look::Wait(ticket) => ticket.wait(),
                Look::Split(locked) => {
                    if !left_out(Step::UnmapBeforeSplit) {
                        self.unmap_range(locked.pages());
                    }
                    return Grab::Locked(locked.split(page, order));
                }
            }
        }
    }

    fn look(&self, index: &mut Index, page: PageIndex, order: Order, split: bool) -> Look<'_, C> {
        if index.has_smaller(page, order) {
            cover(Branch::LookConflict);
            return Look::Done(Grab::Conflict);
        }
        let Some(slot) = index.find(page) else {
            cover(Branch::LookInserts);
            let locked = self.lock_new(index, page.round_down(order), order);
            return Look::Done(Grab::Locked(locked));
        };
        if slot.entry.is_locked() {
            cover(Branch::LookWaits);
            let queue = if left_out(Step::WaitOnEntryStart) { page } else { slot.start };
            return Look::Wait(self.waits.join(self.key(queue), true));
        }
        let locked = self.lock_found(index, slot);
        if split && slot.entry.order() > order && !slot.entry.is_storage() {
            cover(Branch::LookSplits);
            Look::Split(locked)
        } else {
            cover(Branch::LookTakes);
            Look::Done(Grab::Locked(locked))
        }
    }

    /// Locks the entry of `order` that starts at `start` without waiting: inserts it if there is
    /// none, takes it if it is free and `fits`. Never sleeps, so it may be called with other
    /// entry locks held.
    pub(crate) fn try_grab(
        &self,
        index: &mut Index,
        start: PageIndex,
        order: Order,
        fits: impl Fn(Entry) -> bool,
    ) -> Option<Locked<'_, C>> {
        match index.first_in(start.unit(order)) {
            None => {
                cover(Branch::TryInserts);
                Some(self.lock_new(index, start, order))
            }
            Some(slot)
                if slot.start == start
                    && slot.entry.order() == order
                    && !slot.entry.is_locked()
                    && fits(slot.entry) =>
            {
                cover(Branch::TryTakes);
                Some(self.lock_found(index, slot))
            }
            Some(_) => {
                cover(Branch::TryRefused);
                None
            }
        }
    }

    pub(crate) fn wake_entry(&self, start: PageIndex, whom: Wake) {
        let whom = if left_out(Step::WakeAllOnRemove) { Wake::One } else { whom };
        self.waits.wake(self.key(start), whom);
    }
}
