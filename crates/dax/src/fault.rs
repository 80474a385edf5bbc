//! Faults: an access met a page that shows nothing, or that may not be stored to.
//!
//! The entry lock is taken *first*, and only then is the block map asked. So the answer cannot go
//! stale: whoever changes the block map afterwards invalidates, finds the locked entry, and waits
//! for it. This closes the two races of the review of 2017: the write finds the locked entry and
//! sleeps on it, and so does a second fault.

use alloc::vec::Vec;
use core::slice::from_ref;

use limpid_pmem::Media as _;

use crate::ahead::StoreUnit;
use crate::canary::{Step, left_out};
use crate::cover::{Branch, cover};
use crate::entry::Entry;
use crate::error::{Fallback, FaultOutcome};
use crate::iomap::{Extent, Intent, Iomap};
use crate::lock::{Grab, Locked};
use crate::mapping::{Config, Mapping, count};
use crate::maps::Vma;
use crate::mmu::{MmuError, Target};
use crate::resolve::{Shown, Unresolved, Wants};
use crate::seam::{Mutex as _, RwLock as _};
use crate::units::{Order, PageIndex, PageRange};

/// What the access wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Load bytes.
    Load,
    /// Store bytes.
    Store,
}

pub(crate) type IomapError<C> = <<C as Config>::Iomap as Iomap>::Error;

/// One fault: which map, which page, and what the map wants to see.
pub(crate) struct Request<'a> {
    pub vma: &'a Vma,
    pub page: PageIndex,
    /// A store that goes to the file: storage is needed.
    pub store: bool,
    /// A store that goes to a private copy.
    pub private_store: bool,
    /// Whether storage is installed writable, and so counts as DIRTY (I3).
    pub writable: bool,
    /// Stores to holes take small pages.
    pub small: bool,
    /// What the block map said before the lock was taken; a planted bug (canary), else `None`.
    pub early: Option<Extent>,
}

/// What a fault shows, from its own entry on, and the owned entries behind that.
pub(crate) struct Run<'a, C: Config> {
    pub shown: Shown,
    pub behind: Vec<Locked<'a, C>>,
}

impl Request<'_> {
    fn wants(&self) -> Wants {
        match (self.store, self.writable) {
            (true, _) => Wants::Store,
            (false, true) => Wants::WritableLoad,
            (false, false) => Wants::Load,
        }
    }
}

impl<C: Config> Mapping<C> {
    /// Handles a fault of `access` at `page` of the file, in `vma`. Takes lock 2 shared, then
    /// entry locks, then 5 and 6 in turn; wants none held and leaves none.
    pub fn fault(&self, vma: &Vma, page: PageIndex, access: Access) -> FaultOutcome<IomapError<C>> {
        count(&self.counters.faults);
        let _invalidate = (!left_out(Step::FaultHoldsLock2)).then(|| self.invalidate_lock.shared());
        let mut request = Request {
            vma,
            page,
            store: access == Access::Store && vma.shared,
            private_store: access == Access::Store && !vma.shared,
            writable: false,
            small: false,
            early: None,
        };
        let unit = vma.store_unit.unwrap_or(self.policy.store_unit);
        request.small = request.store && unit == StoreUnit::Page;
        request.writable = vma.shared
            && vma.writable
            && (access == Access::Store || !vma.mmu.storage_stores_fault());
        if left_out(Step::LockBeforeLookup) && !request.store {
            let unit = page.unit(self.policy.largest);
            request.early = self.iomap.begin(unit, Intent::Read).ok();
            widen_window();
        }
        let mut order = self.preferred_order(&request);
        loop {
            let split = request.store;
            let Grab::Locked(locked) = self.grab_entry(page, order, split) else {
                cover(Branch::FaultConflict);
                order = self.fall_back(page, order, Fallback::Conflict);
                continue;
            };
            match self.resolve_run(&request, &locked) {
                Err(Unresolved::Smaller(reason)) => {
                    cover(Branch::FaultSmaller);
                    let tried = locked.order();
                    self.give_up_entry(locked);
                    order = self.fall_back(page, tried, reason);
                }
                Err(Unresolved::PastEnd) => {
                    cover(Branch::FaultPastEnd);
                    return self.poison(vma, locked, page, FaultOutcome::PastEnd);
                }
                Err(Unresolved::Failed(error)) => {
                    cover(Branch::FaultFailed);
                    if !request.store {
                        return self.poison(vma, locked, page, FaultOutcome::Failed(error));
                    }
                    let tried = locked.order();
                    match self.refuse_store(&request, locked, error) {
                        Some(outcome) => return outcome,
                        None => order = self.fall_back(page, tried, Fallback::Layout),
                    }
                }
                Ok(run) => return self.show_and_install(&request, locked, run),
            }
        }
    }

