//! The inodes in memory: one object per inode, counted by how often it is open.
//!
//! Objects that are not open stay for a while, so that paths need not be read again. The locks here
//! are taken after inode locks and held for a moment only; loading reads the medium under them.

use std::sync::Arc;

use limpid_locks::{Mutex, mutex};
use rustc_hash::FxHashMap;

use crate::classes::OBJECTS;
use crate::core::Core;
use crate::error::{FsError, Result};
use crate::inode::Inode;

const SHARDS: usize = 16;
/// Objects of a shard from which on closed ones are dropped.
const KEPT: usize = 2048;

struct Entry {
    inode: Arc<Inode>,
    opens: u32,
    /// The last name was removed and nobody has it open: it is being freed.
    dying: bool,
}

type Shard = FxHashMap<u64, Entry>;

/// See the module's documentation.
pub(crate) struct Table {
    shards: [Mutex<Shard>; SHARDS],
}

impl Default for Table {
    fn default() -> Table {
        Table { shards: std::array::from_fn(|_| mutex(&OBJECTS, Shard::default())) }
    }
}

impl Table {
    fn shard(&self, ino: u64) -> &Mutex<Shard> {
        &self.shards[ino as usize % SHARDS]
    }

    fn entry<'a>(core: &Arc<Core>, shard: &'a mut Shard, ino: u64) -> Result<&'a mut Entry> {
        let stale = shard.get(&ino).is_none_or(|entry| entry.inode.is_freed());
        if stale {
            let meta = core.inodes.load(core, ino)?;
            trim(shard);
            let inode = Arc::new(Inode::new(core.clone(), meta));
            shard.insert(ino, Entry { inode, opens: 0, dying: false });
        }
        Ok(shard.get_mut(&ino).expect("it is there or was just added"))
    }

    /// The object of an inode, without opening it.
    pub fn get(&self, core: &Arc<Core>, ino: u64) -> Result<Arc<Inode>> {
        Ok(Table::entry(core, &mut self.shard(ino).lock(), ino)?.inode.clone())
    }

    /// The object of an inode, opened.
    pub fn open(&self, core: &Arc<Core>, ino: u64) -> Result<Arc<Inode>> {
        let mut shard = self.shard(ino).lock();
        let entry = Table::entry(core, &mut shard, ino)?;
        if entry.dying {
            return Err(FsError::NotFound);
        }
        entry.opens += 1;
        Ok(entry.inode.clone())
    }

    /// Adds a new inode, opened. If somebody found the new inode first, that object is the one.
    pub fn add(&self, inode: Inode) -> Arc<Inode> {
        let mut shard = self.shard(inode.ino().0).lock();
        trim(&mut shard);
        let ino = inode.ino().0;
        if let Some(entry) = shard.get_mut(&ino).filter(|entry| !entry.inode.is_freed()) {
            entry.opens += 1;
            return entry.inode.clone();
        }
        let inode = Arc::new(inode);
        shard.insert(ino, Entry { inode: inode.clone(), opens: 1, dying: false });
        inode
    }

    /// Closes an inode; true if that was the last time. With `last_name_gone` nobody can open
    /// it any more then.
    pub fn close(&self, ino: u64, last_name_gone: bool) -> bool {
        let mut shard = self.shard(ino).lock();
        let Some(entry) = shard.get_mut(&ino) else {
            return false;
        };
        assert!(entry.opens > 0, "an inode is closed as often as it is opened");
        entry.opens -= 1;
        entry.dying |= entry.opens == 0 && last_name_gone;
        entry.opens == 0
    }

    /// If nobody has the inode open, lets nobody open it any more, and returns true.
    pub fn begin_free(&self, ino: u64) -> bool {
        match self.shard(ino).lock().get_mut(&ino) {
            Some(entry) if entry.opens == 0 => {
                entry.dying = true;
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// Takes [`begin_free`](Table::begin_free) back.
    pub fn cancel_free(&self, ino: u64) {
        if let Some(entry) = self.shard(ino).lock().get_mut(&ino) {
            entry.dying = false;
        }
    }

    /// Forgets the object of an inode that was freed.
    pub fn forget(&self, inode: &Inode) {
        let mut shard = self.shard(inode.ino().0).lock();
        let same = shard.get(&inode.ino().0).is_some_and(|entry| {
            std::ptr::eq(Arc::as_ptr(&entry.inode), std::ptr::from_ref(inode))
        });
        if same {
            shard.remove(&inode.ino().0);
        }
    }

    /// True if somebody has the inode open.
    pub fn is_open(&self, ino: u64) -> bool {
        self.shard(ino).lock().get(&ino).is_some_and(|entry| entry.opens > 0)
    }

    /// All objects whose times are not durable.
    pub fn with_pending_times(&self) -> Vec<Arc<Inode>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let pending = shard.values().filter(|entry| entry.inode.has_pending_times());
            all.extend(pending.map(|entry| entry.inode.clone()));
        }
        all
    }
}

/// Drops some objects that nobody uses, if there are many.
fn trim(shard: &mut Shard) {
    if shard.len() < KEPT {
        return;
    }
    let mut left = KEPT / 8;
    shard.retain(|_, entry| {
        // Others clone the object only under this shard's lock, or from a clone they have.
        let unused = entry.opens == 0
            && !entry.dying
            && Arc::strong_count(&entry.inode) == 1
            && !entry.inode.has_pending_times();
        let drop = unused && left > 0;
        left -= usize::from(drop);
        !drop
    });
}
