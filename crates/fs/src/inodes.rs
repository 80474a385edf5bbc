//! The inode table: where records lie, and which are free.
//!
//! Inode `i` is record `i % 16` of inode block `i / 16`; a tree maps runs of inode blocks to
//! blocks of the medium. Inode blocks are never given back. Number 0 is not used.
//!
//! Free inodes hang in lists, one per shard; a shard also holds a range of inodes that were never
//! used. Threads prefer different shards. Lock order: shard, then table, then cache.

use std::collections::BTreeMap;

use limpid_locks::{Mutex, MutexGuard, RwLock, mutex, rw_lock};
use limpid_pmem::{Media, Persist};
use zerocopy::{FromZeros, IntoBytes};

use crate::alloc::Want;
use crate::anchor::{INODE_TABLE_AT, RawInodeTable, RawShard, SHARDS, shard_at};
use crate::classes::{FREE_INODES, INODE_PLACES, INODE_TABLE};
use crate::core::Core;
use crate::error::{FsError, Result, What, corrupt};
use crate::layout::{BLOCK, Geometry, INODE, INODES_PER_BLOCK};
use crate::record::{Meta, Raw, Slot, tree_root};
use crate::tree::{self, TreeRoot};
use crate::tx::Tx;

/// Owner of the nodes of the inode table's tree.
pub(crate) const OWNER: u64 = u64::MAX;

/// The state of a shard, copied into a transaction and back when it is committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shard {
    index: usize,
    free: u64,
    fresh: u64,
    fresh_end: u64,
    live: u64,
}

impl Shard {
    /// Reads and checks the shard; the table has `blocks` inode blocks.
    fn read(media: &dyn Media, index: usize, blocks: u64) -> Result<Shard> {
        let at = shard_at(index);
        let raw = RawShard::read(media, at)?;
        let shard = Shard {
            index,
            free: raw.free.get(),
            fresh: raw.fresh.get(),
            fresh_end: raw.fresh_end.get(),
            live: raw.live.get(),
        };
        let end = blocks * INODES_PER_BLOCK;
        if shard.fresh > shard.fresh_end || shard.fresh_end > end || shard.free >= end.max(1) {
            return corrupt(What::Anchor, at, "free inodes outside the table");
        }
        Ok(shard)
    }

    fn is_empty(&self) -> bool {
        self.free == 0 && self.fresh == self.fresh_end
    }

    /// Writes the shard in a transaction.
    pub fn put(&self, tx: &mut Tx<'_>) {
        let raw = RawShard {
            free: self.free.into(),
            fresh: self.fresh.into(),
            fresh_end: self.fresh_end.into(),
            live: self.live.into(),
            ..RawShard::new_zeroed()
        };
        tx.put(shard_at(self.index), &raw.sealed());
    }

    /// Takes a free inode: number, generation and the place of its record.
    pub fn take(&mut self, core: &Core) -> Result<(u64, u32, u64)> {
        let ino = if self.free != 0 { self.free } else { self.fresh };
        let (at, slot) = core.inodes.slot(core, ino)?;
        let generation = match slot {
            Slot::Free { generation, next } if self.free != 0 => {
                self.free = next;
                generation.wrapping_add(1)
            }
            Slot::Virgin if self.free == 0 => {
                self.fresh += 1;
                1
            }
            _ => return corrupt(What::FreeInodes, at, "an inode in use is listed as free"),
        };
        self.live = self.live.wrapping_add(1);
        Ok((ino, generation, at))
    }

    /// Gives an inode back.
    pub fn give(&mut self, tx: &mut Tx<'_>, meta: &Meta) {
        tx.put(meta.at, Raw::free(meta.ino, meta.generation, self.free).as_bytes());
        self.free = meta.ino;
        self.live = self.live.wrapping_sub(1);
    }
}

/// Root and size of the table.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub root: TreeRoot,
    /// Number of inode blocks.
    pub blocks: u64,
}

