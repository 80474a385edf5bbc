//! The states that were seen already, by a hash of 64 bits of the whole image.
//!
//! Of a million states any two would be taken for one by accident in one of some 37 million runs.

use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashSet;

const SHARDS: usize = 64;

/// A set of hashes for several threads.
pub(crate) struct Seen {
    shards: Vec<Mutex<FxHashSet<u64>>>,
}

impl Seen {
    pub fn new() -> Seen {
        Seen { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Adds a hash; false if it was there.
    pub fn insert(&self, hash: u64) -> bool {
        let shard = &self.shards[(hash >> 32) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner).insert(hash)
    }
}
