//! Where everything lies on the medium. `docs/format.md` draws it; this file computes it.
//!
//! superblock | anchor | journal | group descriptors | block bitmaps | data … | backup superblock
//!
//! All numbers are in blocks of 4 KiB unless their name says otherwise. The whole layout follows
//! from the number of blocks of the pool, so a superblock whose numbers do not follow from its
//! size is corrupt, and nobody has to distrust a single number of a [`Geometry`].

use limpid_dax::PageRange;

use crate::error::{FsError, Result};

/// Size of a block in bytes.
pub const BLOCK: u64 = 4096;
/// Size of a block as an index type.
pub(crate) const BLOCK_LEN: usize = 4096;
/// Unit in which metadata is journaled and applied, in bytes (one cache line).
pub(crate) const GRANULE: usize = 64;
/// Blocks of a 2 MiB unit.
pub const UNIT: u64 = 512;
/// Blocks of a group: as many as one bitmap block has bits (128 MiB).
pub const GROUP: u64 = 32768;
/// Size of a group descriptor in bytes.
pub(crate) const DESCRIPTOR: u64 = 64;
/// Size of an inode record in bytes.
pub(crate) const INODE: u64 = 256;
/// Inode records of a block.
pub(crate) const INODES_PER_BLOCK: u64 = BLOCK / INODE;
/// The block of roots.
pub(crate) const ANCHOR: u64 = 1;
/// First block of the journal.
pub(crate) const JOURNAL: u64 = 2;
/// Lanes of the journal.
pub(crate) const LANES: u64 = 16;
/// Slots of a lane.
pub(crate) const SLOTS: u64 = 2;
/// Blocks of a slot: the largest transaction, its header included.
pub(crate) const SLOT_BLOCKS: u64 = 15;
/// Smallest pool in blocks (4 MiB): one unit of metadata and one of data.
pub(crate) const MIN_BLOCKS: u64 = 2 * UNIT;
/// Largest pool in blocks (2^52 bytes).
pub(crate) const MAX_BLOCKS: u64 = 1 << 40;

/// The places of a pool of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks of the pool, everything included.
    pub total: u64,
    /// First block of the group descriptors.
    pub descriptors: u64,
    /// First block of the bitmaps, one block per group.
    pub bitmaps: u64,
    /// Number of groups.
    pub groups: u64,
    /// First block of the data area, a multiple of 512.
    pub data: u64,
    /// Block after the data area: the backup superblock.
    pub data_end: u64,
}

impl Geometry {
    /// The layout of a pool of `total` blocks.
    pub fn of(total: u64) -> Result<Geometry> {
        if total < MIN_BLOCKS {
            return Err(FsError::TooSmall { size: total * BLOCK, min: MIN_BLOCKS * BLOCK });
        }
        if total > MAX_BLOCKS {
            return Err(FsError::TooLarge);
        }
        let descriptors = JOURNAL + LANES * SLOTS * SLOT_BLOCKS;
        let data_end = total - 1;
        // The metadata takes space from the data it describes. A table for all blocks is at most
        // one group too long, which the second step corrects.
        let most = total.div_ceil(GROUP);
        let data = Self::data_start(descriptors, most);
        let groups = (data_end.saturating_sub(data)).div_ceil(GROUP);
        if groups == 0 {
            return Err(FsError::TooSmall { size: total * BLOCK, min: MIN_BLOCKS * BLOCK });
        }
        let bitmaps = descriptors + (most * DESCRIPTOR).div_ceil(BLOCK);
        Ok(Geometry { total, descriptors, bitmaps, groups, data, data_end })
    }

    fn data_start(descriptors: u64, groups: u64) -> u64 {
        let end = descriptors + (groups * DESCRIPTOR).div_ceil(BLOCK) + groups;
        end.next_multiple_of(UNIT)
    }

    /// Length of the data area in blocks.
    pub fn data_blocks(&self) -> u64 {
        self.data_end - self.data
    }

    /// True if `len` blocks from `block` on lie in the data area (and are at least one).
    pub fn is_data(&self, block: u64, len: u64) -> bool {
        len > 0
            && block >= self.data
            && block.checked_add(len).is_some_and(|end| end <= self.data_end)
    }

    /// The group that holds data block `block`.
    pub(crate) fn group_of(&self, block: u64) -> usize {
        ((block - self.data) / GROUP) as usize
    }

    /// First block of a group.
    pub(crate) fn group_start(&self, group: usize) -> u64 {
        self.data + group as u64 * GROUP
    }

    /// Number of blocks of a group; only the last is shorter than [`GROUP`].
    pub(crate) fn group_len(&self, group: usize) -> u64 {
        GROUP.min(self.data_end - self.group_start(group))
    }

    /// Device offset in bytes of a group's descriptor.
    pub(crate) fn descriptor_at(&self, group: usize) -> u64 {
        self.descriptors * BLOCK + group as u64 * DESCRIPTOR
    }

    /// Device offset in bytes of a group's bitmap.
    pub(crate) fn bitmap_at(&self, group: usize) -> u64 {
        (self.bitmaps + group as u64) * BLOCK
    }

    /// True if a transaction may change the granules of `block`: roots, descriptors and data.
    pub(crate) fn is_journaled(&self, block: u64) -> bool {
        block == ANCHOR
            || (self.descriptors..self.bitmaps).contains(&block)
            || self.is_data(block, 1)
    }
}

/// Cuts `len` blocks from `block` on into pieces (group, first bit, bits) that stay in one group.
pub(crate) fn by_group(
    geometry: &Geometry,
    block: u64,
    len: u64,
) -> impl Iterator<Item = (usize, u64, u64)> + use<> {
    let geometry = *geometry;
    let (mut at, end) = (block, block + len);
    core::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let group = geometry.group_of(at);
        let stop = end.min(geometry.group_start(group) + GROUP);
        let piece = (group, at - geometry.group_start(group), stop - at);
        at = stop;
        Some(piece)
    })
}

/// Pages a file can have.
pub(crate) const MAX_PAGES: u64 = limpid_dax::MAX_FILE_SIZE.div_ceil(BLOCK);

/// Cuts a range of pages to what a file can have.
pub(crate) fn clamp(pages: PageRange) -> PageRange {
    PageRange::new(pages.start.0.min(MAX_PAGES), pages.end.0.min(MAX_PAGES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_at_every_size() {
        for total in (MIN_BLOCKS..200_000).step_by(37).chain([1 << 24, 1 << 32, MAX_BLOCKS]) {
            let g = Geometry::of(total).unwrap();
            assert!(g.descriptors < g.bitmaps);
            assert!(g.groups * DESCRIPTOR <= (g.bitmaps - g.descriptors) * BLOCK, "{total}");
            assert!(g.bitmaps + g.groups <= g.data, "{total}");
            assert_eq!(g.data % UNIT, 0);
            assert!(g.groups * GROUP >= g.data_blocks());
            assert!((g.groups - 1) * GROUP < g.data_blocks());
            assert_eq!(g.data_end + 1, total);
        }
        assert!(Geometry::of(MIN_BLOCKS - 1).is_err());
    }
}
