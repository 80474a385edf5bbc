//! Open files by the number the kernel names them with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use limpid::File;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

const SHARDS: usize = 16;

/// An open file, and how it was opened.
pub(crate) struct Handle {
    pub file: File,
    /// The number of the inode.
    pub ino: u64,
    /// The file as the library has it, if it is open to be appended to by both.
    pub appended: Option<File>,
    /// It may be written, so the kernel may hold bytes of it that the pool does not have yet.
    pub writes: bool,
}

/// The open files of a mount. The locks are leaves, held for a moment.
pub(crate) struct Handles {
    shards: [RwLock<FxHashMap<u64, Arc<Handle>>>; SHARDS],
    next: AtomicU64,
    /// How often an inode is open for writing.
    writers: Mutex<FxHashMap<u64, u32>>,
}

impl Handles {
    pub fn new() -> Handles {
        Handles { shards: Default::default(), next: AtomicU64::new(1), writers: Mutex::default() }
    }

    fn shard(&self, number: u64) -> &RwLock<FxHashMap<u64, Arc<Handle>>> {
        &self.shards[number as usize % SHARDS]
    }

    /// Adds an open file; its number.
    pub fn add(&self, handle: Handle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if handle.writes {
            *self.writers.lock().entry(handle.ino).or_default() += 1;
        }
        self.shard(number).write().insert(number, Arc::new(handle));
        number
    }

    /// The open file of a number.
    pub fn get(&self, number: u64) -> Option<Arc<Handle>> {
        self.shard(number).read().get(&number).cloned()
    }

    /// Forgets an open file.
    pub fn remove(&self, number: u64) -> Option<Arc<Handle>> {
        let handle = self.shard(number).write().remove(&number)?;
        if handle.writes {
            let mut writers = self.writers.lock();
            if let Some(count) = writers.get_mut(&handle.ino) {
                *count -= 1;
                if *count == 0 {
                    writers.remove(&handle.ino);
                }
            }
        }
        Some(handle)
    }

    /// How often an inode is open for writing.
    pub fn writers(&self, ino: u64) -> u32 {
        self.writers.lock().get(&ino).copied().unwrap_or(0)
    }

    /// Number of open files.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.shards.iter().for_each(|shard| shard.write().clear());
        self.writers.lock().clear();
    }
}
