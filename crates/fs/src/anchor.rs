//! Block 1: the roots of everything that is not a file.
//!
//! It consists of granules of 64 bytes that change independently of each other:
//! granule 0 holds the state word and the floor word, which are stored atomically outside the
//! journal; 1 the inode table; 2 the orphans; 16 to 31 the shards of the inode allocator.

use limpid_pmem::Media;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Result, What, corrupt};
use crate::layout::{ANCHOR, BLOCK, GRANULE};
use crate::seal;

/// Shards of the inode allocator.
pub(crate) const SHARDS: usize = 16;

/// Device offset of the word that says whether the pool was closed: see [`State`].
pub(crate) const STATE_AT: u64 = ANCHOR * BLOCK;
/// Device offset of the word that holds the journal's durable floor.
pub(crate) const FLOOR_AT: u64 = ANCHOR * BLOCK + 8;

/// Whether the pool was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Closed: nothing to recover, no orphans from an open file.
    Clean = 1,
    /// Open, or not closed.
    Open = 2,
}

macro_rules! granule {
    ($name:ident, $magic:literal) => {
        const _: () = assert!(size_of::<$name>() == GRANULE);
        impl $name {
            const MAGIC: u32 = u32::from_le_bytes(*$magic);

            /// Reads and checks the granule at byte `at`.
            pub fn read(media: &dyn Media, at: u64) -> Result<$name> {
                let mut raw = $name::new_zeroed();
                media.read(at, raw.as_mut_bytes())?;
                if raw.magic.get() != Self::MAGIC || !seal::sealed(raw.as_bytes(), 0) {
                    return corrupt(What::Anchor, at, "its checksum does not match");
                }
                Ok(raw)
            }

            /// The bytes with magic and checksum.
            pub fn sealed(mut self) -> [u8; GRANULE] {
                self.magic = Self::MAGIC.into();
                seal::seal(self.as_mut_bytes(), 0);
                let mut bytes = [0; GRANULE];
                bytes.copy_from_slice(self.as_bytes());
                bytes
            }
        }
    };
}

/// The tree that maps numbers of inode blocks to blocks, and how many there are.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawInodeTable {
    pub crc: U32,
    pub magic: U32,
    pub root: U64,
    pub height: U32,
    pub pad: U32,
    pub inode_blocks: U64,
    pub reserved: [u8; 32],
}
granule!(RawInodeTable, b"ITAB");

/// The tree whose keys are the inodes that have work left.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawOrphans {
    pub crc: U32,
    pub magic: U32,
    pub root: U64,
    pub height: U32,
    pub reserved: [u8; 44],
}
granule!(RawOrphans, b"ORPH");

/// A shard of the inode allocator.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawShard {
    pub crc: U32,
    pub magic: U32,
    /// First inode of the list of free inodes, 0 for none.
    pub free: U64,
    /// Inodes that were never used: from here …
    pub fresh: U64,
    /// … up to here.
    pub fresh_end: U64,
    /// Inodes taken less inodes given back, modulo 2^64; only the sum over all shards means
    /// something.
    pub live: U64,
    pub reserved: [u8; 24],
}
granule!(RawShard, b"SHRD");

pub(crate) const INODE_TABLE_AT: u64 = ANCHOR * BLOCK + GRANULE as u64;
pub(crate) const ORPHANS_AT: u64 = ANCHOR * BLOCK + 2 * GRANULE as u64;

/// Device offset of a shard's granule.
pub(crate) fn shard_at(shard: usize) -> u64 {
    ANCHOR * BLOCK + (16 + shard as u64) * GRANULE as u64
}
