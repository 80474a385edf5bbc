//! The core of fsck: a walk over everything, read-only, that tells what is wrong.
//!
//! It wants the pool quiet: what changes during the walk may look like a problem.

mod inodes;
mod space;
#[cfg(test)]
mod tests;

use limpid_pmem::Media;

use crate::attributes::Ino;
use crate::core::Core;
use crate::error::{FsError, Result};
use crate::fs::Fs;
use crate::layout::BLOCK;
use crate::orphans;
use crate::superblock::Superblock;
use crate::tree;

use inodes::Inodes;
use space::UsedBlocks;

/// Something wrong with a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Something that cannot be read, or is impossible in itself.
    Broken(FsError),
    /// The superblock in the first block differs from the backup, or one of them is broken.
    Superblocks,
    /// Blocks marked as used that nothing refers to.
    Leaked {
        /// First block.
        block: u64,
        /// Number of blocks.
        len: u64,
    },
    /// Blocks in use that are marked as free.
    Unmarked {
        /// First block.
        block: u64,
        /// Number of blocks.
        len: u64,
    },
    /// Blocks used twice.
    Shared {
        /// First block.
        block: u64,
        /// Number of blocks.
        len: u64,
    },
    /// An inode has another number of names than it says.
    Links {
        /// The inode.
        ino: Ino,
        /// What its record says.
        recorded: u32,
        /// What was found.
        found: u32,
    },
    /// An inode uses another number of blocks than it says.
    Blocks {
        /// The inode.
        ino: Ino,
        /// What its record says.
        recorded: u64,
        /// What was found.
        found: u64,
    },
    /// A file has written blocks past its end.
    PastEnd(Ino),
    /// A directory has another parent than it says, or two, or cannot be reached from the root.
    Parent(Ino),
    /// A name stands for an inode that is not in use, or of another kind.
    Dangling {
        /// The directory.
        dir: Ino,
        /// The inode.
        ino: Ino,
    },
    /// An inode without names is not listed as an orphan.
    Lost(Ino),
    /// An orphan is not in use.
    FalseOrphan(Ino),
    /// The lists of free inodes disagree with the records.
    FreeInodes(Ino),
    /// Another number of inodes is in use than counted.
    InodeCount {
        /// What the shards say.
        recorded: u64,
        /// What was found.
        found: u64,
    },
    /// A key of a directory does not belong to its name.
    Key {
        /// The directory.
        dir: Ino,
        /// The key.
        key: u64,
    },
}

/// Most problems that are listed; a badly damaged pool could have millions.
const MAX_PROBLEMS: usize = 10_000;

/// The walk.
pub(crate) struct Checker<'a> {
    pub core: &'a Core,
    pub used: UsedBlocks,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Notes a problem.
    pub fn report(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// Notes an error as a problem; passes on the value otherwise.
    pub fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.report(Problem::Broken(error))).ok()
    }

    /// Notes that something refers to blocks.
    pub fn mark(&mut self, block: u64, len: u64) {
        if !self.used.mark(&self.core.geometry, block, len) {
            self.report(Problem::Shared { block, len });
        }
    }

    /// Marks all nodes of a tree; returns how many there are.
    pub fn mark_tree(&mut self, owner: u64, root: tree::TreeRoot) -> u64 {
        let mut blocks = Vec::new();
        let result = tree::nodes(self.core, owner, root, &mut |block, _| {
            blocks.push(block);
            Ok(())
        });
        self.note(result);
        blocks.iter().for_each(|block| self.mark(*block, 1));
        blocks.len() as u64
    }

    fn superblocks(&mut self) {
        let media: &dyn Media = &*self.core.media;
        let backup_at = self.core.geometry.data_end * BLOCK;
        let copies = [0, backup_at].map(|at| Superblock::read_at(media, at));
        for copy in &copies {
            if let Err(error) = copy {
                self.report(Problem::Broken(*error));
            }
        }
        if !matches!(&copies, [Ok(first), Ok(backup)] if first == backup) {
            self.report(Problem::Superblocks);
        }
    }
}

impl Fs {
    /// Checks everything, and lists what is wrong; an empty list is a sound pool. The pool must
    /// not change meanwhile. Takes memory for each inode in use.
    pub fn check(&self) -> Vec<Problem> {
        let core = &*self.core;
        core.verified.forget();
        let used = UsedBlocks::new(&core.geometry);
        let mut checker = Checker { core, used, problems: Vec::new() };
        checker.superblocks();
        let root = *core.orphans.lock();
        checker.mark_tree(orphans::OWNER, root);
        let listed = orphans::list(core);
        let orphans = checker.note(listed).unwrap_or_default();
        let mut inodes = Inodes::default();
        inodes.walk(&mut checker);
        inodes.compare(&mut checker, &orphans);
        space::compare(&mut checker);
        checker.problems
    }
}
