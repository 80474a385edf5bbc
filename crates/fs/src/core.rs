//! What all parts of an open pool share: the medium, the journal, space and the roots.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use limpid_locks::Mutex;
use limpid_pmem::{Durability, Media};

use crate::bits::WORDS;
use crate::error::{FsError, Result, What, corrupt};
use crate::inodes::InodeTable;
use crate::journal::Journal;
use crate::layout::{BLOCK, Geometry, by_group};
use crate::node::{self, Bytes, Expected};
use crate::space::Space;
use crate::superblock::Superblock;
use crate::tree::{Nodes, TreeRoot};

/// An open pool, without its inodes in memory.
pub(crate) struct Core {
    pub media: Arc<dyn Media>,
    pub superblock: Superblock,
    pub geometry: Geometry,
    pub journal: Journal,
    pub space: Space,
    pub inodes: InodeTable,
    /// The tree of inodes with work left.
    pub orphans: Mutex<TreeRoot>,
    pub read_only: bool,
    pub verified: Verified,
}

impl Core {
    /// An error if nothing may be changed.
    pub fn writable(&self) -> Result<()> {
        if self.read_only {
            return Err(FsError::ReadOnly);
        }
        self.journal.stopped()
    }

    /// Makes everything that was committed survive power loss on media where a fence does not.
    pub fn sync_medium(&self) -> Result<()> {
        self.media.fence();
        if self.media.durability() == Durability::Process {
            self.media.sync(0..self.geometry.total * BLOCK)?;
        }
        Ok(())
    }
}

impl Core {
    /// Reads a node to change it, and verifies it whatever was verified before: nothing is built
    /// on what has rotted since.
    pub fn load_to_change(&self, expected: Expected, into: &mut Bytes) -> Result<()> {
        self.read_node(expected, into)?;
        self.verify(expected, into)
    }

    fn verify(&self, expected: Expected, bytes: &Bytes) -> Result<()> {
        node::verify(bytes, expected)?;
        self.verified.set(&self.geometry, expected.block, true);
        Ok(())
    }

    fn read_node(&self, expected: Expected, into: &mut Bytes) -> Result<()> {
        if !self.geometry.is_data(expected.block, 1) {
            return corrupt(What::Node, expected.block, "a child outside the data area");
        }
        Ok(self.media.read(expected.block * BLOCK, into)?)
    }
}

impl Nodes for Core {
    fn load(&self, expected: Expected, into: &mut Bytes) -> Result<()> {
        self.read_node(expected, into)?;
        if self.verified.get(&self.geometry, expected.block) {
            return node::check_visit(into, expected);
        }
        self.verify(expected, into)
    }
}

/// Which tree nodes were checked since the pool was opened: a node's checksum is verified once and
/// before each change, not at each visit. A bit is cleared when its block stops being a node.
pub(crate) struct Verified(Box<[OnceLock<Box<[AtomicU64]>>]>);

impl Verified {
    pub fn new(geometry: &Geometry) -> Verified {
        Verified((0..geometry.groups).map(|_| OnceLock::new()).collect())
    }

    /// Forgets all, so that every checksum is verified again.
    pub fn forget(&self) {
        for words in self.0.iter().filter_map(OnceLock::get) {
            words.iter().for_each(|word| word.store(0, Ordering::Release));
        }
    }

    fn get(&self, geometry: &Geometry, block: u64) -> bool {
        by_group(geometry, block, 1).all(|(group, bit, _)| {
            self.0[group].get().is_some_and(|words| {
                words[bit as usize / 64].load(Ordering::Acquire) >> (bit % 64) & 1 == 1
            })
        })
    }

    pub fn set(&self, geometry: &Geometry, block: u64, value: bool) {
        for (group, bit, _) in by_group(geometry, block, 1) {
            let words =
                self.0[group].get_or_init(|| (0..WORDS).map(|_| AtomicU64::new(0)).collect());
            let (word, mask) = (&words[bit as usize / 64], 1 << (bit % 64));
            match value {
                true => word.fetch_or(mask, Ordering::AcqRel),
                false => word.fetch_and(!mask, Ordering::AcqRel),
            };
        }
    }
}
