//! A hash that is kept until what it is of changes.

use std::cell::Cell;
use std::hash::Hasher;

use rustc_hash::FxHasher;

/// The hash of a value beside it. Whoever changes the value calls [`Memo::forget`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Memo(Cell<Option<u64>>);

impl Memo {
    /// The value is about to change.
    pub fn forget(&mut self) {
        self.0.set(None);
    }

    /// The hash of what `write` feeds to the hasher: always the value that this is beside.
    pub fn hash(&self, write: impl FnOnce(&mut FxHasher)) -> u64 {
        if let Some(hash) = self.0.get() {
            return hash;
        }
        let mut hasher = FxHasher::default();
        write(&mut hasher);
        let hash = hasher.finish();
        self.0.set(Some(hash));
        hash
    }
}
