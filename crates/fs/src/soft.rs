//! Soft reservations: a 2 MiB unit that a growing file holds in advance, so that its blocks lie
//! where 2 MiB pages need them. In memory only; given back when the file is closed, or when
//! space runs out.

use std::sync::atomic::{AtomicU64, Ordering};

use limpid_locks::{Mutex, mutex};
use rustc_hash::FxHashMap;

use crate::classes::SOFT;
use crate::layout::UNIT;
use crate::space::Space;

const SHARDS: usize = 16;

/// The part of a unit that a file has not used yet.
struct Held {
    /// First page of the file's unit, a multiple of 512.
    page: u64,
    /// First block of the unit on the medium, congruent with `page`.
    block: u64,
    /// Pages still held, by bit.
    left: [u64; UNIT as usize / 64],
}

impl Held {
    fn has(&self, index: u64) -> bool {
        self.left[index as usize / 64] >> (index % 64) & 1 == 1
    }

    /// Runs of pages still held: first index and length.
    fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for index in (0..UNIT).filter(|index| self.has(*index)) {
            match runs.last_mut() {
                Some((first, len)) if *first + *len == index => *len += 1,
                _ => runs.push((index, 1)),
            }
        }
        runs
    }
}

/// All soft reservations, by inode. The locks are leaves but for the usage locks.
pub(crate) struct Soft {
    shards: [Mutex<FxHashMap<u64, Held>>; SHARDS],
    blocks: AtomicU64,
}

impl Default for Soft {
    fn default() -> Soft {
        let shards = std::array::from_fn(|_| mutex(&SOFT, FxHashMap::default()));
        Soft { shards, blocks: AtomicU64::new(0) }
    }
}

impl Soft {
    fn shard(&self, ino: u64) -> &Mutex<FxHashMap<u64, Held>> {
        &self.shards[ino as usize % SHARDS]
    }

    /// Blocks held in all.
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Takes up to `len` blocks for consecutive pages from `page` on, if the file holds the unit.
    pub fn take(&self, ino: u64, page: u64, len: u64) -> Option<(u64, u64)> {
        let mut shard = self.shard(ino).lock();
        let held = shard.get_mut(&ino).filter(|held| held.page == page / UNIT * UNIT)?;
        let first = page % UNIT;
        let end = (first + len).min(UNIT);
        let count = (first..end).take_while(|index| held.has(*index)).count() as u64;
        for index in first..first + count {
            held.left[index as usize / 64] &= !(1 << (index % 64));
        }
        self.blocks.fetch_sub(count, Ordering::Relaxed);
        (count > 0).then(|| (held.block + first, count))
    }

    /// Lets a file hold the unit at `block` for its pages from `page` on, instead of the one it
    /// held before. The blocks are reserved already.
    pub fn hold(&self, space: &Space, ino: u64, page: u64, block: u64) {
        let held = Held { page, block, left: [u64::MAX; UNIT as usize / 64] };
        self.blocks.fetch_add(UNIT, Ordering::Relaxed);
        let old = self.shard(ino).lock().insert(ino, held);
        self.give_back(space, old);
    }

    /// Gives back what a file holds.
    pub fn release(&self, space: &Space, ino: u64) {
        let old = self.shard(ino).lock().remove(&ino);
        self.give_back(space, old);
    }

    /// Gives back what all files hold; false if that was nothing.
    pub fn release_all(&self, space: &Space) -> bool {
        let mut any = false;
        for shard in &self.shards {
            let all = std::mem::take(&mut *shard.lock());
            for held in all.into_values() {
                any = true;
                self.give_back(space, Some(held));
            }
        }
        any
    }

    fn give_back(&self, space: &Space, held: Option<Held>) {
        if let Some(held) = held {
            for (first, len) in held.runs() {
                self.blocks.fetch_sub(len, Ordering::Relaxed);
                space.release(held.block + first, len);
            }
        }
    }
}
