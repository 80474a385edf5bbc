//! Free space: groups of 128 MiB, each with a bitmap on the medium and two copies in memory.
//!
//! - The *image* of a group is what the medium says. Transactions change it, under its lock,
//!   which they hold until they are applied.
//! - The *usage* of a group says in addition which blocks are reserved: handed out, but not yet
//!   published by a transaction. Reservations are in memory only, so a crash leaks nothing.
//!
//! # What is promised
//!
//! A write into blocks that a file has already never finds the pool full. It takes no blocks for
//! data, but its extents are cut into smaller ones, and those may need nodes. So many blocks are
//! kept for that as the worst order of writes can ask for, however the pool is used:
//!
//! - A leaf is split when its 145 cells are full, and each half begins with at least 72 of them;
//!   only a leaf at the end of its tree is left full (`tree.rs`). So each 72 extents cost at most
//!   one leaf, each hundred leaves an inner node; and there are no more extents than blocks:
//!   [`PROMISED`] blocks need one node at most.
//! - A file whose unwritten extents can become more than its record holds has a tree from the
//!   beginning (`map.rs`), as many small files would need a node each.
//!
//! Only what is promised ([`Purpose::Promised`]) takes from these blocks, and what frees others
//! ([`Purpose::Shrink`]), for which a reserve is kept beside them. Nothing new is begun before both
//! are there again.
//!
//! # Locks
//!
//! Image and usage are loaded when first needed. Lock order: images by group number, then usages;
//! a usage lock is a leaf.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use limpid_locks::{MappedMutexGuard, Mutex, MutexGuard, by_number, mutex};
use limpid_pmem::{Media, Persist};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::alloc::Purpose;
use crate::bits::Bits;
use crate::classes::{IMAGE, USAGE};
use crate::error::{Result, What, corrupt};
use crate::layout::{BLOCK, BLOCK_LEN, GRANULE, Geometry, by_group};
use crate::seal;

const MAGIC: u32 = u32::from_le_bytes(*b"GRPD");
/// The bitmap block was written; until then all blocks of the group are free.
const INITIALISED: u32 = 1;

/// Of so many blocks one is kept for what is promised.
const PROMISED: u64 = 71;

/// Bytes of a bitmap that one checksum covers.
const SEGMENT: usize = 512;
/// Checksums of a bitmap block.
const SEGMENTS: usize = BLOCK_LEN / SEGMENT;

/// A group's descriptor as it lies on the medium.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Descriptor {
    crc: U32,
    magic: U32,
    group: U64,
    flags: U32,
    free: U32,
    /// One checksum for each 512 bytes of the bitmap, so that a change costs one of those.
    bitmap_crcs: [U32; SEGMENTS],
    reserved: [u8; 8],
}
const _: () = assert!(size_of::<Descriptor>() == GRANULE);

impl Descriptor {
    /// The descriptor of a group that was never used.
    pub fn fresh(group: usize, geometry: &Geometry) -> Descriptor {
        Descriptor {
            magic: MAGIC.into(),
            group: (group as u64).into(),
            free: (geometry.group_len(group) as u32).into(),
            ..Descriptor::new_zeroed()
        }
        .sealed()
    }

    /// The descriptor of a group whose bitmap holds `bits`.
    pub fn of(group: usize, bits: &Bits) -> Descriptor {
        let mut bitmap_crcs = [U32::ZERO; SEGMENTS];
        for (crc, part) in bitmap_crcs.iter_mut().zip(bits.as_bytes().chunks_exact(SEGMENT)) {
            *crc = seal::crc(part).into();
        }
        Descriptor {
            magic: MAGIC.into(),
            group: (group as u64).into(),
            flags: INITIALISED.into(),
            free: bits.free().into(),
            bitmap_crcs,
            ..Descriptor::new_zeroed()
        }
        .sealed()
    }

    fn sealed(mut self) -> Descriptor {
        seal::seal(self.as_mut_bytes(), 0);
        self
    }

    /// Checks what lies at the place of a group's descriptor.
    pub fn check(&self, group: usize, geometry: &Geometry) -> Result<()> {
        let bad = |why| corrupt(What::GroupDescriptor, geometry.descriptor_at(group), why);
        if self.magic.get() != MAGIC || !seal::sealed(self.as_bytes(), 0) {
            return bad("its checksum does not match");
        }
        if self.group.get() != group as u64 {
            return bad("the descriptor of another group");
        }
        if u64::from(self.free.get()) > geometry.group_len(group) {
            return bad("more free blocks than blocks");
        }
        Ok(())
    }

    /// The number of free blocks.
    pub fn free(&self) -> u32 {
        self.free.get()
    }