    /// Refuses a store that could not have storage. Nothing of the file has changed, so loads go
    /// on: the owned entry is resolved for a load, and shown to it. Done under the entry lock and
    /// lock 2, as any fault: whoever gives the page a block later finds the entry, waits for it,
    /// and unmaps what is installed here (I1, I2). Nothing becomes writable, so nothing is DIRTY
    /// (I3, I7). `None` if loads need smaller pages: the store is to be tried with them. Wants
    /// `locked` and lock 2 held; gives the entry back.
    fn refuse_store(
        &self,
        request: &Request<'_>,
        locked: Locked<'_, C>,
        error: IomapError<C>,
    ) -> Option<FaultOutcome<IomapError<C>>> {
        let (vma, page) = (request.vma, request.page);
        let only = PageRange::new(page.0, page.0 + 1);
        let (shown, target) = match self.resolve(&locked, Wants::Load, None) {
            Ok(shown @ Shown::Zero) => (shown, Target::LoadsOnly),
            Ok(shown @ Shown::Storage { device }) if vma.mmu.storage_stores_fault() => {
                cover(Branch::RefuseKeepsShared);
                let device = device + (page.offset() - locked.start.offset());
                (shown, Target::Storage { device, writable: false })
            }
            Err(Unresolved::Smaller(_)) => {
                cover(Branch::RefuseSmaller);
                self.give_up_entry(locked);
                return None;
            }
            _ => {
                cover(Branch::RefusePoisons);
                return Some(self.poison(vma, locked, page, FaultOutcome::Failed(error)));
            }
        };
        self.show(from_ref(&locked), shown, false);
        let installed = vma.mmu.install(only, target);
        locked.unlock();
        Some(match installed {
            Ok(()) => FaultOutcome::Failed(error),
            Err(error) => mmu_outcome(error),
        })
    }

    /// The largest order worth trying: the unit lies in the map and before the end of the file.
    /// Only a first guess; the end is looked at again under the entry lock.
    fn preferred_order(&self, request: &Request<'_>) -> Order {
        let page = request.page;
        if request.private_store {
            cover(Branch::OrderPrivateStore);
            self.note_fallback(page, Fallback::PrivateStore);
            return Order::Pte;
        }
        let end = self.end_page();
        if page < end && self.stores_small(request) {
            cover(Branch::OrderStoreUnit);
            self.note_fallback(page, Fallback::StoreUnit);
            return Order::Pte;
        }
        let mut order = self.policy.largest;
        while let Some(smaller) = order.smaller() {
            let unit = page.unit(order);
            let reason = if !request.vma.pages.covers(unit) || !request.vma.mmu.can_map_huge(page) {
                cover(Branch::OrderMapBounds);
                Fallback::MapBounds
            } else if unit.end > end {
                cover(Branch::OrderEndOfFile);
                Fallback::EndOfFile
            } else {
                return order;
            };
            if order == Order::Pmd && page < end {
                self.note_fallback(page, reason);
            }
            order = smaller;
        }
        order
    }

    fn fall_back(&self, page: PageIndex, order: Order, reason: Fallback) -> Order {
        self.note_fallback(page, reason);
        order.smaller().expect("a single page is never refused")
    }

    /// Gives back an entry that could not be resolved at its size. A place-holder vanishes with
    /// its lock. An entry that was there but no longer fits the block map is unmapped and removed,
    /// so that the next try does not find it again.
    pub(crate) fn give_up_entry(&self, locked: Locked<'_, C>) {
        if locked.found.is_empty() {
            cover(Branch::GiveUpPlaceHolder);
            locked.unlock();
        } else {
            cover(Branch::GiveUpEntry);
            self.unmap_range(locked.pages());
            self.flush_entry(locked.found);
            self.media.fence();
            locked.discard();
        }
    }

    /// Makes the page raise SIGBUS. Done under the entry lock and lock 2: an operation that makes
    /// the page accessible invalidates it, waits for this entry, and then unmaps the poison.
    fn poison(
        &self,
        vma: &Vma,
        locked: Locked<'_, C>,
        page: PageIndex,
        outcome: FaultOutcome<IomapError<C>>,
    ) -> FaultOutcome<IomapError<C>> {
        let installed = vma.mmu.install(PageRange::new(page.0, page.0 + 1), Target::Poison);
        locked.unlock();
        match installed {
            Ok(()) => outcome,
            Err(error) => mmu_outcome(error),
        }
    }

