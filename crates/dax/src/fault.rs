//! Faults: an access met a page that shows nothing, or that may not be stored to.
//!
//! The entry lock is taken *first*, and only then is the block map asked. So the answer cannot go
//! stale: whoever changes the block map afterwards invalidates, finds the locked entry, and waits
//! for it. This closes the two races of the review of 2017: the write finds the locked entry and
//! sleeps on it, and so does a second fault.

use alloc::vec::Vec;
use core::ops::Range;

use limpid_pmem::{Media as _, MediaError, Persist};

use crate::canary::{Step, left_out};
use crate::cover::{Branch, cover};
use crate::entry::Entry;
use crate::error::{Fallback, FaultOutcome};
use crate::iomap::{Backing, Extent, Intent, Iomap, Published};
use crate::lock::{Grab, Locked};
use crate::mapping::{Config, Mapping, count};
use crate::maps::Vma;
use crate::mmu::{MmuError, Target};
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

/// What the pages of an owned entry should show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Zero,
    Storage { device: u64 },
}

/// Why an owned entry could not be resolved.
pub(crate) enum Unresolved<E> {
    /// The unit cannot be shown as a whole: try smaller pages.
    Smaller(Fallback),
    PastEnd,
    Failed(E),
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
    /// What the block map said before the lock was taken; a planted bug (canary), else `None`.
    pub early: Option<Extent>,
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
            early: None,
        };
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
            match self.fault_locked(&request, locked) {
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
                    return self.poison(vma, locked, page, FaultOutcome::Failed(error));
                }
                Ok(outcome) => return outcome,
            }
        }
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
        let mut order = self.policy.largest;
        let end = self.end_page();
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
    pub(crate) fn give_up_entry(&self, locked: Locked) {
        if locked.found.is_empty() {
            cover(Branch::GiveUpPlaceHolder);
            self.unlock_entry(locked);
        } else {
            cover(Branch::GiveUpEntry);
            self.unmap_range(locked.pages());
            self.flush_entry(locked.found);
            self.media.fence();
            self.discard_entry(locked);
        }
    }

    /// Makes the page raise SIGBUS. Done under the entry lock and lock 2: an operation that makes
    /// the page accessible invalidates it, waits for this entry, and then unmaps the poison.
    fn poison(
        &self,
        vma: &Vma,
        locked: Locked,
        page: PageIndex,
        outcome: FaultOutcome<IomapError<C>>,
    ) -> FaultOutcome<IomapError<C>> {
        let installed = vma.mmu.install(PageRange::new(page.0, page.0 + 1), Target::Poison);
        self.unlock_entry(locked);
        match installed {
            Ok(()) => outcome,
            Err(error) => mmu_outcome(error),
        }
    }

    /// Resolves and installs with the entry owned; on success the entry is given back.
    fn fault_locked(
        &self,
        request: &Request<'_>,
        locked: Locked,
    ) -> Result<FaultOutcome<IomapError<C>>, Unresolved<IomapError<C>>> {
        let end = self.end_page();
        if request.page >= end && !left_out(Step::CheckEndInFault) {
            return Err(Unresolved::PastEnd);
        }
        if locked.found.is_empty() && locked.pages().end > end && locked.order() > Order::Pte {
            cover(Branch::EndInsideUnit);
            return Err(Unresolved::Smaller(Fallback::EndOfFile));
        }
        let shown = self.resolve(&locked, request.store, request.early)?;
        if left_out(Step::UnmapAfterEntries) {
            widen_window();
        }
        let run = if request.private_store || request.early.is_some() {
            Vec::from([locked])
        } else {
            self.lock_around(request.vma, locked, shown, end)
        };
        self.show(&run, shown, request.writable);
        let outcome = self.install(request, &run, shown);
        for locked in run {
            self.unlock_entry(locked);
        }
        Ok(outcome)
    }

    /// Asks the block map what the entry should show; allocates for a store.
    pub(crate) fn resolve(
        &self,
        locked: &Locked,
        store: bool,
        early: Option<Extent>,
    ) -> Result<Shown, Unresolved<IomapError<C>>> {
        let pages = locked.pages();
        let intent = if store { Intent::Write } else { Intent::Read };
        loop {
            let extent = match early {
                Some(extent) if extent.pages.covers(pages) => extent.clip(pages),
                _ => self.iomap.begin(pages, intent).map_err(Unresolved::Failed)?,
            };
            let whole = extent.pages.covers(pages) && aligned(extent.device, locked.order());
            match extent.backing {
                Backing::Mapped if whole => {
                    cover(Branch::ResolveMapped);
                    return Ok(Shown::Storage { device: extent.device });
                }
                Backing::Mapped => {
                    cover(Branch::ResolveMappedInPart);
                    return Err(Unresolved::Smaller(Fallback::Layout));
                }
                Backing::Hole | Backing::Unwritten if !store => {
                    if self.all_zero(pages, extent)? {
                        cover(Branch::ResolveZero);
                        return Ok(Shown::Zero);
                    }
                    cover(Branch::ResolveZeroInPart);
                    return Err(Unresolved::Smaller(Fallback::Layout));
                }
                Backing::New | Backing::Unwritten if whole => {
                    // The zeroes go before the storage is published: from then on a write goes
                    // into it in place and returns, and no map may show zeroes any more (C2).
                    if locked.found.is_zero()
                        && !left_out(Step::UnmapZeroOnReplace)
                        && !left_out(Step::UnmapBeforePublish)
                    {
                        cover(Branch::ResolveUnmapsZeroes);
                        self.unmap_range(pages);
                    }
                    if self.claim(&extent)? == Published::All {
                        cover(Branch::ClaimPublished);
                        return Ok(Shown::Storage { device: extent.device });
                    }
                    // A write published a block here meanwhile: the next answer is its block.
                    cover(Branch::ClaimLost);
                }
                Backing::New => {
                    cover(Branch::ResolveNewInPart);
                    self.iomap.abandon(&extent);
                    return Err(Unresolved::Smaller(Fallback::NoSpace));
                }
                Backing::Unwritten => {
                    cover(Branch::ResolveUnwrittenInPart);
                    return Err(Unresolved::Smaller(Fallback::Layout));
                }
                Backing::Hole => unreachable!("a hole is answered by New for a store"),
            }
        }
    }

    /// True if all of `pages` read as zeroes, given the extent of their beginning.
    fn all_zero(&self, pages: PageRange, first: Extent) -> Result<bool, Unresolved<IomapError<C>>> {
        let mut at = first.pages.end;
        while at < pages.end {
            cover(Branch::ZeroInSeveralExtents);
            let rest = PageRange { start: at, end: pages.end };
            let extent = self.iomap.begin(rest, Intent::Read).map_err(Unresolved::Failed)?;
            if !matches!(extent.backing, Backing::Hole | Backing::Unwritten) {
                return Ok(false);
            }
            at = extent.pages.end;
        }
        Ok(true)
    }

    /// Makes fresh or unwritten blocks show zeroes and publishes them. Fresh blocks are zeroed
    /// before, unseen; unwritten ones under the block map's lock, because a write may be copying
    /// into them and would lose its bytes otherwise.
    fn claim(&self, extent: &Extent) -> Result<Published, Unresolved<IomapError<C>>> {
        let bytes = extent.pages.bytes();
        let mut written = bytes.start..bytes.start;
        if extent.backing == Backing::New && left_out(Step::ZeroFreshBlocks) {
            written = bytes;
        } else if extent.backing == Backing::New {
            cover(Branch::ClaimZeroesFresh);
            let device = extent.device..extent.device + (bytes.end - bytes.start);
            if let Err(error) = self.media.zero(device, Persist::Yes) {
                cover(Branch::ClaimZeroFails);
                self.iomap.abandon(extent);
                return Err(Unresolved::Failed(error.into()));
            }
            written = bytes;
        }
        self.publish_extents(&[*extent], written, false).map_err(Unresolved::Failed)
    }

    /// Publishes with the parts that were not written zeroed by this layer.
    pub(crate) fn publish_extents(
        &self,
        extents: &[Extent],
        written: Range<u64>,
        extend: bool,
    ) -> Result<Published, IomapError<C>> {
        let mut zero =
            |range: Range<u64>| -> Result<(), MediaError> { self.media.zero(range, Persist::Yes) };
        self.iomap.publish(extents, written, extend, &mut zero)
    }

    /// Writes what the owned entries show into the index. Where one showed something else, all
    /// maps of it are unmapped *before* it is replaced: else they would show the old thing
    /// without an entry (I1). DIRTY is set before anything becomes writable (I3).
    pub(crate) fn show(&self, run: &[Locked], shown: Shown, writable: bool) {
        for locked in run {
            let to = entry_for(shown, run[0].start, locked);
            if !locked.found.is_empty()
                && !locked.found.same_target(to)
                && !left_out(Step::UnmapZeroOnReplace)
            {
                cover(Branch::ShowReplaces);
                self.unmap_range(locked.pages());
            }
        }
        self.index.with(|index| {
            for locked in run {
                let to = entry_for(shown, run[0].start, locked);
                let dirty = writable && to.is_storage() && !left_out(Step::MarkDirtyBeforeMap);
                Self::set_entry(index, locked, to, dirty);
            }
        });
    }

    fn install(
        &self,
        request: &Request<'_>,
        run: &[Locked],
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
            self.reasons.with(|reasons| reasons.remove(&request.page.round_down(Order::Pmd).0));
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

/// The entry that shows `shown` at `locked`, when `shown` is what the run's first page shows.
pub(crate) fn entry_for(shown: Shown, first: PageIndex, locked: &Locked) -> Entry {
    match shown {
        Shown::Zero => Entry::zero(locked.order()),
        Shown::Storage { device } => {
            Entry::storage(device + (locked.start.offset() - first.offset()), locked.order())
        }
    }
}

fn aligned(device: u64, order: Order) -> bool {
    device.is_multiple_of(order.bytes())
}

fn mmu_outcome<E>(error: MmuError) -> FaultOutcome<E> {
    cover(Branch::InstallRefused);
    match error {
        MmuError::NoMemory => FaultOutcome::NoMemory,
        MmuError::Gone => FaultOutcome::Gone,
    }
}
