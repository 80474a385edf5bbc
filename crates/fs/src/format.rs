//! Making a pool.

use std::sync::Arc;

use limpid_pmem::{Media, Persist};
use zerocopy::{FromZeros, IntoBytes};

use crate::anchor::{
    FLOOR_AT, INODE_TABLE_AT, ORPHANS_AT, RawInodeTable, RawOrphans, RawShard, SHARDS, STATE_AT,
    State, shard_at,
};
use crate::attributes::{FileKind, Timespec};
use crate::canary::{Step, left_out};
use crate::core::Core;
use crate::error::{FsError, Result};
use crate::fs::ROOT;
use crate::journal::{HEADER, slot_at};
use crate::layout::{ANCHOR, BLOCK, BLOCK_LEN, GRANULE, Geometry, LANES, SLOTS};
use crate::record::{Body, Meta};
use crate::seal;
use crate::space::Descriptor;
use crate::superblock::{MAX_LABEL, Superblock};
use crate::tree::TreeRoot;
use crate::tx::Tx;

/// What a new pool shall be.
#[derive(Clone, Debug)]
pub struct FormatOptions {
    /// A label of at most 64 bytes; longer ones are refused.
    pub label: String,
    /// The pool's UUID; random if not given.
    pub uuid: Option<[u8; 16]>,
    /// Permission bits of the root directory.
    pub root_mode: u32,
    /// Owner of the root directory.
    pub uid: u32,
    /// Group of the root directory.
    pub gid: u32,
}

impl Default for FormatOptions {
    fn default() -> FormatOptions {
        FormatOptions { label: String::new(), uuid: None, root_mode: 0o755, uid: 0, gid: 0 }
    }
}

/// Makes a pool over the whole medium. The superblocks are written last, so a medium is either
/// no pool or a whole one.
pub(crate) fn format(media: &Arc<dyn Media>, options: &FormatOptions) -> Result<()> {
    if options.label.len() > MAX_LABEL {
        return Err(FsError::NameTooLong);
    }
    let geometry = Geometry::of(media.len() / BLOCK)?;
    let mut label = [0; MAX_LABEL];
    label[..options.label.len()].copy_from_slice(options.label.as_bytes());
    let superblock = Superblock {
        uuid: options.uuid.unwrap_or_else(random_uuid),
        label,
        hash_seed: random(),
        created: Timespec::now(),
        features: [0; 3],
        geometry,
    };
    let backup_at = geometry.data_end * BLOCK;
    media.zero(0..BLOCK, Persist::Yes)?;
    media.zero(backup_at..backup_at + BLOCK, Persist::Yes)?;
    media.fence();
    if left_out(Step::SuperblockLast) {
        superblock.write_at(&**media, 0)?;
    }
    write_roots(&**media, &superblock)?;
    let core = Core::open(media.clone(), superblock.clone(), 1, false)?;
    make_root(&core, options)?;
    core.journal.retire(&**media)?;
    superblock.write_at(&**media, backup_at)?;
    media.fence();
    superblock.write_at(&**media, 0)?;
    core.sync_medium()
}

/// Writes everything that is not a file: the anchor, an empty journal, the descriptors.
fn write_roots(media: &dyn Media, superblock: &Superblock) -> Result<()> {
    let (geometry, salt) = (&superblock.geometry, superblock.salt());
    let mut anchor = [0; BLOCK_LEN];
    let mut put = |at: u64, bytes: &[u8]| {
        let start = (at - ANCHOR * BLOCK) as usize;
        anchor[start..start + bytes.len()].copy_from_slice(bytes);
    };
    put(STATE_AT, &seal::seal_word(State::Clean as u64, salt).to_le_bytes());
    put(FLOOR_AT, &seal::seal_word(1, salt).to_le_bytes());
    put(INODE_TABLE_AT, &RawInodeTable::new_zeroed().sealed());
    put(ORPHANS_AT, &RawOrphans::new_zeroed().sealed());
    for shard in 0..SHARDS {
        put(shard_at(shard), &RawShard::new_zeroed().sealed());
    }
    media.write(ANCHOR * BLOCK, &anchor, Persist::Yes)?;
    for lane in 0..LANES as usize {
        for slot in 0..SLOTS as usize {
            let at = slot_at(lane, slot);
            media.zero(at..at + HEADER as u64, Persist::Yes)?;
        }
    }
    let mut bytes = Vec::with_capacity(64 * BLOCK_LEN);
    let mut at = geometry.descriptor_at(0);
    for group in 0..geometry.groups as usize {
        bytes.extend_from_slice(Descriptor::fresh(group, geometry).as_bytes());
        if bytes.len() == bytes.capacity() || group + 1 == geometry.groups as usize {
            media.write(at, &bytes, Persist::Yes)?;
            at += bytes.len() as u64;
            bytes.clear();
        }
    }
    debug_assert_eq!(at, geometry.descriptor_at(0) + geometry.groups * GRANULE as u64);
    media.fence();
    Ok(())
}

/// Creates the root directory.
fn make_root(core: &Core, options: &FormatOptions) -> Result<()> {
    let mut guard = core.inodes.lock(core)?;
    let mut shard = *guard;
    let (ino, generation, at) = shard.take(core)?;
    assert!(ino == ROOT, "the first inode of a pool is the root");
    let now = Timespec::now();
    let mut tx = Tx::new(core);
    shard.put(&mut tx);
    tx.put_inode(&Meta {
        at,
        ino,
        generation,
        kind: FileKind::Directory,
        mode: options.root_mode as u16 & 0o7777,
        uid: options.uid,
        gid: options.gid,
        nlink: 2,
        size: 0,
        blocks: 0,
        link: ROOT,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        xattrs: TreeRoot::EMPTY,
        body: Body::Tree(TreeRoot::EMPTY),
    });
    tx.commit()?;
    *guard = shard;
    Ok(())
}

/// A random UUID, version 4.
fn random_uuid() -> [u8; 16] {
    let mut uuid = random();
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// Random bytes of the system; without a source of them, the time has to do: they only have to
/// differ from pool to pool.
fn random() -> [u8; 16] {
    if let Some(bytes) = crate::control::random() {
        return bytes;
    }
    let mut bytes = [0; 16];
    match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()) {
        Ok(16) => bytes,
        _ => {
            let now = Timespec::now();
            let (high, low) = (now.seconds as u64, u64::from(now.nanoseconds));
            bytes[..8].copy_from_slice(&high.to_le_bytes());
            bytes[8..].copy_from_slice(&low.to_le_bytes());
            bytes
        }
    }
}
