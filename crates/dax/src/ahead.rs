//! What a store to a hole takes: the page it stores to, and, where stores follow one another, some
//! of the hole behind it.
//!
//! With [`StoreUnit::Page`] a store fault claims one page, so that few bytes cost little space. It
//! claims as many pages more as lie before it in one piece, by powers of two, up to
//! [`FaultPolicy::ahead`](crate::FaultPolicy::ahead) and to the end of the 2 MiB unit. Stores in
//! rising order fault 1, 2, 4 pages apart, and soon a whole unit, which is then claimed as one;
//! what lies ahead at most doubles what the file has there. Nothing is remembered between faults:
//! the block map tells.
//!
//! The pages ahead get blocks only under their own entry locks, which are taken without waiting,
//! as fault-around does it (no deadlock: the only lock that is waited for is the first). An entry
//! that shows zeroes is unmapped before its block is published, like the fault's own. So an entry
//! that is not owned never disagrees with the block map (I2), and a write or a second fault that
//! meets one of these pages waits, or is lost by the conditional publish. All of them are DIRTY
//! before they are installed (I3).

use alloc::vec::Vec;

use crate::canary::{Step, left_out};
use crate::cover::{Branch, cover};
use crate::fault::{IomapError, Request, Run};
use crate::iomap::{Backing, Intent, Iomap, Published};
use crate::lock::Locked;
use crate::mapping::{Config, Mapping};
use crate::resolve::{Shown, Unresolved};
use crate::seam::Mutex as _;
use crate::units::{Order, PAGE_SHIFT, PageIndex, PageRange};

/// What a store through a map to a hole takes of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreUnit {
    /// Pages of 4 KiB, with an allocation ahead that grows while stores follow one another.
    Page,
    /// A whole aligned unit of 2 MiB where there is one in the file, the map and the free space:
    /// the store gets a 2 MiB page if the medium has them, and the rest of the unit is zeroes on
    /// blocks of its own.
    Huge,
}

impl<C: Config> Mapping<C> {
    /// True if a store to `page` takes small pages although its whole unit may be a hole. Only a
    /// guess of the order to try: no lock is held.
    pub(crate) fn stores_small(&self, request: &Request<'_>) -> bool {
        let (page, unit) = (request.page, request.page.unit(Order::Pmd));
        if !request.small {
            return false;
        }
        let rest = PageRange { start: page, end: unit.end };
        let hole = self.iomap.begin(rest, Intent::Read);
        if !hole.is_ok_and(|extent| extent.backing == Backing::Hole) {
            return false;
        }
        page > unit.start || self.pages_ahead(page) < unit.len()
    }

    /// How many pages a store to a hole at `page` takes.
    fn pages_ahead(&self, page: PageIndex) -> u64 {
        let most = self.policy.ahead.min(Order::Pmd.bytes()) >> PAGE_SHIFT;
        let mut len = 1;
        while 2 * len <= most && self.has_data_before(page, 2 * len) {
            len *= 2;
        }
        len
    }

    /// True if the `len` pages before `page` are data in one piece.
    fn has_data_before(&self, page: PageIndex, len: u64) -> bool {
        let Some(start) = page.0.checked_sub(len) else { return false };
        let before = PageRange { start: PageIndex(start), end: page };
        let extent = self.iomap.begin(before, Intent::Read);
        extent.is_ok_and(|extent| extent.backing == Backing::Mapped && extent.pages.covers(before))
    }

    /// Claims storage for the page of a store, whose small entry is owned and shows none, and for
    /// pages behind it. `None` if the page is no hole (any more), or was lost to a write: it is to
    /// be resolved alone. Wants `locked` and lock 2 held; leaves the locks of the returned entries
    /// held.
    pub(crate) fn claim_ahead(
        &self,
        request: &Request<'_>,
        locked: &Locked<'_, C>,
        end: PageIndex,
    ) -> Result<Option<Run<'_, C>>, Unresolved<IomapError<C>>> {
        let start = locked.start;
        let len = self.pages_ahead(start);
        let window = PageRange { start, end: PageIndex(start.0 + len) };
        let window = window.intersect(start.unit(Order::Pmd)).intersect(request.vma.pages);
        let window = window.intersect(PageRange { start, end });
        if window.len() < 2 {
            return Ok(None);
        }
        let mut behind = Vec::new();
        if !left_out(Step::LockAhead) {
            self.index.with(|index| {
                for page in (start.0 + 1..window.end.0).map(PageIndex) {
                    match self.try_grab(index, page, Order::Pte, |entry| !entry.is_storage()) {
                        Some(next) => behind.push(next),
                        None => {
                            cover(Branch::AheadStops);
                            break;
                        }
                    }
                }
            });
        }
        let owned = PageRange { start, end: PageIndex(start.0 + 1 + behind.len() as u64) };
        let wanted = if left_out(Step::LockAhead) { window } else { owned };
        match self.claim_run(locked, &mut behind, wanted) {
            Ok(Some(shown)) => Ok(Some(Run { shown, behind })),
            other => {
                self.give_back_ahead(&mut behind, start);
                other.map(|_| None)
            }
        }
    }

    /// Claims the beginning of `wanted`, whose entries `locked` and `behind` are owned; those that
    /// get nothing are given back.
    fn claim_run(
        &self,
        locked: &Locked<'_, C>,
        behind: &mut Vec<Locked<'_, C>>,
        wanted: PageRange,
    ) -> Result<Option<Shown>, Unresolved<IomapError<C>>> {
        let extent = self.ask(wanted, Intent::Write).map_err(Unresolved::Failed)?;
        if extent.backing != Backing::New {
            cover(Branch::AheadNoHole);
            return Ok(None);
        }
        let device = extent.device;
        self.give_back_ahead(behind, PageIndex(extent.pages.end.0 - 1));
        if locked.found.is_zero() || behind.iter().any(|next| next.found.is_zero()) {
            cover(Branch::AheadUnmapsZeroes);
            let end = behind.last().unwrap_or(locked).pages().end;
            self.unmap_range(PageRange { start: wanted.start, end });
        }
        if self.claim(extent)? == Published::Some {
            cover(Branch::AheadLost);
            return Ok(None);
        }
        cover(Branch::AheadClaims);
        Ok(Some(Shown::Storage { device }))
    }

    /// Gives the entries of the pages behind `last` back. Their pages may have been given blocks,
    /// so none is left that shows zeroes (I2).
    fn give_back_ahead(&self, behind: &mut Vec<Locked<'_, C>>, last: PageIndex) {
        while let Some(extra) = behind.pop_if(|next| next.start > last) {
            self.give_up_entry(extra);
        }
    }
}
