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

#[cfg(test)]
mod tests {
    use limpid::Pool;

    use super::*;

    #[test]
    fn an_inode_is_known_as_often_as_it_was_told() {
        let known = Known::default();
        let mut gone = 0;
        for _ in 0..3 {
            known.add(7);
        }
        known.forget(7, 2, || gone += 1);
        assert_eq!((gone, known.contains(7), known.len()), (0, true, 1));
        known.add(7 + SHARDS as u64);
        known.forget(7, 1, || gone += 1);
        assert_eq!((gone, known.contains(7), known.len()), (1, false, 1));
        known.forget(7, 1, || gone += 1);
        assert_eq!(gone, 1, "it was forgotten before");
        known.clear();
        assert_eq!(known.len(), 0);
    }

    #[test]
    fn an_inode_without_names_is_held_until_it_is_forgotten() {
        let pool = Pool::memory(16 << 20).unwrap();
        let lose_name = |known: &Known, is_known: bool| {
            pool.write("/f", b"bytes").unwrap();
            let held = pool.inodes().hold(pool.metadata("/f").unwrap().ino).unwrap();
            let ino = held.ino();
            if is_known {
                known.add(ino);
                known.add(ino);
            }
            pool.remove_file("/f").unwrap();
            known.hold(held);
            ino
        };
        let known = Known::default();
        let ino = lose_name(&known, false);
        assert!(pool.inodes().hold(ino).is_err(), "nobody knows it");
        let ino = lose_name(&known, true);
        known.forget(ino, 1, || {});
        assert!(pool.inodes().hold(ino).is_ok());
        known.forget(ino, 1, || {});
        assert!(pool.inodes().hold(ino).is_err());
    }
}
