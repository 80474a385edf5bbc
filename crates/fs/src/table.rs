//! The inodes in memory: one object per inode, counted by how often it is open and how often held.
//!
//! Objects that nobody uses stay for a while, so that paths need not be read again. The locks here
//! are taken after inode locks and held for a moment only; loading reads the medium under them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use limpid_locks::{Mutex, mutex};
use rustc_hash::FxHashMap;

use crate::classes::{OBJECTS, OVERDUE};
use crate::core::Core;
use crate::error::{FsError, Result};
use crate::inode::Inode;

const SHARDS: usize = 16;
/// Objects of a shard from which on unused ones are dropped.
const KEPT: usize = 2048;

struct Entry {
    inode: Arc<Inode>,
    /// How often it is open.
    opens: u32,
    /// How often it was handed out held, and not let go.
    holds: u32,
    /// The last name was removed and nobody uses it: it is being freed.
    dying: bool,
    /// The last name was removed while somebody used it: the last of them frees it.
    orphan: bool,
}

/// What was left of an inode's users when it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It is open somewhere else.
    Open,
    /// It is not open any more, but held.
    Held,
    /// Nobody uses it.
    Nobody,
}

#[derive(Default)]
struct Shard {
    entries: FxHashMap<u64, Entry>,
    /// Number of entries from which on unused ones are looked for again.
    full: usize,
    /// Entries that were looked at for that in all.
    looks: u64,
}

/// See the module's documentation.
pub(crate) struct Table {
    shards: [Mutex<Shard>; SHARDS],
    /// Unused objects that are kept by their times alone, which want to be written.
    overdue: Mutex<Vec<Arc<Inode>>>,
    has_overdue: AtomicBool,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            shards: std::array::from_fn(|_| mutex(&OBJECTS, Shard::default())),
            overdue: mutex(&OVERDUE, Vec::new()),
            has_overdue: AtomicBool::new(false),
        }
    }
}

impl Table {
    fn shard(&self, ino: u64) -> &Mutex<Shard> {
        &self.shards[ino as usize % SHARDS]
    }

