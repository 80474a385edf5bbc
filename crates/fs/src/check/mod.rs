//! The core of fsck: a walk over everything, read-only, that tells what is wrong.
//!
//! It wants the pool quiet: what changes during the walk may look like a problem. First the roots
//! and all inode records with the metadata they refer to, then the extents of files, then the
//! names, and last what is derived from all that: link counts, orphans, free inodes, bitmaps. The
//! memory it takes is some ten bytes per inode and one bit per block that is used.

mod inodes;
mod names;
mod problem;
mod space;
#[cfg(test)]
mod tests;

use limpid_pmem::Media;
use rustc_hash::FxHashSet;

use crate::attributes::Ino;
use crate::core::Core;
use crate::error::Result;
use crate::fs::Fs;
use crate::layout::BLOCK;
use crate::orphans;
use crate::superblock::Superblock;
use crate::tree;

pub(crate) use inodes::{Inodes, State};
pub use problem::{Part, PoolTree, Problem};
pub(crate) use space::{UsedBlocks, difference, marked};

/// Most problems that [`Fs::check`] lists; a badly damaged pool could have millions.
pub(crate) const MAX_PROBLEMS: usize = 10_000;

/// Inode blocks and directories that are read before memory is let go of.
const READ_AT_ONCE: u32 = 128;

/// Who refers to blocks.
#[derive(Clone, Copy)]
pub(crate) enum Claim {
    Pool(PoolTree),
    Inode(u64, Part),
    /// Pages of a file, from this one on.
    Pages(u64, u64),
}

/// The walk.
pub(crate) struct Checker<'a> {
    pub core: &'a Core,
    pub used: UsedBlocks,
    pub problems: Vec<Problem>,
    /// Parts of inodes whose first error was noted; those that follow from it say nothing new.
    noted: FxHashSet<(u64, Part)>,
    /// Problems that are listed at most.
    pub limit: usize,
    /// Told how many inode blocks were read, and of how many.
    pub watch: &'a dyn Fn(u64, u64),
    /// Inode blocks and directories read since the medium's memory was let go of.
    read: u32,
}

/// What the walk found.
pub(crate) struct Found {
    pub problems: Vec<Problem>,
    pub used: UsedBlocks,
    pub inodes: Inodes,
}

impl Checker<'_> {
    /// Notes a problem.
    pub fn report(&mut self, problem: Problem) {
        if self.problems.len() < self.limit {
            self.problems.push(problem);
        }
    }

    /// Tells that an inode block or a directory was read. What the medium brought into memory for
    /// them is let go of from time to time, since all of it would be as much as there is metadata.
    pub fn breathe(&mut self) {
        self.read += 1;
        if self.read >= READ_AT_ONCE {
            self.read = 0;
            self.core.media.forget(0..self.core.media.len());
        }
    }

    /// Notes an error of a part of an inode; passes on the value otherwise.
    pub fn note<T>(&mut self, ino: u64, part: Part, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                if self.noted.insert((ino, part)) {
                    self.report(Problem::Inode { ino: Ino(ino), part, error });
                }
                None
            }
        }
    }

    /// Notes an error of the pool itself; passes on the value otherwise.
    pub fn note_broken<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.report(Problem::Broken(error))).ok()
    }

    /// Notes that something refers to blocks.
    pub fn mark(&mut self, claim: Claim, block: u64, len: u64) {
        let core = self.core;
        let mut shared = Vec::new();
        self.used.mark(&core.geometry, block, len, &mut |block, len| shared.push((block, len)));
        for (first, len) in shared {
            let problem = match claim {
                Claim::Pool(_) => {
                    Problem::Shared { block: first, len, ino: None, part: Part::Record, page: 0 }
                }
                Claim::Inode(ino, part) => {
                    let ino = Some(Ino(ino));
                    Problem::Shared { block: first, len, ino, part, page: 0 }
                }
                Claim::Pages(ino, page) => {
                    let ino = Some(Ino(ino));
                    let page = page + (first - block);
                    Problem::Shared { block: first, len, ino, part: Part::Extents, page }
                }
            };
            self.report(problem);
        }
    }

    /// Marks all nodes of a tree; returns how many there are.
    pub fn mark_tree(&mut self, claim: Claim, owner: u64, root: tree::TreeRoot) -> u64 {
        let mut blocks = Vec::new();
        let result = tree::nodes(self.core, owner, root, &mut |block, _| {
            blocks.push(block);
            Ok(())
        });
        match claim {
            Claim::Pool(tree) => {
                if let Err(error) = result {
                    self.report(Problem::Tree { tree, error });
                }
            }
            Claim::Inode(ino, part) => drop(self.note(ino, part, result)),
            Claim::Pages(ino, _) => drop(self.note(ino, Part::Extents, result)),
        }
        blocks.iter().for_each(|block| self.mark(claim, *block, 1));
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

/// Walks over everything. `before` is what was found when the core was opened.
pub(crate) fn check(
    core: &Core,
    before: Vec<Problem>,
    limit: usize,
    watch: &dyn Fn(u64, u64),
) -> Found {
    core.verified.forget();
    let used = UsedBlocks::new(&core.geometry);
    let noted = FxHashSet::default();
    let mut checker = Checker { core, used, problems: before, noted, limit, watch, read: 0 };
    checker.superblocks();
    let root = *core.orphans.lock();
    checker.mark_tree(Claim::Pool(PoolTree::Orphans), orphans::OWNER, root);
    // A broken tree was noted just now.
    let listed = orphans::list(core).unwrap_or_default();
    let mut inodes = Inodes::walk(&mut checker, &listed);
    inodes.names(&mut checker);
    inodes.compare(&mut checker, &listed);
    space::compare(&mut checker);
    Found { problems: checker.problems, used: checker.used, inodes }
}

impl Fs {
    /// Checks everything, and lists what is wrong; an empty list is a sound pool. The pool must
    /// not change meanwhile. Takes memory for each inode.
    pub fn check(&self) -> Vec<Problem> {
        check(&self.core, Vec::new(), MAX_PROBLEMS, &|_, _| {}).problems
    }
}
