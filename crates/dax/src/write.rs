//! Writing: copy, publish, invalidate.
//!
//! Bytes for a hole (or past the end) go into fresh blocks that nobody can see; the blocks and
//! the new size are published in one commit; then the range is invalidated, with one unmap for
//! the whole call. No block is ever visible before its bytes are (C3).
//!
//! A fault does not take the inode lock, so it may give a hole a block while the bytes are being
//! copied. Publishing is conditional, page by page: the pages that were lost are simply looked up
//! again, are found mapped, and the caller's bytes are copied in place; the other bytes of the
//! block are left alone (a loser that put its zeroed edges there would lose stores: bug A1).

use alloc::vec::Vec;
use core::slice::from_mut;

use crate::buffer::Source;
use crate::copy::Lock2;
use crate::cover::{Branch, cover};
use crate::error::DaxError;
use crate::fault::IomapError;
use crate::invalidate::Changed;
use crate::iomap::{Backing, Intent, Iomap, Published};
use crate::mapping::{Config, Mapping};
use crate::seam::RwLock as _;
use crate::units::{MAX_FILE_SIZE, PageRange};
use crate::unpublished::Unpublished;

/// Extents published in one commit at most.
const BATCH: usize = 16;

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteAt {
    /// At this file offset.
    Offset(u64),
    /// At the end of the file, wherever that is when the write begins.
    End,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// File offset of the first byte.
    pub offset: u64,
    /// Number of bytes written; fewer than wanted if an error came in between.
    pub len: u64,
}

/// A write in progress.
struct Progress<'a, C: Config> {
    /// Next byte of the file to write.
    at: u64,
    changed: Changed<'a, C>,
}

impl<C: Config> Mapping<C> {
    /// Writes all of `source`. Takes lock 1 exclusive; touches the source with no other lock.
    ///
    /// An error after some bytes were written is not reported; the count tells how far it came.
    pub fn write<K>(&self, at: WriteAt, source: &K) -> Result<Written, DaxError<IomapError<C>>>
    where
        K: Source<C::Media> + ?Sized,
    {
        let _inode = self.inode_lock.exclusive();
        let changed = self.changed();
        let offset = match at {
            WriteAt::Offset(offset) => offset,
            WriteAt::End => changed.old_size,
        };
        let len = source.len();
        let end = match offset.checked_add(len) {
            Some(end) if end <= MAX_FILE_SIZE => end,
            _ => {
                cover(Branch::WriteTooLarge);
                return Err(DaxError::TooLarge { at: offset, len });
            }
        };
        if len == 0 {
            cover(Branch::WriteNothing);
            return Ok(Written { offset, len: 0 });
        }
        if offset > changed.old_size {
            cover(Branch::WriteLeavesGap);
            self.zero_past_end(offset)?;
        }
        let mut progress = Progress { at: offset, changed };
        let mut result = Ok(());
        while progress.at < end && result.is_ok() {
            result = self.write_batch(source, offset, end, &mut progress);
        }
        let len = progress.at - offset;
        progress.changed.invalidate();
        match result {
            Err(error) if len == 0 => Err(error),
            _ => Ok(Written { offset, len }),
        }
    }

    /// Copies and publishes up to [`BATCH`] extents. Wants lock 1 exclusive.
    fn write_batch<K>(
        &self,
        source: &K,
        offset: u64,
        end: u64,
        progress: &mut Progress<'_, C>,
    ) -> Result<(), DaxError<IomapError<C>>>
    where
        K: Source<C::Media> + ?Sized,
    {
        progress.changed.fenced = false;
        let (mut first, stop) = self.copy_extent(source, offset, progress.at..end)?;
        if first.backing == Backing::Mapped && stop == end {
            // The common overwrite: nothing to collect.
            cover(Branch::WriteInPlace);
            return self.publish_batch(from_mut(&mut first), stop, progress);
        }
        let mut batch = Vec::from([first]);
        let mut at = stop;
        let mut result = Ok(());
        while at < end && batch.len() < BATCH {
            match self.copy_extent(source, offset, at..end) {
                Ok((extent, stop)) => {
                    cover(Branch::WriteSeveralExtents);
                    batch.push(extent);
                    at = stop;
                }
                Err(error) => {
                    cover(Branch::WriteStopsEarly);
                    result = Err(error);
                    break;
                }
            }
        }
        self.publish_batch(&mut batch, at, progress)?;
        result
    }

