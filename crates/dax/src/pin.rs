//! Taking pins: storage whose device address is handed out and that must not move.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::slice::from_ref;

use crate::canary::{Step, left_out};
use crate::cover::{Branch, cover};
use crate::error::DaxError;
use crate::fault::IomapError;
use crate::iomap::{Backing, Extent, Intent, Iomap};
use crate::lock::Grab;
use crate::mapping::{Config, Mapping};
use crate::resolve::{Unresolved, Wants};
use crate::seam::{Mutex as _, RwLock as _};
use crate::units::{PageIndex, PageRange};
use crate::wait::{Key, Wake};

/// A live pin. While it exists the blocks of its pages stay where they are and stay this file's;
/// stores to them count as stores through a map.
pub struct Pin<C: Config> {
    mapping: Arc<Mapping<C>>,
    pages: PageRange,
    extents: Vec<Extent>,
}

impl<C: Config> Pin<C> {
    /// Where the pinned pages lie on the medium, in file order.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }
}

impl<C: Config> Drop for Pin<C> {
    fn drop(&mut self) {
        // Stores by device address are noted by no page table. The next writeback has to write
        // all of the entries; marked before the pin goes, or a writeback in between would see
        // neither and clear DIRTY (I4).
        if !left_out(Step::MarkWholeOnRelease) {
            self.mapping.mark_whole(self.pages);
        }
        self.mapping.pins.with(|pins| pins.remove(self.pages));
        self.mapping.waits.wake(Key::pins(self.mapping.file), Wake::All);
    }
}

impl<C: Config> Mapping<C> {
    /// Pins `pages`, which must lie before the end of the file; holes and unwritten pages get
    /// zeroed storage, shared ones a copy. Takes lock 2 shared, then one entry lock at a time.
    pub fn pin(self: &Arc<Self>, pages: PageRange) -> Result<Pin<C>, DaxError<IomapError<C>>> {
        let _invalidate = self.invalidate_lock.shared();
        if pages.is_empty() || pages.end > self.end_page() {
            cover(Branch::PinRefused);
            let bytes = pages.bytes();
            return Err(DaxError::TooLarge { at: bytes.start, len: bytes.end - bytes.start });
        }
        // The pin stands before the storage is claimed: a writeback in between would clear DIRTY,
        // and the stores by device address, which nothing notes, would be lost (I4). Lock 2 keeps
        // out who would wait for the pin. If claiming fails, dropping the pin takes it back.
        if !left_out(Step::PinBeforeClaim) {
            self.pins.with(|pins| pins.add(pages));
        }
        let mut pin = Pin { mapping: self.clone(), pages, extents: Vec::new() };
        let mut at = pages.start;
        while at < pages.end {
            at = self.claim_storage(at, pages)?;
        }
        if left_out(Step::PinBeforeClaim) {
            self.pins.with(|pins| pins.add(pages));
        }
        let mut at = pages.start;
        while at < pages.end {
            let rest = PageRange { start: at, end: pages.end };
            let extent = self.iomap.begin(rest, Intent::Read).map_err(DaxError::Iomap)?;
            assert_eq!(extent.backing, Backing::Mapped, "lock 2 keeps the storage in place");
            at = extent.pages.end;
            pin.extents.push(extent);
        }
        Ok(pin)
    }

    /// Gives the entry of `page` storage, as a store fault would, and marks it DIRTY, without
    /// mapping it anywhere: stores through a pin reach the medium at the next writeback (C4).
    /// Returns the page after the entry.
    fn claim_storage(
        &self,
        page: PageIndex,
        pages: PageRange,
    ) -> Result<PageIndex, DaxError<IomapError<C>>> {
        let mut order = self.policy.largest;
        loop {
            while !pages.covers(page.unit(order)) {
                cover(Branch::PinInPartOfUnit);
                order = order.smaller().expect("the page itself lies in the range");
            }
            let Grab::Locked(locked) = self.grab_entry(page, order, true) else {
                cover(Branch::PinConflict);
                order = order.smaller().expect("nothing is smaller than a page");
                continue;
            };
            match self.resolve(&locked, Wants::Store, None) {
                Ok(shown) => {
                    cover(Branch::PinClaims);
                    self.show(from_ref(&locked), shown, true);
                    let end = locked.pages().end;
                    locked.unlock();
                    return Ok(end);
                }
                Err(Unresolved::Smaller(_)) => {
                    cover(Branch::PinSmaller);
                    order = locked.order().smaller().expect("a page is never refused");
                    self.give_up_entry(locked);
                }
                Err(Unresolved::Failed(error)) => {
                    cover(Branch::PinFails);
                    locked.unlock();
                    return Err(DaxError::Iomap(error));
                }
                Err(Unresolved::PastEnd) => unreachable!("the end was checked under lock 2"),
            }
        }
    }
}
