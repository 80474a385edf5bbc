//! Open files of a pool: one `Node`, and so one DAX mapping, per inode.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use limpid_dax::{Config, FaultPolicy, Mapping, PAGE_SHIFT, PageRange, WaitTable};
use limpid_fs::{Fs, FsError, Ino, Inode};
use limpid_locks::{Class, Mutex, StdSeam, mutex};
use limpid_pmem::{Media, Origin};
use rustc_hash::FxHashMap;

/// The class of the table of open files.
static OPEN_FILES: Class = Class::new("limpid: open files");

/// The production stack: std's locks, any medium, the file system's block map.
pub(crate) struct Stack;

impl Config for Stack {
    type Seam = StdSeam;
    type Media = dyn Media;
    type Iomap = Inode;
}

/// An open inode with its mapping. Handles, maps and pins keep it alive; when the last one goes,
/// the inode is released, and freed if it has no name left. So a file is never freed under a live
/// map or pin (I6).
pub(crate) struct Node {
    table: Arc<Nodes>,
    inode: Option<Arc<Inode>>,
    origin: Origin,
    pub mapping: Arc<Mapping<Stack>>,
    /// Whether the access time was brought up to date since the last change.
    read_noted: AtomicBool,
}

impl Node {
    pub fn inode(&self) -> &Arc<Inode> {
        self.inode.as_ref().expect("released only when dropped")
    }

    /// Access time policy: relatime, and at most once between two changes while open.
    #[inline]
    pub fn note_read(&self) {
        if !self.read_noted.load(Ordering::Relaxed) {
            self.read_noted.store(true, Ordering::Relaxed);
            self.inode().touch_accessed();
        }
    }

    /// The data is about to change: the next read updates the access time again.
    #[inline]
    pub fn note_write(&self) {
        if self.read_noted.load(Ordering::Relaxed) {
            self.read_noted.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.origin.is_inherited() {
            return;
        }
        // What was stored through maps is marked in this mapping only: a later sync of the pool
        // would not find it. Nobody needs the bytes of a file without names.
        if self.inode().attributes().nlink > 0 {
            self.mapping.writeback(PageRange::new(0, u64::MAX >> PAGE_SHIFT));
        }
        self.table.forget(self);
        if let Some(inode) = self.inode.take() {
            // An error leaves the inode to the next opening of the pool, which ends what is left.
            let _ = self.table.fs.release(inode);
        }
    }
}

/// The open inodes of one pool.
pub(crate) struct Nodes {
    pub fs: Arc<Fs>,
    pub media: Arc<dyn Media>,
    pub waits: Arc<WaitTable<StdSeam>>,
    pub policy: FaultPolicy,
    open: Mutex<FxHashMap<u64, Weak<Node>>>,
}

impl Nodes {
    pub fn new(fs: Arc<Fs>, media: Arc<dyn Media>, policy: FaultPolicy) -> Nodes {
        let waits = Arc::new(WaitTable::new());
        Nodes { fs, media, waits, policy, open: mutex(&OPEN_FILES, FxHashMap::default()) }
    }

    /// The node of `ino`, opened if need be.
    pub fn open(self: &Arc<Self>, ino: Ino) -> Result<Arc<Node>, FsError> {
        let mut open = self.open.lock();
        if let Some(node) = open.get(&ino.0).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let inode = self.fs.inode(ino)?;
        Ok(self.insert(&mut open, inode))
    }

    /// The node of an inode that was opened already, which it takes over.
    pub fn adopt(self: &Arc<Self>, inode: Arc<Inode>) -> Arc<Node> {
        let mut open = self.open.lock();
        let live = open.get(&inode.ino().0).and_then(Weak::upgrade);
        match live {
            Some(node) => {
                drop(open);
                // The live node still holds the inode: this release only counts down.
                let _ = self.fs.release(inode);
                node
            }
            None => self.insert(&mut open, inode),
        }
    }

    /// Live nodes, for operations over all open files.
    pub fn live(&self) -> Vec<Arc<Node>> {
        let open = self.open.lock();
        open.values().filter_map(Weak::upgrade).collect()
    }

    fn insert(
        self: &Arc<Self>,
        open: &mut FxHashMap<u64, Weak<Node>>,
        inode: Arc<Inode>,
    ) -> Arc<Node> {
        let ino = inode.ino().0;
        let mapping =
            Mapping::new(ino, inode.clone(), self.media.clone(), self.waits.clone(), self.policy);
        let node = Arc::new(Node {
            table: self.clone(),
            inode: Some(inode),
            origin: Origin::here(),
            mapping: Arc::new(mapping),
            read_noted: AtomicBool::new(false),
        });
        open.insert(ino, Arc::downgrade(&node));
        node
    }

    /// Drops the table's dead reference to `node`, unless a new node took its place.
    fn forget(&self, node: &Node) {
        let mut open = self.open.lock();
        let ino = node.inode().ino().0;
        if open.get(&ino).is_some_and(|weak| weak.strong_count() == 0) {
            open.remove(&ino);
        }
    }
}

#[cfg(test)]
mod tests;