impl Table {
    /// Reads and checks the root.
    fn read(media: &dyn Media, geometry: &Geometry) -> Result<Table> {
        let raw = RawInodeTable::read(media, INODE_TABLE_AT)?;
        let height = u8::try_from(raw.height.get()).unwrap_or(u8::MAX);
        let Some(root) = tree_root(raw.root.get(), height, geometry) else {
            return corrupt(What::Anchor, INODE_TABLE_AT, "an impossible tree");
        };
        let blocks = raw.inode_blocks.get();
        if blocks > geometry.data_blocks() {
            return corrupt(What::Anchor, INODE_TABLE_AT, "more inode blocks than blocks");
        }
        Ok(Table { root, blocks })
    }
}

/// See the module's documentation.
pub(crate) struct InodeTable {
    table: RwLock<Table>,
    /// Runs of inode blocks already looked up: first inode block → first block, length.
    cache: RwLock<BTreeMap<u64, (u64, u64)>>,
    shards: Vec<Mutex<Shard>>,
}

impl InodeTable {
    /// Reads the roots of the inode table.
    pub fn open(media: &dyn Media, geometry: &Geometry) -> Result<InodeTable> {
        InodeTable::open_noting(media, geometry, &mut |_, error| Err(error))
    }

    /// As [`open`](InodeTable::open), but `note` decides what becomes of a damaged root: an error
    /// ends the opening, else the root counts as empty. It is told of the table (true) or of a
    /// shard (false).
    pub fn open_noting(
        media: &dyn Media,
        geometry: &Geometry,
        note: &mut dyn FnMut(bool, FsError) -> Result<()>,
    ) -> Result<InodeTable> {
        let table = match Table::read(media, geometry) {
            Ok(table) => table,
            Err(error) => {
                note(true, error)?;
                Table { root: TreeRoot::EMPTY, blocks: 0 }
            }
        };
        let mut shards = Vec::with_capacity(SHARDS);
        for index in 0..SHARDS {
            let shard = match Shard::read(media, index, table.blocks) {
                Ok(shard) => shard,
                Err(error) => {
                    note(false, error)?;
                    Shard { index, free: 0, fresh: 0, fresh_end: 0, live: 0 }
                }
            };
            shards.push(mutex(&FREE_INODES, shard));
        }
        let table = rw_lock(&INODE_TABLE, table);
        Ok(InodeTable { table, cache: rw_lock(&INODE_PLACES, BTreeMap::new()), shards })
    }

    /// Inodes in use.
    pub fn live(&self) -> u64 {
        self.shards.iter().fold(0, |sum, shard| shard.lock().live.wrapping_add(sum))
    }

    /// Root and size.
    pub fn table(&self) -> Table {
        *self.table.read()
    }

    /// The free list and the range of unused inodes of each shard.
    pub fn free_lists(&self) -> Vec<(u64, std::ops::Range<u64>)> {
        let lists = self.shards.iter().map(|shard| {
            let shard = shard.lock();
            (shard.free, shard.fresh..shard.fresh_end)
        });
        lists.collect()
    }

    /// Device offset of an inode's record. Not found if the table has no such inode.
    pub fn record_at(&self, core: &Core, ino: u64) -> Result<u64> {
        let (index, slot) = (ino / INODES_PER_BLOCK, ino % INODES_PER_BLOCK);
        let cached = |cache: &BTreeMap<u64, (u64, u64)>| {
            let (first, (block, len)) = cache.range(..=index).next_back()?;
            (index - first < *len).then(|| (block + index - first) * BLOCK + slot * INODE)
        };
        if let Some(at) = cached(&self.cache.read()) {
            return Ok(at);
        }
        let table = self.table.read();
        if ino == 0 || index >= table.blocks {
            return Err(FsError::NotFound);
        }
        let found = tree::floor(core, OWNER, table.root, index, |first, value| {
            Ok((first, decode(first, value, &core.geometry)?))
        })?;
        match found {
            Some((first, (block, len))) if index - first < len => {
                self.cache.write().insert(first, (block, len));
                Ok((block + index - first) * BLOCK + slot * INODE)
            }
            _ => corrupt(What::Anchor, INODE_TABLE_AT, "an inode block is missing"),
        }
    }

