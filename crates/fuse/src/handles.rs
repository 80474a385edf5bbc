//! Open files by the number the kernel names them with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use limpid::File;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

const SHARDS: usize = 16;

/// An open file, and how it was opened.
pub(crate) struct Handle {
    pub file: File,
    /// The number of the inode.
    pub ino: u64,
}

/// The open files of a mount. The locks are leaves, held for a moment.
pub(crate) struct Handles {
    shards: [RwLock<FxHashMap<u64, Arc<Handle>>>; SHARDS],
    next: AtomicU64,
}

impl Handles {
    pub fn new() -> Handles {
        Handles { shards: Default::default(), next: AtomicU64::new(1) }
    }

    fn shard(&self, number: u64) -> &RwLock<FxHashMap<u64, Arc<Handle>>> {
        &self.shards[number as usize % SHARDS]
    }

    /// Adds an open file; its number.
    pub fn add(&self, handle: Handle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.shard(number).write().insert(number, Arc::new(handle));
        number
    }

    /// The open file of a number.
    pub fn get(&self, number: u64) -> Option<Arc<Handle>> {
        self.shard(number).read().get(&number).cloned()
    }

    /// Forgets an open file.
    pub fn remove(&self, number: u64) -> Option<Arc<Handle>> {
        self.shard(number).write().remove(&number)
    }

    /// Number of open files.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.shards.iter().for_each(|shard| shard.write().clear());
    }
}