    /// Looks one extent up and copies the caller's bytes there: in place, or unseen.
    fn copy_extent<K>(
        &self,
        source: &K,
        offset: u64,
        bytes: core::ops::Range<u64>,
    ) -> Result<(Unpublished<'_, C>, u64), DaxError<IomapError<C>>>
    where
        K: Source<C::Media> + ?Sized,
    {
        let pages = PageRange::covering(&bytes);
        let extent = self.ask(pages, Intent::Write).map_err(DaxError::Iomap)?;
        let stop = extent.pages.end.offset().min(bytes.end);
        let part = bytes.start - offset..stop - offset;
        let mut copied = source.copy_to(part, &self.media, extent.device_at(bytes.start));
        if let Backing::Copy { from } = extent.backing {
            copied = copied.and_then(|()| self.copy_edges(&extent, from, bytes.start..stop));
        }
        match copied {
            Ok(()) => Ok((extent, stop)),
            Err(error) => {
                cover(Branch::WriteCopyFails);
                Err(error.into())
            }
        }
    }

    /// Publishes what was copied, up to file offset `stop`, and moves on; if pages were lost to a
    /// fault it does not move on, and the same bytes are copied again, in place.
    fn publish_batch(
        &self,
        batch: &mut [Unpublished<'_, C>],
        stop: u64,
        progress: &mut Progress<'_, C>,
    ) -> Result<(), DaxError<IomapError<C>>> {
        let fresh = batch.iter().any(|extent| extent.backing != Backing::Mapped);
        let size = self.iomap.size();
        let extend = stop > size;
        if !fresh && !extend {
            cover(Branch::WritePublishesNothing);
            self.iomap.touch();
            progress.at = stop;
            return Ok(());
        }
        let written = progress.at..stop;
        let copies = batch.iter().any(|extent| matches!(extent.backing, Backing::Copy { .. }));
        let published = if copies {
            self.publish_copies(batch, written, extend, Lock2::Free)
        } else {
            if fresh {
                cover(Branch::WritePublishesBlocks);
                progress.changed.add(PageRange::covering(&written));
            }
            self.publish_extents(batch, written, extend)
        };
        let published = match published {
            Ok(published) => published,
            Err(error) => {
                let reached = self.published_part(batch, stop, size);
                if reached > progress.at {
                    cover(Branch::WritePublishedPart);
                    progress.at = reached;
                }
                return Err(DaxError::Iomap(error));
            }
        };
        progress.changed.fenced = true;
        if published == Published::All {
            progress.at = stop;
        } else {
            cover(Branch::WriteLost);
        }
        Ok(())
    }

    /// How far a batch is in the file that could not be published to its end: so many extents may
    /// take several commits, of which the first ones stand. Sure are what was written in place,
    /// and how far the file has grown from `old` bytes, which only this write can do (lock 1).
    /// That a fresh block is found where it was to go proves nothing: given back, it may have
    /// become the block of a fault at the same page.
    fn published_part(&self, batch: &[Unpublished<'_, C>], stop: u64, old: u64) -> u64 {
        let in_place = batch.iter().take_while(|extent| extent.backing == Backing::Mapped);
        let in_place = in_place.last().map_or(0, |extent| extent.pages.end.offset());
        let size = self.iomap.size();
        let grown = if size > old { size } else { 0 };
        in_place.max(grown).min(stop).min(size)
    }
}