    /// The place of a record, and what it holds.
    pub fn slot(&self, core: &Core, ino: u64) -> Result<(u64, Slot)> {
        let at = self.record_at(core, ino)?;
        let mut raw = Raw::new_zeroed();
        core.media.read(at, raw.as_mut_bytes())?;
        Ok((at, raw.decode(ino, at, &core.geometry)?))
    }

    /// The record of an inode in use.
    pub fn load(&self, core: &Core, ino: u64) -> Result<Meta> {
        match self.slot(core, ino)?.1 {
            Slot::Used(meta) => Ok(meta),
            _ => Err(FsError::NotFound),
        }
    }

    /// Locks a shard that has a free inode, this thread's own if possible.
    pub fn lock(&self, core: &Core) -> Result<MutexGuard<'_, Shard>> {
        let home = crate::thread::index() % SHARDS;
        let mut shard = self.shards[home].lock();
        if !shard.is_empty() {
            return Ok(shard);
        }
        match self.grow(core, &mut shard) {
            Ok(()) => return Ok(shard),
            Err(FsError::NoSpace) => drop(shard),
            Err(error) => return Err(error),
        }
        for other in &self.shards {
            let shard = other.lock();
            if !shard.is_empty() {
                return Ok(shard);
            }
        }
        Err(FsError::NoSpace)
    }

    /// Locks this thread's shard, to give an inode back.
    pub fn lock_any(&self) -> MutexGuard<'_, Shard> {
        self.shards[crate::thread::index() % SHARDS].lock()
    }

    /// Adds inode blocks, in a transaction of its own, and gives them to a shard without any.
    fn grow(&self, core: &Core, shard: &mut Shard) -> Result<()> {
        let mut table = self.table.write();
        let mut tx = Tx::new(core);
        let wanted = (core.geometry.data_blocks() / 4096).clamp(1, 16);
        let last = tree::floor(core, OWNER, table.root, table.blocks, |first, value| {
            Ok((first, decode(first, value, &core.geometry)?))
        })?;
        let goal = last.map(|(_, (block, len))| block + len);
        let (block, len) = tx.allocate(Want::Blocks(wanted), goal)?;
        // Old contents must not look like inodes.
        core.media.zero(block * BLOCK..(block + len) * BLOCK, Persist::Yes)?;
        tx.fence_first();
        let (first, run) = match last {
            Some((first, (start, old))) if start + old == block => (first, (start, old + len)),
            _ => (table.blocks, (block, len)),
        };
        let mut root = table.root;
        tree::insert(&mut tx, OWNER, &mut root, &mut 0, first, &encode(run))?;
        let new = Table { root, blocks: table.blocks + len };
        let start = (table.blocks * INODES_PER_BLOCK).max(1);
        let grown = Shard { fresh: start, fresh_end: new.blocks * INODES_PER_BLOCK, ..*shard };
        put_table(&mut tx, new);
        grown.put(&mut tx);
        tx.commit()?;
        self.cache.write().insert(first, run);
        *table = new;
        *shard = grown;
        Ok(())
    }
}

/// Writes the root of the inode table in a transaction.
pub(crate) fn put_table(tx: &mut Tx<'_>, table: Table) {
    let raw = RawInodeTable {
        root: table.root.block.into(),
        height: table.root.height.into(),
        inode_blocks: table.blocks.into(),
        ..RawInodeTable::new_zeroed()
    };
    tx.put(INODE_TABLE_AT, &raw.sealed());
}

pub(crate) fn encode((block, len): (u64, u64)) -> [u8; 16] {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&block.to_le_bytes());
    value[8..].copy_from_slice(&len.to_le_bytes());
    value
}

/// Checks and decodes a run of inode blocks.
pub(crate) fn decode(first: u64, value: &[u8], geometry: &Geometry) -> Result<(u64, u64)> {
    let bad = || corrupt(What::Anchor, first, "an impossible run of inode blocks");
    let Ok(value) = <&[u8; 16]>::try_from(value) else {
        return bad();
    };
    let block = u64::from_le_bytes(value[..8].try_into().expect("8 bytes"));
    let len = u64::from_le_bytes(value[8..].try_into().expect("8 bytes"));
    if geometry.is_data(block, len) { Ok((block, len)) } else { bad() }
}