    /// Reads and checks the bitmap this descriptor describes.
    pub fn bitmap(&self, media: &dyn Media, group: usize, geometry: &Geometry) -> Result<Bits> {
        let len = geometry.group_len(group);
        let at = geometry.bitmap_at(group);
        let bits = if self.flags.get() & INITIALISED == 0 {
            Bits::new(len)
        } else {
            let mut bytes = [0; BLOCK_LEN];
            media.read(at, &mut bytes)?;
            let segments = bytes.chunks_exact(SEGMENT).zip(&self.bitmap_crcs);
            if segments.into_iter().any(|(part, crc)| seal::crc(part) != crc.get()) {
                return corrupt(What::Bitmap, at, "its checksum does not match");
            }
            Bits::from_bytes(&bytes)
        };
        if bits.free() != self.free.get() {
            return corrupt(What::Bitmap, at, "its free blocks are not as many as counted");
        }
        if !bits.all(len, crate::layout::GROUP - len, true) {
            return corrupt(What::Bitmap, at, "blocks past the end are free");
        }
        Ok(bits)
    }
}

/// What the medium says about a group.
pub(crate) struct Image {
    bits: Bits,
    initialised: bool,
    /// Number of free blocks, in step with `bits`.
    free: u32,
    /// Checksums of the bitmap, right but for those of `stale`.
    crcs: [U32; SEGMENTS],
    /// A bit for each checksum that has to be computed again.
    stale: u8,
}
const _: () = assert!(SEGMENTS <= u8::BITS as usize);

impl Image {
    /// Marks blocks as used or free; an error, and nothing changed, if some of them are already.
    pub fn change(&mut self, first: u64, len: u64, used: bool, block: u64) -> Result<()> {
        if !self.bits.all(first, len, !used) {
            let why = if used { "a block was given out twice" } else { "a block was freed twice" };
            return corrupt(What::BlockState, block * BLOCK, why);
        }
        self.bits.fill(first, len, used);
        self.free = if used { self.free - len as u32 } else { self.free + len as u32 };
        let per_segment = SEGMENT as u64 * 8;
        for segment in first / per_segment..(first + len).div_ceil(per_segment) {
            self.stale |= 1 << segment;
        }
        Ok(())
    }

    /// The descriptor that goes with the bits.
    pub fn descriptor(&mut self, group: usize) -> Descriptor {
        for (segment, part) in self.bits.as_bytes().chunks_exact(SEGMENT).enumerate() {
            if self.stale >> segment & 1 == 1 {
                self.crcs[segment] = seal::crc(part).into();
            }
        }
        self.stale = 0;
        Descriptor {
            crc: 0.into(),
            magic: MAGIC.into(),
            group: (group as u64).into(),
            flags: INITIALISED.into(),
            free: self.free.into(),
            bitmap_crcs: self.crcs,
            reserved: [0; 8],
        }
        .sealed()
    }

    /// Notes that a descriptor was committed that says the bitmap was written.
    pub fn set_initialised(&mut self) {
        self.initialised = true;
    }

    /// Writes the words of a run of bits in place.
    pub fn apply(&self, media: &dyn Media, bitmap_at: u64, first: u64, len: u64) -> Result<()> {
        let (start, end) = (first / 64 * 8, (first + len).div_ceil(64) * 8);
        let words = &self.bits.as_bytes()[start as usize..end as usize];
        Ok(media.write(bitmap_at + start, words, Persist::Yes)?)
    }
}

/// Which blocks of a group are in use or reserved.
pub(crate) struct Usage {
    pub bits: Bits,
    /// The unit from which small requests are served.
    pub small_unit: usize,
}

/// A group in memory; on cache lines of its own, since threads work in different groups.
#[repr(align(128))]
pub(crate) struct Group {
    image: Mutex<Option<Image>>,
    usage: Mutex<Option<Usage>>,
    /// Blocks neither in use nor reserved.
    pub free: AtomicU32,
}

impl Group {
    fn new(free: u32) -> Group {
        let (image, usage) = (mutex(&IMAGE, None), mutex(&USAGE, None));
        Group { image, usage, free: AtomicU32::new(free) }
    }
}

/// The lock of a group's image, which is loaded.
pub(crate) type ImageGuard<'a> = MappedMutexGuard<'a, Image>;
/// The lock of a group's usage, which is loaded.
pub(crate) type UsageGuard<'a> = MappedMutexGuard<'a, Usage>;

/// All groups.
pub(crate) struct Space {
    pub geometry: Geometry,
    pub groups: Box<[Group]>,
    /// Blocks neither in use nor reserved, in all groups.
    free: AtomicI64,
    /// Blocks that only operations which free space may take.
    reserve: i64,
    /// Blocks that only those may take and what is promised.
    promised: i64,
    pub soft: crate::soft::Soft,
}