    /// What the owned entry should show, with entries behind it, whose locks are left held.
    fn resolve_run(
        &self,
        request: &Request<'_>,
        locked: &Locked<'_, C>,
    ) -> Result<Run<'_, C>, Unresolved<IomapError<C>>> {
        let end = self.end_page();
        if request.page >= end && !left_out(Step::CheckEndInFault) {
            return Err(Unresolved::PastEnd);
        }
        if locked.found.is_empty() && locked.pages().end > end && locked.order() > Order::Pte {
            cover(Branch::EndInsideUnit);
            return Err(Unresolved::Smaller(Fallback::EndOfFile));
        }
        if request.small
            && locked.order() == Order::Pte
            && !locked.found.is_storage()
            && let Some(run) = self.claim_ahead(request, locked, end)?
        {
            return Ok(run);
        }
        let shown = self.resolve(locked, request.wants(), request.early)?;
        if left_out(Step::UnmapAfterEntries) {
            widen_window();
        }
        let behind = if request.private_store || request.early.is_some() {
            Vec::new()
        } else {
            self.lock_around(request, locked, shown, end)
        };
        Ok(Run { shown, behind })
    }

    /// Shows and installs a run of owned entries, and gives them back.
    fn show_and_install(
        &self,
        request: &Request<'_>,
        locked: Locked<'_, C>,
        run: Run<'_, C>,
    ) -> FaultOutcome<IomapError<C>> {
        let mut all = Vec::from([locked]);
        all.extend(run.behind);
        self.show(&all, run.shown, request.writable);
        let outcome = self.install(request, &all, run.shown);
        all.into_iter().for_each(Locked::unlock);
        outcome
    }

    /// Writes what the owned entries show into the index. Where one showed something else, all
    /// maps of it are unmapped *before* it is replaced: else they would show the old thing
    /// without an entry (I1). DIRTY is set before anything becomes writable (I3).
    pub(crate) fn show(&self, run: &[Locked<'_, C>], shown: Shown, writable: bool) {
        let entry =
            |locked: &Locked<'_, C>| entry_for(shown, run[0].start, locked.start, locked.order());
        let replaced = |locked: &&Locked<'_, C>| {
            let to = entry(locked);
            !locked.found.is_empty() && !locked.found.same_target(to)
        };
        let mut replaced = run.iter().filter(replaced);
        if let Some(first) = replaced.next()
            && !left_out(Step::UnmapZeroOnReplace)
        {
            // One walk: what lies between is owned, too.
            cover(Branch::ShowReplaces);
            let last = replaced.next_back().unwrap_or(first);
            self.unmap_range(PageRange { start: first.start, end: last.pages().end });
        }
        self.index.with(|index| {
            for locked in run {
                let to = entry(locked);
                let dirty = writable && to.is_storage() && !left_out(Step::MarkDirtyBeforeMap);
                locked.set(index, to, dirty);
            }
        });
    }

    fn install(
        &self,
        request: &Request<'_>,
        run: &[Locked<'_, C>],
        shown: Shown,
    ) -> FaultOutcome<IomapError<C>> {
        let vma = request.vma;
        let owned = PageRange { start: run[0].start, end: run[run.len() - 1].pages().end };
        let mut pages = owned.intersect(vma.pages);
        let mut target = match shown {
            Shown::Zero => Target::Zero,
            Shown::Storage { device } => Target::Storage {
                device: device + (pages.start.offset() - owned.start.offset()),
                writable: request.writable,
            },
        };
        if request.private_store {
            pages = PageRange::new(request.page.0, request.page.0 + 1);
            let device = match shown {
                Shown::Zero => None,
                Shown::Storage { device } => {
                    Some(device + (pages.start.offset() - owned.start.offset()))
                }
            };
            cover(Branch::InstallPrivate);
            target = Target::Private { device };
        }
        if pages.contains(request.page) && owned.len() > 1 && run[0].order() > Order::Pte {
            self.reasons.with(|reasons| reasons.forget(request.page));
        }
        match vma.mmu.install(pages, target) {
            Ok(()) => FaultOutcome::Installed,
            Err(error) => mmu_outcome(error),
        }
    }
}

/// Makes the window of a planted bug one that threads on real page tables can hit.
fn widen_window() {
    (0..3000).for_each(|_| core::hint::spin_loop());
}

/// The entry of `order` that shows, at `start`, the run of which page `first` shows `shown`.
pub(crate) fn entry_for(shown: Shown, first: PageIndex, start: PageIndex, order: Order) -> Entry {
    match shown {
        Shown::Zero => Entry::zero(order),
        Shown::Storage { device } => {
            Entry::storage(device + (start.offset() - first.offset()), order)
        }
    }
}

fn mmu_outcome<E>(error: MmuError) -> FaultOutcome<E> {
    cover(Branch::InstallRefused);
    match error {
        MmuError::NoMemory => FaultOutcome::NoMemory,
        MmuError::Gone => FaultOutcome::Gone,
    }
}
