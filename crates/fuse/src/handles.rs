//! Open files by the number the kernel names them with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use limpid::File;
use limpid_locks::{Class, Mutex, RwLock, mutex, rw_lock};
use rustc_hash::FxHashMap;

static HANDLES: Class = Class::new("fuse: open files");
static WRITERS: Class = Class::new("fuse: writers of files");

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
    /// It may be read and written, so programs may store into it through maps.
    pub maps: bool,
}

/// How often an inode is open for writing, and for reading and writing.
#[derive(Clone, Copy, Default)]
struct Writers {
    all: u32,
    mappers: u32,
}

/// The open files of a mount. The locks are leaves, held for a moment.
pub(crate) struct Handles {
    shards: [RwLock<FxHashMap<u64, Arc<Handle>>>; SHARDS],
    next: AtomicU64,
    /// How often an inode is open to be changed.
    writers: Mutex<FxHashMap<u64, Writers>>,
}

impl Handles {
    pub fn new() -> Handles {
        Handles {
            shards: std::array::from_fn(|_| rw_lock(&HANDLES, FxHashMap::default())),
            next: AtomicU64::new(1),
            writers: mutex(&WRITERS, FxHashMap::default()),
        }
    }

    fn shard(&self, number: u64) -> &RwLock<FxHashMap<u64, Arc<Handle>>> {
        &self.shards[number as usize % SHARDS]
    }

    /// Adds an open file; its number.
    pub fn add(&self, handle: Handle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if handle.writes {
            let mut writers = self.writers.lock();
            let writers = writers.entry(handle.ino).or_default();
            writers.all += 1;
            writers.mappers += u32::from(handle.maps);
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
                count.all -= 1;
                count.mappers -= u32::from(handle.maps);
                if count.all == 0 {
                    writers.remove(&handle.ino);
                }
            }
        }
        Some(handle)
    }

    /// How often an inode is open for writing.
    pub fn writers(&self, ino: u64) -> u32 {
        self.writers.lock().get(&ino).map_or(0, |writers| writers.all)
    }

    /// How often an inode is open so that programs may store into it through maps.
    pub fn mappers(&self, ino: u64) -> u32 {
        self.writers.lock().get(&ino).map_or(0, |writers| writers.mappers)
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
