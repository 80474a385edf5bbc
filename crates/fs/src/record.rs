//! The inode record: 256 bytes that say everything about an inode that fits.

mod salvage;

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::attributes::{FileKind, Timespec};
use crate::error::{Result, What, corrupt};
use crate::extent::Run;
use crate::layout::{Geometry, MAX_PAGES};
use crate::seal;
use crate::tree::{MAX_HEIGHT, TreeRoot};

/// Extents that fit into the record itself.
pub(crate) const INLINE_EXTENTS: usize = 5;
/// Bytes of a symbolic link's target that fit into the record itself.
pub(crate) const INLINE_TARGET: usize = 120;

const MAGIC: u32 = u32::from_le_bytes(*b"INOD");

const BODY_EXTENTS: u8 = 1;
const BODY_TREE: u8 = 2;
const BODY_TARGET: u8 = 3;
const BODY_TARGET_BLOCK: u8 = 4;

/// The record as it lies on the medium.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Raw {
    crc: U32,
    magic: U32,
    ino: U64,
    generation: U32,
    /// 0 for a free inode.
    kind: u8,
    flags: u8,
    mode: U16,
    uid: U32,
    gid: U32,
    nlink: U32,
    atime_ns: U32,
    mtime_ns: U32,
    ctime_ns: U32,
    btime_ns: U32,
    body_kind: u8,
    body_count: u8,
    xattr_height: u8,
    pad: u8,
    size: U64,
    blocks: U64,
    /// Device number, parent directory, or next free inode.
    link: U64,
    atime: I64,
    mtime: I64,
    ctime: I64,
    btime: I64,
    xattr_root: U64,
    reserved: [u8; 16],
    body: [u8; INLINE_TARGET],
}

const _: () = assert!(size_of::<Raw>() == crate::layout::INODE as usize);
const CRC: usize = 0;

/// An extent in the body of a record.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawExtent {
    page: U64,
    value: [u8; 16],
}

const _: () = assert!(size_of::<RawExtent>() * INLINE_EXTENTS == INLINE_TARGET);

/// What an inode holds, or where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// The extents of a file, in order; the first `count` are used.
    Extents { count: usize, list: [Run; INLINE_EXTENTS] },
    /// The tree of extents (file) or names (directory).
    Tree(TreeRoot),
    /// The target of a symbolic link, `size` bytes of it.
    Target([u8; INLINE_TARGET]),
    /// The block with the target of a symbolic link, and its checksum.
    TargetBlock { block: u64, crc: u32 },
}

impl Body {
    pub const EMPTY: Body = Body::Extents { count: 0, list: [Run::EMPTY; INLINE_EXTENTS] };
}

/// A record that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Device offset of the record in bytes.
    pub at: u64,
    pub ino: u64,
    pub generation: u32,
    pub kind: FileKind,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub size: u64,
    pub blocks: u64,
    /// Device number of a device node, parent of a directory.
    pub link: u64,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub btime: Timespec,
    pub xattrs: TreeRoot,
    pub body: Body,
}

/// What a record slot holds.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "one lives on the stack for a moment")]
pub(crate) enum Slot {
    /// Only zeroes.
    Virgin,
    /// An inode that was freed.
    Free { generation: u32, next: u64 },
    /// An inode in use.
    Used(Meta),
}

impl Meta {
    /// Adds `delta` to the number of blocks.
    pub fn add_blocks(&mut self, delta: i64) {
        self.blocks = self.blocks.saturating_add_signed(delta);
    }

    /// The tree of a directory.
    pub fn names(&self) -> Result<TreeRoot> {
        match self.body {
            Body::Tree(root) => Ok(root),
            _ => corrupt(What::Inode, self.ino, "a directory without a tree"),
        }
    }

    /// The record with its checksum.
    pub fn encode(&self) -> Raw {
        let mut raw = Raw {
            magic: MAGIC.into(),
            ino: self.ino.into(),
            generation: self.generation.into(),
            kind: self.kind as u8,
            mode: self.mode.into(),
            uid: self.uid.into(),
            gid: self.gid.into(),
            nlink: self.nlink.into(),
            atime_ns: self.atime.nanoseconds.into(),
            mtime_ns: self.mtime.nanoseconds.into(),
            ctime_ns: self.ctime.nanoseconds.into(),
            btime_ns: self.btime.nanoseconds.into(),
            xattr_height: self.xattrs.height as u8,
            size: self.size.into(),
            blocks: self.blocks.into(),
            link: self.link.into(),
            atime: self.atime.seconds.into(),
            mtime: self.mtime.seconds.into(),
            ctime: self.ctime.seconds.into(),
            btime: self.btime.seconds.into(),
            xattr_root: self.xattrs.block.into(),
            ..Raw::new_zeroed()
        };
        match &self.body {
            Body::Extents { count, list } => {
                raw.body_kind = BODY_EXTENTS;
                raw.body_count = *count as u8;
                for (run, place) in list[..*count].iter().zip(raw.body.chunks_exact_mut(24)) {
                    let extent = RawExtent { page: run.page.into(), value: run.value() };
                    place.copy_from_slice(extent.as_bytes());
                }
            }
            Body::Tree(root) => {
                raw.body_kind = BODY_TREE;
                raw.body_count = root.height as u8;
                raw.body[..8].copy_from_slice(&root.block.to_le_bytes());
            }
            Body::Target(target) => {
                raw.body_kind = BODY_TARGET;
                raw.body = *target;
            }
            Body::TargetBlock { block, crc } => {
                raw.body_kind = BODY_TARGET_BLOCK;
                raw.body[..8].copy_from_slice(&block.to_le_bytes());
                raw.body[8..12].copy_from_slice(&crc.to_le_bytes());
            }
        }
        seal::seal(raw.as_mut_bytes(), CRC);
        raw
    }
}

