//! What can be believed of a record whose checksum is wrong, or which is impossible in part.

use super::{BODY_EXTENTS, BODY_TREE, Body, CRC, INLINE_TARGET, MAGIC, Meta, Raw, Slot};
use crate::attributes::{FileKind, Timespec};
use crate::layout::{GRANULE, Geometry};
use crate::seal;
use crate::tree::TreeRoot;
use zerocopy::{FromBytes, IntoBytes};

impl Raw {
    /// The number of the inode whose record this is; none if it is not whole.
    pub fn number(record: &[u8]) -> Option<u64> {
        // Most blocks hold no records; the magic tells without a checksum.
        if record.get(4..8)? != MAGIC.to_le_bytes() || !record.len().is_multiple_of(GRANULE) {
            return None;
        }
        let raw = Raw::read_from_bytes(record).ok()?;
        seal::sealed(raw.as_bytes(), CRC).then(|| raw.ino.get())
    }

    /// The generation, as far as there is one.
    pub fn generation(&self) -> u32 {
        self.generation.get()
    }

    /// What the record of inode `ino` at byte `at` says if its checksum does not count; then
    /// without its attributes; then without its contents. None if it says nothing.
    pub fn salvage(&self, ino: u64, at: u64, geometry: &Geometry) -> Option<Slot> {
        if self.magic.get() != MAGIC || self.ino.get() != ino {
            return None;
        }
        let read = |mut raw: Raw| {
            seal::seal(raw.as_mut_bytes(), CRC);
            raw.decode(ino, at, geometry).ok()
        };
        let mut raw = *self;
        if let Some(slot) = read(raw) {
            return Some(slot);
        }
        (raw.xattr_root, raw.xattr_height) = (0.into(), 0);
        if let Some(slot) = read(raw) {
            return Some(slot);
        }
        if raw.blocks.get() > geometry.data_blocks() {
            raw.blocks = 0.into();
        }
        raw.size = raw.size.get().min(limpid_dax::MAX_FILE_SIZE).into();
        if let Some(slot) = read(raw) {
            return Some(slot);
        }
        raw.body = [0; INLINE_TARGET];
        raw.body_count = 0;
        raw.body_kind = match FileKind::from_u8(raw.kind) {
            // What the tree held is looked for by whoever gets an empty one.
            Some(FileKind::Directory | FileKind::File) => BODY_TREE,
            _ => BODY_EXTENTS,
        };
        read(raw)
    }
}

impl Meta {
    /// An inode of which nothing is known but its number, its place and its kind.
    pub fn nameless(ino: u64, at: u64, kind: FileKind) -> Meta {
        let now = Timespec::now();
        Meta {
            at,
            ino,
            generation: u32::try_from(now.seconds).unwrap_or(1),
            kind,
            mode: if kind == FileKind::Directory { 0o700 } else { 0o600 },
            uid: 0,
            gid: 0,
            nlink: 1,
            size: 0,
            blocks: 0,
            link: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            xattrs: TreeRoot::EMPTY,
            body: Body::Tree(TreeRoot::EMPTY),
        }
    }
}
