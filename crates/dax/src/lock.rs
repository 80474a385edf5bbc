//! The entry lock (class 4): taking, keeping and giving back the LOCKED bit of entries.
//!
//! A locked entry has exactly one owner (I5). Who finds it locked joins the queue of the entry's
//! own first page, whatever page it looked for (C1 of Linux: the other hash slept for ever), and a
//! seeker of a large entry never sleeps on a smaller one: that is a conflict.

use crate::canary::{Step, left_out};
use crate::cover::{Branch, cover};
use crate::entry::{Entry, Marks};
use crate::index::Index;
use crate::mapping::{Config, Mapping};
use crate::seam::Mutex as _;
use crate::units::{Order, PageIndex, PageRange};
use crate::wait::{Ticket, Wake};

/// An entry this thread owns. Must be given back by `unlock` or `discard`.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Locked {
    pub start: PageIndex,
    /// The entry as it was found, unlocked; EMPTY if there was none.
    pub found: Entry,
}

impl Locked {
    pub fn order(&self) -> Order {
        self.found.order()
    }

    pub fn pages(&self) -> PageRange {
        self.start.unit(self.order())
    }
}

/// The answer to a try for an entry lock.
pub(crate) enum Grab {
    /// Owned now. The entry may be larger than wanted if it has storage.
    Locked(Locked),
    /// Smaller entries are in the way.
    Conflict,
}

enum Look<S: crate::seam::Seam> {
    Done(Grab),
    Wait(Ticket<S>),
    /// Owned now, but a large entry without storage stands where a small one is wanted.
    Split(Locked),
}

impl<C: Config> Mapping<C> {
    /// Finds or inserts the entry of `order` for `page` and locks it; waits for its owner.
    ///
    /// A large entry with storage is never split: it is locked as it is, and small pages share
    /// it. A large ZERO entry is split when `split` is set (a store needs small pages): its maps
    /// are unmapped first, while it is locked, then it is replaced and all its waiters woken, since
    /// the size at this index changes. Wants locks 1 and 2 at most; leaves the entry lock held.
    pub(crate) fn grab_entry(&self, page: PageIndex, order: Order, split: bool) -> Grab {
        loop {
            let look = self.index.with(|index| self.look(index, page, order, split));
            match look {
                Look::Done(grab) => return grab,
                Look::Wait(ticket) => ticket.wait(),
                Look::Split(locked) => {
                    if !left_out(Step::UnmapBeforeSplit) {
                        self.unmap_range(locked.pages());
                    }
                    return self.split_entry(locked, page, order);
                }
            }
        }
    }

    /// Replaces an owned, unmapped, large entry by a locked small one for `page`, in one hold of
    /// the index mutex: were the index left empty in between, a fault of a large page could come
    /// first each time, and the one that needs small pages would never get on.
    fn split_entry(&self, large: Locked, page: PageIndex, order: Order) -> Grab {
        let start = page.round_down(order);
        self.index.with(|index| {
            let slot = index.remove(large.start);
            assert!(slot.entry.is_locked() && !slot.entry.is_storage(), "owned, no storage (I5)");
            index.insert(start, Entry::locked_empty(order));
        });
        self.wake_entry(large.start, Wake::All);
        Grab::Locked(Locked { start, found: Entry::locked_empty(order).unlocked() })
    }

    fn look(&self, index: &mut Index, page: PageIndex, order: Order, split: bool) -> Look<C::Seam> {
        if index.has_smaller(page, order) {
            cover(Branch::LookConflict);
            return Look::Done(Grab::Conflict);
        }
        let Some(slot) = index.find(page) else {
            cover(Branch::LookInserts);
            let start = page.round_down(order);
            index.insert(start, Entry::locked_empty(order));
            let found = Entry::locked_empty(order).unlocked();
            return Look::Done(Grab::Locked(Locked { start, found }));
        };
        if slot.entry.is_locked() {
            cover(Branch::LookWaits);
            let queue = if left_out(Step::WaitOnEntryStart) { page } else { slot.start };
            return Look::Wait(self.waits.join(self.key(queue), true));
        }
        index.update(slot.start, |entry, _| *entry = entry.locked());
        let locked = Locked { start: slot.start, found: slot.entry };
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
        index: &mut Index,
        start: PageIndex,
        order: Order,
        fits: impl Fn(Entry) -> bool,
    ) -> Option<Locked> {
        match index.first_in(start.unit(order)) {
            None => {
                cover(Branch::TryInserts);
                index.insert(start, Entry::locked_empty(order));
                Some(Locked { start, found: Entry::locked_empty(order).unlocked() })
            }
            Some(slot)
                if slot.start == start
                    && slot.entry.order() == order
                    && !slot.entry.is_locked()
                    && fits(slot.entry) =>
            {
                cover(Branch::TryTakes);
                index.update(start, |entry, _| *entry = entry.locked());
                Some(Locked { start, found: slot.entry })
            }
            Some(_) => {
                cover(Branch::TryRefused);
                None
            }
        }
    }

    /// Gives the entry back as it now is. A place-holder does not outlive its lock: it is
    /// removed, and all are woken; else one waiter is woken.
    pub(crate) fn unlock_entry(&self, locked: Locked) {
        let whom = self.index.with(|index| {
            let slot = index.find(locked.start).expect("a locked entry stays");
            assert!(slot.start == locked.start && slot.entry.is_locked(), "owned (I5)");
            if slot.entry.is_empty() {
                cover(Branch::UnlockPlaceHolder);
                index.remove(locked.start);
                return Wake::All;
            }
            cover(Branch::UnlockEntry);
            index.update(locked.start, |entry, _| *entry = entry.unlocked());
            Wake::One
        });
        self.wake_entry(locked.start, whom);
    }

    /// Removes an owned entry and wakes all who wait for it.
    pub(crate) fn discard_entry(&self, locked: Locked) {
        self.index.with(|index| {
            let slot = index.remove(locked.start);
            assert!(slot.entry.is_locked(), "owned (I5)");
        });
        self.wake_entry(locked.start, Wake::All);
    }

    pub(crate) fn wake_entry(&self, start: PageIndex, whom: Wake) {
        let whom = if left_out(Step::WakeAllOnRemove) { Wake::One } else { whom };
        self.waits.wake(self.key(start), whom);
    }

    /// Replaces what an owned entry shows; it stays locked. If it showed something else before,
    /// the marks are dropped: the caller has unmapped it and seen to its stores.
    pub(crate) fn set_entry(index: &mut Index, locked: &Locked, to: Entry, dirty: bool) {
        index.update(locked.start, |entry, marks| {
            assert!(entry.is_locked(), "owned (I5)");
            if !entry.same_target(to) {
                cover(Branch::SetOtherTarget);
                *marks = Marks::default();
            }
            *entry = to.locked();
            marks.dirty |= dirty;
        });
    }
}
