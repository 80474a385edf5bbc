//! Fresh blocks on their way into a file.

use alloc::vec::Vec;
use core::ops::{Deref, Range};

use limpid_pmem::{Media as _, MediaError, Persist};

use crate::canary::{Step, left_out};
use crate::cover::{Branch, cover};
use crate::fault::IomapError;
use crate::iomap::{Extent, Intent, Iomap, Published};
use crate::mapping::{Config, Mapping};
use crate::units::PageRange;

/// An answer of the block map. Fresh blocks in it, which nobody can see, are given back when it
/// goes out of scope, on unwind too: else nobody would have them.
#[must_use]
pub(crate) struct Unpublished<'a, C: Config> {
    iomap: &'a C::Iomap,
    extent: Extent,
    /// Not handed to the block map yet.
    ours: bool,
}

impl<C: Config> Unpublished<'_, C> {
    /// The extent, to be given to [`Iomap::publish`], which has the blocks from then on.
    fn hand_over(&mut self) -> Extent {
        self.ours = false;
        self.extent
    }
}

impl<C: Config> Deref for Unpublished<'_, C> {
    type Target = Extent;
    fn deref(&self) -> &Extent {
        &self.extent
    }
}

impl<C: Config> Drop for Unpublished<'_, C> {
    fn drop(&mut self) {
        if self.ours && self.extent.backing.is_fresh() && !left_out(Step::AbandonFresh) {
            cover(Branch::UnpublishedGivenBack);
            self.iomap.abandon(&self.extent);
        }
    }
}

impl<C: Config> Mapping<C> {
    /// Asks the block map.
    pub(crate) fn ask(
        &self,
        pages: PageRange,
        intent: Intent,
    ) -> Result<Unpublished<'_, C>, IomapError<C>> {
        Ok(self.answered(self.iomap.begin(pages, intent)?))
    }

    /// What the block map has answered.
    pub(crate) fn answered(&self, extent: Extent) -> Unpublished<'_, C> {
        Unpublished { iomap: &self.iomap, extent, ours: true }
    }

    /// Publishes with the parts that were not written zeroed by this layer.
    pub(crate) fn publish_extents(
        &self,
        extents: &mut [Unpublished<'_, C>],
        written: Range<u64>,
        extend: bool,
    ) -> Result<Published, IomapError<C>> {
        let mut zero =
            |range: Range<u64>| -> Result<(), MediaError> { self.media.zero(range, Persist::Yes) };
        let extents: Vec<_> = extents.iter_mut().map(Unpublished::hand_over).collect();
        self.iomap.publish(&extents, written, extend, &mut zero)
    }
}
