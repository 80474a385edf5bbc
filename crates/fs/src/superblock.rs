//! The superblock: what a pool is, and the two places where it is kept.

use limpid_pmem::{Media, Persist};
use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::attributes::Timespec;
use crate::error::{FsError, Result, What, corrupt};
use crate::layout::{BLOCK, Geometry, LANES, SLOT_BLOCKS};
use crate::seal;

pub(crate) const MAGIC: [u8; 8] = *b"LIMPIDFS";
/// The version of the format this crate writes and reads.
pub const VERSION: u32 = 1;
/// Feature bits this version knows, by class: compatible, read-only compatible, incompatible.
pub(crate) const KNOWN: [u64; 3] = [0, 0, 0];

/// Longest label in bytes.
pub const MAX_LABEL: usize = 64;

/// The superblock as it lies on the medium. Its checksum covers these 512 bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Raw {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    compatible: U64,
    read_only_compatible: U64,
    incompatible: U64,
    uuid: [u8; 16],
    label: [u8; MAX_LABEL],
    hash_seed: [u8; 16],
    created_seconds: I64,
    created_nanoseconds: U32,
    block_size: U32,
    total: U64,
    lanes: U32,
    slot_blocks: U32,
    descriptors: U64,
    bitmaps: U64,
    groups: U64,
    data: U64,
    data_end: U64,
    reserved: [u8; 304],
}

const _: () = assert!(size_of::<Raw>() == 512);
const CRC: usize = 12;

/// A superblock that was checked: its numbers can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub uuid: [u8; 16],
    pub label: [u8; MAX_LABEL],
    pub hash_seed: [u8; 16],
    pub created: Timespec,
    pub features: [u64; 3],
    pub geometry: Geometry,
}

impl Superblock {
    /// Salt of the journal's checksums: records of another pool never look valid.
    pub fn salt(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.uuid), &self.hash_seed)
    }

    fn encode(&self) -> Raw {
        let g = &self.geometry;
        let mut raw = Raw {
            magic: MAGIC,
            version: VERSION.into(),
            crc: 0.into(),
            compatible: self.features[0].into(),
            read_only_compatible: self.features[1].into(),
            incompatible: self.features[2].into(),
            uuid: self.uuid,
            label: self.label,
            hash_seed: self.hash_seed,
            created_seconds: self.created.seconds.into(),
            created_nanoseconds: self.created.nanoseconds.into(),
            block_size: (BLOCK as u32).into(),
            total: g.total.into(),
            lanes: (LANES as u32).into(),
            slot_blocks: (SLOT_BLOCKS as u32).into(),
            descriptors: g.descriptors.into(),
            bitmaps: g.bitmaps.into(),
            groups: g.groups.into(),
            data: g.data.into(),
            data_end: g.data_end.into(),
            reserved: [0; 304],
        };
        seal::seal(raw.as_mut_bytes(), CRC);
        raw
    }

    /// Checks one copy. `at` is its device offset in bytes, for the report.
    fn decode(raw: &Raw, at: u64) -> Result<Superblock> {
        if raw.magic != MAGIC {
            return Err(FsError::NotAPool);
        }
        if !seal::sealed(raw.as_bytes(), CRC) {
            return corrupt(What::Superblock, at, "its checksum does not match");
        }
        if raw.version.get() != VERSION {
            return Err(FsError::UnsupportedVersion(raw.version.get()));
        }
        let features =
            [raw.compatible.get(), raw.read_only_compatible.get(), raw.incompatible.get()];
        if features[2] & !KNOWN[2] != 0 {
            return Err(FsError::UnsupportedFeature { bits: features[2] & !KNOWN[2] });
        }
        let geometry = match Geometry::of(raw.total.get()) {
            Ok(geometry) => geometry,
            Err(_) => return corrupt(What::Superblock, at, "its size is impossible"),
        };
        let same = raw.block_size.get() == BLOCK as u32
            && raw.lanes.get() == LANES as u32
            && raw.slot_blocks.get() == SLOT_BLOCKS as u32
            && raw.descriptors.get() == geometry.descriptors
            && raw.bitmaps.get() == geometry.bitmaps
            && raw.groups.get() == geometry.groups
            && raw.data.get() == geometry.data
            && raw.data_end.get() == geometry.data_end;
        if !same {
            return corrupt(What::Superblock, at, "its numbers contradict each other");
        }
        Ok(Superblock {
            uuid: raw.uuid,
            label: raw.label,
            hash_seed: raw.hash_seed,
            created: Timespec {
                seconds: raw.created_seconds.get(),
                nanoseconds: raw.created_nanoseconds.get().min(999_999_999),
            },
            features,
            geometry,
        })
    }

    /// Reads and checks the copy at byte `at`.
    pub fn read_at(media: &dyn Media, at: u64) -> Result<Superblock> {
        let mut raw = Raw::new_zeroed();
        media.read(at, raw.as_mut_bytes())?;
        Superblock::decode(&raw, at)
    }

    /// Reads the superblock, or its backup if the first copy is corrupt; true in the second
    /// place if the backup was used.
    pub fn read(media: &dyn Media) -> Result<(Superblock, bool)> {
        let size = media.len();
        if size < BLOCK {
            return Err(FsError::TooSmall { size, min: crate::layout::MIN_BLOCKS * BLOCK });
        }
        let (superblock, backup) = match Superblock::read_at(media, 0) {
            Ok(superblock) => (superblock, false),
            Err(first) => {
                let usable = matches!(
                    first,
                    FsError::NotAPool | FsError::Corrupt { .. } | FsError::Media(_)
                );
                let last = (size / BLOCK - 1) * BLOCK;
                match Superblock::read_at(media, last) {
                    // A backup at another place is one of an earlier, smaller pool.
                    Ok(backup) if usable && backup.geometry.data_end * BLOCK == last => {
                        (backup, true)
                    }
                    _ => return Err(first),
                }
            }
        };
        let expected = superblock.geometry.total * BLOCK;
        if size < expected {
            return Err(FsError::Truncated { size, expected });
        }
        Ok((superblock, backup))
    }

    /// Writes the copy at byte `at`; the caller fences.
    pub fn write_at(&self, media: &dyn Media, at: u64) -> Result<()> {
        let mut block = [0; BLOCK as usize];
        block[..512].copy_from_slice(self.encode().as_bytes());
        Ok(media.write(at, &block, Persist::Yes)?)
    }
}
