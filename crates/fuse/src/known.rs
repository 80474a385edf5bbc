//! The inodes the kernel knows, counted by how often it was told of each.
//!
//! The kernel may use the number of an inode until it has forgotten it as often as it was told. An
//! inode that loses its last name meanwhile is kept alive here, so that its number cannot become
//! another file's under the kernel's feet. An entry is as small as can be: the kernel may know
//! hundreds of thousands.

use limpid::Held;
use limpid_locks::{Class, Mutex, mutex};
use rustc_hash::FxHashMap;

static KNOWN: Class = Class::new("fuse: known inodes");

const SHARDS: usize = 16;

#[derive(Default)]
struct Shard {
    /// How often the kernel was told of an inode.
    lookups: FxHashMap<u64, u32>,
    /// Those without a name.
    held: FxHashMap<u64, Held>,
}

/// See the module's documentation. The locks are leaves: what is let go is dropped outside.
pub(crate) struct Known {
    shards: [Mutex<Shard>; SHARDS],
}

impl Default for Known {
    fn default() -> Known {
        Known { shards: std::array::from_fn(|_| mutex(&KNOWN, Shard::default())) }
    }
}

impl Known {
    fn shard(&self, ino: u64) -> &Mutex<Shard> {
        &self.shards[ino as usize % SHARDS]
    }

    /// The kernel is about to be told of an inode.
    pub fn add(&self, ino: u64) {
        let mut shard = self.shard(ino).lock();
        let count = shard.lookups.entry(ino).or_default();
        *count = count.saturating_add(1);
    }

    /// The kernel forgets that it was told `times` times. If it does not know the inode then,
    /// `gone` is called before it can be told again; it may take locks that are leaves.
    pub fn forget(&self, ino: u64, times: u64, gone: impl FnOnce()) {
        let mut shard = self.shard(ino).lock();
        let Some(count) = shard.lookups.get_mut(&ino) else { return };
        *count = u64::from(*count).saturating_sub(times) as u32;
        if *count == 0 {
            gone();
            shard.lookups.remove(&ino);
            let held = shard.held.remove(&ino);
            drop(shard);
            drop(held);
        }
    }

    /// Keeps an inode that has lost its last name until the kernel forgets it.
    pub fn hold(&self, held: Held) {
        let ino = held.ino();
        let mut shard = self.shard(ino).lock();
        if shard.lookups.contains_key(&ino) {
            let twice = shard.held.insert(ino, held);
            drop(shard);
            drop(twice);
        }
    }

    /// Whether the kernel knows an inode.
    pub fn contains(&self, ino: u64) -> bool {
        self.shard(ino).lock().lookups.contains_key(&ino)
    }

    /// Number of inodes the kernel knows.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().lookups.len()).sum()
    }

    /// The mount is gone, and with it all the kernel knew.
    pub fn clear(&self) {
        for shard in &self.shards {
            let all = std::mem::take(&mut *shard.lock());
            drop(all);
        }
    }
}