impl Raw {
    /// The record of a free inode.
    pub fn free(ino: u64, generation: u32, next: u64) -> Raw {
        let mut raw = Raw {
            magic: MAGIC.into(),
            ino: ino.into(),
            generation: generation.into(),
            link: next.into(),
            ..Raw::new_zeroed()
        };
        seal::seal(raw.as_mut_bytes(), CRC);
        raw
    }

    /// Checks the record of inode `ino` that lies at byte `at`.
    pub fn decode(&self, ino: u64, at: u64, geometry: &Geometry) -> Result<Slot> {
        if self.magic.get() == 0 && self.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(Slot::Virgin);
        }
        let bad = |why| corrupt(What::Inode, at, why);
        if self.magic.get() != MAGIC {
            return bad("no inode record");
        }
        if !seal::sealed(self.as_bytes(), CRC) {
            return bad("its checksum does not match");
        }
        if self.ino.get() != ino {
            return bad("the record of another inode");
        }
        let generation = self.generation.get();
        if self.kind == 0 {
            return Ok(Slot::Free { generation, next: self.link.get() });
        }
        let Some(kind) = FileKind::from_u8(self.kind) else {
            return bad("an unknown kind");
        };
        let time = |seconds: I64, nanoseconds: U32| Timespec {
            seconds: seconds.get(),
            nanoseconds: nanoseconds.get().min(999_999_999),
        };
        let Some(xattrs) = tree_root(self.xattr_root.get(), self.xattr_height, geometry) else {
            return bad("an impossible tree of attributes");
        };
        let body = match self.decode_body(kind, geometry) {
            Ok(body) => body,
            Err(why) => return bad(why),
        };
        let size = self.size.get();
        if size > limpid_dax::MAX_FILE_SIZE || self.blocks.get() > geometry.data_blocks() {
            return bad("an impossible size");
        }
        Ok(Slot::Used(Meta {
            at,
            ino,
            generation,
            kind,
            mode: self.mode.get() & 0o7777,
            uid: self.uid.get(),
            gid: self.gid.get(),
            nlink: self.nlink.get(),
            size,
            blocks: self.blocks.get(),
            link: self.link.get(),
            atime: time(self.atime, self.atime_ns),
            mtime: time(self.mtime, self.mtime_ns),
            ctime: time(self.ctime, self.ctime_ns),
            btime: time(self.btime, self.btime_ns),
            xattrs,
            body,
        }))
    }

    fn decode_body(
        &self,
        kind: FileKind,
        geometry: &Geometry,
    ) -> core::result::Result<Body, &'static str> {
        let word =
            |at: usize| u64::from_le_bytes(self.body[at..at + 8].try_into().expect("8 bytes"));
        match (self.body_kind, kind) {
            (BODY_EXTENTS, kind) if kind != FileKind::Directory && kind != FileKind::Symlink => {
                let count = usize::from(self.body_count);
                if count > INLINE_EXTENTS || (count > 0 && kind != FileKind::File) {
                    return Err("too many extents");
                }
                let mut list = [Run::EMPTY; INLINE_EXTENTS];
                let mut end = 0;
                for (index, place) in self.body.chunks_exact(24).take(count).enumerate() {
                    let page = word(index * 24);
                    let run = Run::decode(page, &place[8..], geometry)?;
                    if page < end || run.end() > MAX_PAGES {
                        return Err("extents out of order");
                    }
                    end = run.end();
                    list[index] = run;
                }
                Ok(Body::Extents { count, list })
            }
            (BODY_TREE, FileKind::File | FileKind::Directory) => {
                tree_root(word(0), self.body_count, geometry)
                    .map(Body::Tree)
                    .ok_or("an impossible tree")
            }
            (BODY_TARGET, FileKind::Symlink) => {
                let size = self.size.get();
                if size == 0 || size > INLINE_TARGET as u64 {
                    return Err("a target of impossible length");
                }
                Ok(Body::Target(self.body))
            }
            (BODY_TARGET_BLOCK, FileKind::Symlink) => {
                let block = word(0);
                if !geometry.is_data(block, 1) || self.size.get() >= crate::layout::BLOCK {
                    return Err("an impossible target");
                }
                let crc = u32::from_le_bytes(self.body[8..12].try_into().expect("4 bytes"));
                Ok(Body::TargetBlock { block, crc })
            }
            _ => Err("a body that does not fit its kind"),
        }
    }
}

/// The root of a tree, if it is a possible one.
pub(crate) fn tree_root(block: u64, height: u8, geometry: &Geometry) -> Option<TreeRoot> {
    let root = TreeRoot { block, height: u32::from(height) };
    let possible = match root.height {
        0 => block == 0,
        height => height <= MAX_HEIGHT && geometry.is_data(block, 1),
    };
    possible.then_some(root)
}
