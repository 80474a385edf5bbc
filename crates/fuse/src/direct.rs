//! Direct writes beside the kernel's page cache.
//!
//! The kernel drops its pages of a range before it asks for a direct write there, and once more
//! after a write that it waits for. After one that nobody waits for (io_submit) it does not, and
//! pages that reads through the cache brought in meanwhile would stay as they were before the
//! write. So where the kernel may have pages of the file, those of the range are dropped before
//! the write is answered, aside from the threads that serve requests (`aside.rs`).
//!
//! 1. A file is noted before bytes of it are read for the cache, and looked for after a direct
//!    write is made: a read that the write does not know of sees what was written.
//! 2. The kernel has the pages locked for which it has a read under way. Who drops them waits until
//!    that is answered, so none comes in afterwards with old bytes.
//!
//! The kernel tells the owner of locks with direct reads and writes, and with no others.

use fuser::{LockOwner, OpenFlags};
use limpid_locks::{Class, Mutex, mutex};
use rustc_hash::FxHashSet;
use rustix::fs::OFlags;

static CACHED: Class = Class::new("fuse: files with cached pages");

const SHARDS: usize = 16;

/// The files of which the kernel may have pages. The locks are leaves.
pub(crate) struct Cached {
    shards: [Mutex<FxHashSet<u64>>; SHARDS],
}

impl Default for Cached {
    fn default() -> Cached {
        Cached { shards: std::array::from_fn(|_| mutex(&CACHED, FxHashSet::default())) }
    }
}

impl Cached {
    fn shard(&self, ino: u64) -> &Mutex<FxHashSet<u64>> {
        &self.shards[ino as usize % SHARDS]
    }

    /// The kernel is about to get pages of a file.
    pub fn note(&self, ino: u64) {
        self.shard(ino).lock().insert(ino);
    }

    /// Whether the kernel may have pages of a file.
    pub fn contains(&self, ino: u64) -> bool {
        self.shard(ino).lock().contains(&ino)
    }

    /// The kernel has forgotten an inode, and so all its pages.
    pub fn forget(&self, ino: u64) {
        self.shard(ino).lock().remove(&ino);
    }
}

/// Whether a program's write goes past the kernel's cache.
pub(crate) fn is_direct(owner: Option<LockOwner>, flags: OpenFlags) -> bool {
    owner.is_some() || OFlags::from_bits_retain(flags.0 as u32).contains(OFlags::DIRECT)
}
