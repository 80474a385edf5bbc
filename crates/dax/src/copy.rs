//! Copy on write: a write, or zeroes, for a part of a shared block.
//!
//! The whole block is copied, edges included, into a fresh one, unseen and with lock 1 at most. To
//! publish it is to give up the share of the old block: the others may free it, or write to it in
//! place. So no map of this file may show it from then on, and the order of a write into a hole
//! (publish, then invalidate) would be wrong. Instead lock 2 is taken exclusive, which keeps faults
//! out; the range is unmapped, its entries are deleted, and then the copy is published.
//!
//! No DIRTY mark has to be cleared first (B9 of Linux: such an entry was kept, and with it the old
//! block): a shared block never has a DIRTY entry, since sharing writes entries back and removes
//! them, and no fault installs shared blocks writable. A DIRTY entry that is met here is that of a
//! fault that published its own copy first; it stays.

use core::ops::Range;
use core::slice::from_mut;

use limpid_pmem::{Media as _, MediaError, Persist};

use crate::canary::{Step, left_out};
use crate::cover::{Branch, cover};
use crate::error::DaxError;
use crate::fault::IomapError;
use crate::invalidate::Dirty;
use crate::iomap::{Backing, Extent, Intent, Published};
use crate::mapping::{Config, Mapping};
use crate::seam::{Mutex as _, RwLock as _};
use crate::units::PageRange;
use crate::unpublished::Unpublished;

impl<C: Config> Mapping<C> {
    /// Copies what lies around the bytes `written` in a [`Backing::Copy`] extent, from the shared
    /// blocks that begin at device offset `from`. Their contents need no lock; see `claim`.
    pub(crate) fn copy_edges(
        &self,
        extent: &Extent,
        from: u64,
        written: Range<u64>,
    ) -> Result<(), MediaError> {
        cover(Branch::CopyEdges);
        let bytes = extent.pages.bytes();
        for edge in [bytes.start..written.start, written.end..bytes.end] {
            if edge.start < edge.end && !left_out(Step::CopyEdges) {
                let source = from + (edge.start - bytes.start);
                let to = extent.device_at(edge.start);
                self.media.copy(source, to, edge.end - edge.start, Persist::Yes)?;
            }
        }
        Ok(())
    }

    /// Publishes extents of which some are copies. Wants lock 1 exclusive. On return no page table
    /// and no entry of this file knows the blocks that were replaced, and none did when they were.
    ///
    /// Pins need not be waited for: pinned pages are not shared, so what was copied for one is not
    /// published.
    pub(crate) fn publish_copies(
        &self,
        extents: &mut [Unpublished<'_, C>],
        written: Range<u64>,
        extend: bool,
        lock2: Lock2,
    ) -> Result<Published, IomapError<C>> {
        cover(Branch::PublishCopies);
        let free = lock2 == Lock2::Free && !left_out(Step::CopyHoldsLock2);
        let _faults_wait = free.then(|| self.invalidate_lock.exclusive());
        if !left_out(Step::UnmapCopied) {
            let pages = PageRange::covering(&written);
            self.unmap_range(self.index.with(|index| index.round_out(pages)));
            self.remove_entries(pages, Dirty::Keep, &mut self.forgotten());
        }
        self.publish_extents(extents, written, extend)
    }

    /// Zeroes bytes of one page whose block is shared, in a copy. Wants lock 1 exclusive.
    pub(crate) fn zero_in_copy(
        &self,
        bytes: Range<u64>,
        lock2: Lock2,
    ) -> Result<(), DaxError<IomapError<C>>> {
        let pages = PageRange::covering(&bytes);
        let mut extent = self.ask(pages, Intent::Write).map_err(DaxError::Iomap)?;
        let Backing::Copy { from } = extent.backing else {
            cover(Branch::ZeroCopyTooLate);
            return self.zero_in_page(bytes, lock2);
        };
        let device = extent.device_at(bytes.start);
        let zeroed = self.media.zero(device..device + (bytes.end - bytes.start), Persist::Yes);
        if let Err(error) = zeroed.and_then(|()| self.copy_edges(&extent, from, bytes.clone())) {
            cover(Branch::ZeroCopyFails);
            return Err(error.into());
        }
        let published = self.publish_copies(from_mut(&mut extent), pages.bytes(), false, lock2);
        if published.map_err(DaxError::Iomap)? == Published::Some {
            // A fault copied it first, or the others let go of it; lock 1 keeps it from being
            // shared again.
            cover(Branch::ZeroCopyLost);
            return self.zero_in_page(bytes, lock2);
        }
        cover(Branch::ZeroCopies);
        Ok(())
    }
}

/// Whether the caller holds lock 2 exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock2 {
    Free,
    Held,
}
