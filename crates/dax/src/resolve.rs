//! Resolving: what an owned entry should show, by the block map's word; storage is claimed where it
//! is stored to.
//!
//! Shared blocks are never mapped writable, so no store reaches them: a store copies them first.
//! The copy is of whole pages and unseen until it is published; the maps that show the shared
//! blocks go before that, and the entry lock keeps them away.

use core::slice::from_mut;

use limpid_pmem::{Media as _, MediaError, Persist};

use crate::canary::{Step, left_out};
use crate::cover::{Branch, cover};
use crate::error::Fallback;
use crate::fault::IomapError;
use crate::iomap::{Backing, Extent, Intent, Iomap, Published};
use crate::lock::Locked;
use crate::mapping::{Config, Mapping};
use crate::units::{Order, PageRange};
use crate::unpublished::Unpublished;

/// What an entry is resolved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// To be loaded from, and mapped read-only.
    Load,
    /// To be loaded from, in page tables where storage is always writable: it must be the file's
    /// alone.
    WritableLoad,
    /// To be stored to.
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

impl<C: Config> Mapping<C> {
    /// Asks the block map what the entry should show; allocates, and copies shared blocks, where
    /// the file is stored to.
    pub(crate) fn resolve(
        &self,
        locked: &Locked<'_, C>,
        wants: Wants,
        mut early: Option<Extent>,
    ) -> Result<Shown, Unresolved<IomapError<C>>> {
        let pages = locked.pages();
        let store = wants == Wants::Store;
        let mut intent = if store { Intent::Write } else { Intent::Read };
        loop {
            let extent = match early.take() {
                Some(extent) if extent.pages.covers(pages) => self.answered(extent.clip(pages)),
                _ => self.ask(pages, intent).map_err(Unresolved::Failed)?,
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
                Backing::Shared if wants == Wants::WritableLoad => {
                    // A store through what is installed would not fault, so it is copied now.
                    cover(Branch::ResolveCopiesForLoad);
                    intent = Intent::Write;
                }
                Backing::Shared if whole => {
                    cover(Branch::ResolveShared);
                    return Ok(Shown::Storage { device: extent.device });
                }
                Backing::Shared => {
                    cover(Branch::ResolveSharedInPart);
                    return Err(Unresolved::Smaller(Fallback::Layout));
                }
                Backing::Copy { from } if left_out(Step::CopyShared) => {
                    return Ok(Shown::Storage { device: from });
                }
                Backing::Hole | Backing::Unwritten if !store => {
                    return self.resolve_zero(pages, *extent);
                }
                Backing::New | Backing::Copy { .. } | Backing::Unwritten if whole => {
                    self.unmap_before_publish(locked);
                    let device = extent.device;
                    if self.claim(extent)? == Published::All {
                        cover(Branch::ClaimPublished);
                        return Ok(Shown::Storage { device });
                    }
                    // A write published a block here meanwhile: the next answer is its block.
                    cover(Branch::ClaimLost);
                }
                Backing::New | Backing::Copy { .. } => {
                    cover(Branch::ResolveNewInPart);
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

    /// Unmaps the zeroes, or the shared storage, that an owned entry was found with. They go before
    /// the new storage is published: from then on a write goes into it in place and returns, and
    /// no map may show what was there before any more (C1, C2).
    fn unmap_before_publish(&self, locked: &Locked<'_, C>) {
        if locked.found.is_zero()
            && !left_out(Step::UnmapZeroOnReplace)
            && !left_out(Step::UnmapBeforePublish)
        {
            cover(Branch::ResolveUnmapsZeroes);
            self.unmap_range(locked.pages());
        }
        if locked.found.is_storage() && !left_out(Step::UnmapBeforeCopy) {
            cover(Branch::ResolveUnmapsShared);
            self.unmap_range(locked.pages());
        }
    }

    /// Zeroes, if all of `pages` read so, given the extent of their beginning.
    fn resolve_zero(
        &self,
        pages: PageRange,
        first: Extent,
    ) -> Result<Shown, Unresolved<IomapError<C>>> {
        if self.all_zero(pages, first)? {
            cover(Branch::ResolveZero);
            return Ok(Shown::Zero);
        }
        cover(Branch::ResolveZeroInPart);
        Err(Unresolved::Smaller(Fallback::Layout))
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

    /// Makes fresh or unwritten blocks show zeroes, or what the shared ones show that they replace,
    /// and publishes them. Fresh blocks are filled before, unseen; unwritten ones under the block
    /// map's lock, because a write may be copying into them and would lose its bytes otherwise.
    ///
    /// Shared blocks are copied without a lock on their contents. Nobody writes to them while they
    /// are shared; if they cease to be meanwhile, a write may go into them in place, but then the
    /// copy is not published. They cannot become shared again before it would be: that takes lock
    /// 2 exclusive.
    pub(crate) fn claim(
        &self,
        mut extent: Unpublished<'_, C>,
    ) -> Result<Published, Unresolved<IomapError<C>>> {
        let bytes = extent.pages.bytes();
        let mut written = bytes.start..bytes.start;
        if extent.backing.is_fresh() {
            if let Err(error) = self.fill_fresh(&extent) {
                cover(Branch::ClaimFillFails);
                return Err(Unresolved::Failed(error.into()));
            }
            written = bytes;
        }
        self.publish_extents(from_mut(&mut extent), written, false).map_err(Unresolved::Failed)
    }

    /// Writes zeroes to fresh blocks, or a copy of the shared ones that they are to replace.
    fn fill_fresh(&self, extent: &Extent) -> Result<(), MediaError> {
        let len = extent.pages.bytes().end - extent.pages.bytes().start;
        match extent.backing {
            Backing::Copy { from } if !left_out(Step::CopyContents) => {
                cover(Branch::ClaimCopies);
                self.media.copy(from, extent.device, len, Persist::Yes)
            }
            _ if left_out(Step::ZeroFreshBlocks) => Ok(()),
            _ => {
                cover(Branch::ClaimZeroesFresh);
                self.media.zero(extent.device..extent.device + len, Persist::Yes)
            }
        }
    }
}

fn aligned(device: u64, order: Order) -> bool {
    device.is_multiple_of(order.bytes())
}