    fn entry<'a>(&self, core: &Arc<Core>, shard: &'a mut Shard, ino: u64) -> Result<&'a mut Entry> {
        let stale = shard.entries.get(&ino).is_none_or(|entry| entry.inode.is_freed());
        if stale {
            let meta = core.inodes.load(core, ino)?;
            self.insert(shard, Arc::new(Inode::new(core.clone(), meta)), 0);
        }
        Ok(shard.entries.get_mut(&ino).expect("it is there or was just added"))
    }

    fn insert(&self, shard: &mut Shard, inode: Arc<Inode>, opens: u32) {
        let overdue = shard.trim();
        if !overdue.is_empty() {
            self.overdue.lock().extend(overdue);
            self.has_overdue.store(true, Ordering::Release);
        }
        let entry = Entry { inode, opens, holds: 0, dying: false, orphan: false };
        shard.entries.insert(entry.inode.ino().0, entry);
    }

    /// The object of an inode. Neither opened nor held: the caller knows by a lock that the
    /// inode is not freed, or does with it what does no harm then.
    pub fn get(&self, core: &Arc<Core>, ino: u64) -> Result<Arc<Inode>> {
        Ok(self.entry(core, &mut self.shard(ino).lock(), ino)?.inode.clone())
    }

    /// The object of an inode, opened.
    pub fn open(&self, core: &Arc<Core>, ino: u64) -> Result<Arc<Inode>> {
        self.using(core, ino, |entry| entry.opens += 1)
    }

    /// The object of an inode, held.
    pub fn hold(&self, core: &Arc<Core>, ino: u64) -> Result<Arc<Inode>> {
        self.using(core, ino, |entry| entry.holds += 1)
    }

    fn using(
        &self,
        core: &Arc<Core>,
        ino: u64,
        count: impl FnOnce(&mut Entry),
    ) -> Result<Arc<Inode>> {
        let mut shard = self.shard(ino).lock();
        let entry = self.entry(core, &mut shard, ino)?;
        if entry.dying {
            return Err(FsError::NotFound);
        }
        count(entry);
        Ok(entry.inode.clone())
    }

    /// Adds a new inode, opened. If somebody found the new inode first, that object is the one.
    pub fn add(&self, inode: Inode) -> Arc<Inode> {
        let ino = inode.ino().0;
        let mut shard = self.shard(ino).lock();
        let old = shard.entries.get_mut(&ino).filter(|entry| !entry.inode.is_freed());
        if let Some(entry) = old {
            entry.opens += 1;
            return entry.inode.clone();
        }
        let inode = Arc::new(inode);
        self.insert(&mut shard, inode.clone(), 1);
        inode
    }

    /// Closes an inode; who uses it still. If that is nobody, and `last_name_gone`, then nobody
    /// can open or hold it any more.
    pub fn close(&self, ino: u64, last_name_gone: bool) -> Left {
        let mut shard = self.shard(ino).lock();
        let Some(entry) = shard.entries.get_mut(&ino) else {
            return Left::Open;
        };
        assert!(entry.opens > 0, "an inode is closed as often as it is opened");
        entry.opens -= 1;
        match (entry.opens, entry.holds) {
            (0, 0) => {
                entry.dying |= last_name_gone;
                Left::Nobody
            }
            (0, _) => Left::Held,
            _ => Left::Open,
        }
    }

    /// Ends a hold, unless it is the last use of an inode without names: then false, and
    /// [`end_hold`](Table::end_hold) is to be called with the inode's lock.
    pub fn let_go(&self, ino: u64) -> bool {
        let mut shard = self.shard(ino).lock();
        let entry = shard.entries.get_mut(&ino).expect("what is held is there");
        if entry.orphan && entry.opens == 0 && entry.holds == 1 {
            return false;
        }
        entry.holds -= 1;
        true
    }

    /// Ends a hold; true if nobody uses the inode any more and `last_name_gone`: then nobody can
    /// open or hold it again.
    pub fn end_hold(&self, ino: u64, last_name_gone: bool) -> bool {
        let mut shard = self.shard(ino).lock();
        let entry = shard.entries.get_mut(&ino).expect("what is held is there");
        entry.holds -= 1;
        let last = entry.holds == 0 && entry.opens == 0 && last_name_gone;
        entry.dying |= last;
        last
    }

    /// The last name of an inode goes. If nobody uses the inode, lets nobody use it any more, and
    /// returns true; else the last user frees it.
    pub fn begin_free(&self, ino: u64) -> bool {
        match self.shard(ino).lock().entries.get_mut(&ino) {
            Some(entry) if entry.opens == 0 && entry.holds == 0 => {
                entry.dying = true;
                true
            }
            Some(entry) => {
                entry.orphan = true;
                false
            }
            None => true,
        }
    }

    /// Takes [`begin_free`](Table::begin_free) back: the inode has a name still, or again.
    pub fn cancel_free(&self, ino: u64) {
        if let Some(entry) = self.shard(ino).lock().entries.get_mut(&ino) {
            entry.dying = false;
            entry.orphan = false;
        }
    }

    /// Notes that a new inode, which is open, has no name.
    pub fn set_orphan(&self, ino: u64) {
        if let Some(entry) = self.shard(ino).lock().entries.get_mut(&ino) {
            entry.orphan = true;
        }
    }

    /// Forgets the object of an inode that was freed.
    pub fn forget(&self, inode: &Inode) {
        let mut shard = self.shard(inode.ino().0).lock();
        let same = shard.entries.get(&inode.ino().0).is_some_and(|entry| {
            std::ptr::eq(Arc::as_ptr(&entry.inode), std::ptr::from_ref(inode))
        });
        if same {
            shard.entries.remove(&inode.ino().0);
        }
    }

    /// True if somebody has the inode open.
    pub fn is_open(&self, ino: u64) -> bool {
        self.shard(ino).lock().entries.get(&ino).is_some_and(|entry| entry.opens > 0)
    }

    /// All objects whose times are not durable.
    pub fn with_pending_times(&self) -> Vec<Arc<Inode>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let pending = shard.entries.values().filter(|entry| entry.inode.has_pending_times());
            all.extend(pending.map(|entry| entry.inode.clone()));
        }
        all
    }

    /// Unused objects that only their times keep in memory. Costs nothing while there are none.
    pub fn overdue(&self) -> Vec<Arc<Inode>> {
        if !self.has_overdue.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut overdue = self.overdue.lock();
        self.has_overdue.store(false, Ordering::Relaxed);
        std::mem::take(&mut *overdue)
    }
}

impl Shard {
    /// If there are many objects, drops some that nobody uses, and returns some that only their
    /// times keep.
    ///
    /// All are looked at for that, so that is done again only when there are an eighth more than
    /// were left: adding an object costs at most nine looks, however many are in use.
    fn trim(&mut self) -> Vec<Arc<Inode>> {
        let mut overdue = Vec::new();
        if self.entries.len() < self.full.max(KEPT) {
            return overdue;
        }
        self.looks += self.entries.len() as u64;
        let most = self.entries.len() / 8;
        let mut left = most;
        self.entries.retain(|_, entry| {
            // Others clone the object only under this shard's lock, or from a clone they have.
            let unused = entry.opens == 0
                && entry.holds == 0
                && !entry.dying
                && Arc::strong_count(&entry.inode) == 1;
            if !unused {
                return true;
            }
            if entry.inode.has_pending_times() {
                if overdue.len() < most {
                    overdue.push(entry.inode.clone());
                }
                return true;
            }
            let drop = left > 0;
            left -= usize::from(drop);
            !drop
        });
        self.full = self.entries.len() + (self.entries.len() / 8).max(KEPT / 8);
        overdue
    }
}

#[cfg(test)]
mod tests;
