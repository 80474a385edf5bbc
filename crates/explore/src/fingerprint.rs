//! The hash of a state.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use crate::world::{Pending, World};

impl Pending {
    /// The kind and the lock, as numbers. Which parker it is tells nothing.
    fn code(self) -> [u8; 2] {
        match self {
            Pending::Step => [0, 0],
            Pending::Shared(lock) => [1, lock as u8],
            Pending::Exclusive(lock) => [2, lock as u8],
            Pending::Queued(lock) => [3, lock as u8],
            Pending::Park(_) => [4, 0],
            Pending::Done => [5, 0],
            Pending::Call => [6, 0],
        }
    }
}

impl World {
    /// Hash of the whole state: two executions in states of equal hash go on alike.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = FxHasher::default();
        for file in &self.files[..self.file_count] {
            file.index_hash.hash(&mut hasher);
            file.pins_hash.hash(&mut hasher);
            file.maps_hash.hash(&mut hasher);
        }
        self.opaque.hash(&mut hasher);
        self.map_hash.hash(&mut hasher);
        self.own.hash(&mut hasher);
        self.medium.hash(&mut hasher);
        for tables in self.tables.iter().filter(|tables| tables.used) {
            tables.hash(&mut hasher);
        }
        for lock in &self.locks {
            hasher.write_u32(u32::from_le_bytes([lock.readers, lock.writer, lock.queued, 0]));
        }
        self.history.hash(&mut hasher);
        self.panics.hash(&mut hasher);
        for (fails, calls) in &self.fails {
            // How many came after the one that failed tells nothing.
            hasher.write_u32((*calls).min(fails.nth + 1));
        }
        for actor in &self.actors[..self.count] {
            let parker = actor.parker.map_or(0, |parker| {
                let unparked = self.parkers[parker as usize].unparked;
                let before = self.actors[..self.count].iter().filter_map(|other| other.parker);
                let rank = before.filter(|other| *other < parker).count() as u8;
                1 + 2 * rank + u8::from(unparked)
            });
            let [kind, lock] = actor.pending.code();
            hasher.write_u64(actor.seen);
            let op = 4 * actor.op as u8 + actor.hits.min(3);
            hasher.write_u32(u32::from_le_bytes([kind, lock, op, parker]));
            hasher.write_u8(actor.touched);
        }
        let mixed = hasher.finish();
        mixed ^ mixed.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}