impl Space {
    /// Reads the descriptors: 64 bytes per 128 MiB. A corrupt one counts as a full group; who
    /// needs that group itself gets the error.
    pub fn open(media: &dyn Media, geometry: Geometry) -> Space {
        let mut total = 0;
        let mut groups = Vec::with_capacity(geometry.groups as usize);
        let mut bytes = vec![0; 64 * BLOCK_LEN];
        let mut at = geometry.descriptors * BLOCK;
        while groups.len() < geometry.groups as usize {
            let left = (geometry.groups as usize - groups.len()) * GRANULE;
            let part = left.min(bytes.len());
            if media.read(at, &mut bytes[..part]).is_err() {
                // Where the medium fails, zeroes are no descriptor either.
                for (index, raw) in bytes[..part].chunks_exact_mut(GRANULE).enumerate() {
                    if media.read(at + (index * GRANULE) as u64, raw).is_err() {
                        raw.fill(0);
                    }
                }
            }
            at += part as u64;
            for raw in bytes[..part].chunks_exact(GRANULE) {
                let descriptor = Descriptor::read_from_bytes(raw).expect("the sizes agree");
                let good = descriptor.check(groups.len(), &geometry).is_ok();
                let free = if good { descriptor.free() } else { 0 };
                total += i64::from(free);
                groups.push(Group::new(free));
            }
        }
        let blocks = geometry.data_blocks();
        Space {
            geometry,
            groups: groups.into(),
            free: AtomicI64::new(total),
            reserve: (blocks / 200).clamp(8, 1024) as i64,
            // Threads that look at the number of free blocks at once can go a few below it.
            promised: (blocks / PROMISED) as i64 + 8,
            soft: Default::default(),
        }
    }

    /// Blocks neither in use nor reserved.
    pub fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed).max(0) as u64
    }

    /// Blocks that have to be left for others.
    pub fn floor(&self, purpose: Purpose) -> i64 {
        match purpose {
            Purpose::Grow => self.reserve + self.promised,
            Purpose::Promised => self.reserve,
            Purpose::Shrink => 0,
        }
    }

    /// Blocks that something new can take; what files hold in advance is among them.
    pub fn available(&self) -> u64 {
        (self.free() + self.soft.blocks()).saturating_sub(self.floor(Purpose::Grow) as u64)
    }

    /// Locks the image of a group, and loads it first if need be.
    pub fn image(&self, media: &dyn Media, group: usize) -> Result<ImageGuard<'_>> {
        let mut guard = by_number(group as u64, || self.groups[group].image.lock());
        if guard.is_none() {
            let mut raw = Descriptor::new_zeroed();
            media.read(self.geometry.descriptor_at(group), raw.as_mut_bytes())?;
            raw.check(group, &self.geometry)?;
            let bits = raw.bitmap(media, group, &self.geometry)?;
            let initialised = raw.flags.get() & INITIALISED != 0;
            let (free, crcs) = (raw.free(), raw.bitmap_crcs);
            let stale = if initialised { 0 } else { u8::MAX };
            *guard = Some(Image { bits, initialised, free, crcs, stale });
        }
        Ok(MutexGuard::map(guard, |image| image.as_mut().expect("it was loaded")))
    }

    /// Writes the bitmap of a group that has none yet; nothing refers to it before the
    /// descriptor says so. True if the caller has to fence before it commits. If its transaction
    /// fails it may never have done so: the next one writes the bitmap again, until one has
    /// committed ([`Image::set_initialised`]).
    pub fn initialise(&self, media: &dyn Media, group: usize, image: &Image) -> Result<bool> {
        if !image.initialised {
            let empty = Bits::new(self.geometry.group_len(group));
            media.write(self.geometry.bitmap_at(group), empty.as_bytes(), Persist::Yes)?;
        }
        Ok(!image.initialised)
    }

    /// Locks the usage of a group, and loads it first if need be. None if it cannot be read.
    pub fn usage(&self, media: &dyn Media, group: usize) -> Option<UsageGuard<'_>> {
        let mut guard = self.groups[group].usage.lock();
        if guard.is_none() {
            drop(guard);
            let image = self.image(media, group).ok()?;
            guard = self.groups[group].usage.lock();
            if guard.is_none() {
                *guard = Some(Usage { bits: image.bits.clone(), small_unit: 0 });
            }
        }
        Some(MutexGuard::map(guard, |usage| usage.as_mut().expect("it was loaded")))
    }

    /// Notes that `len` blocks of a group were reserved.
    pub fn count_taken(&self, group: usize, len: u64) {
        self.groups[group].free.fetch_sub(len as u32, Ordering::Relaxed);
        self.free.fetch_sub(len as i64, Ordering::Relaxed);
    }

    /// Gives reserved blocks back, or blocks that a transaction has freed.
    pub fn release(&self, block: u64, len: u64) {
        for (group, first, len) in by_group(&self.geometry, block, len) {
            // A usage that was never loaded takes its bits from the image when it is.
            if let Some(usage) = self.groups[group].usage.lock().as_mut() {
                debug_assert!(usage.bits.all(first, len, true));
                usage.bits.fill(first, len, false);
            }
            self.groups[group].free.fetch_add(len as u32, Ordering::Relaxed);
            self.free.fetch_add(len as i64, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
