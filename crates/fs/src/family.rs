//! Locking several inodes at once: the only place where a directory is locked while another one
//! is.
//!
//! The rules are those of Linux's VFS (Documentation/filesystems/directory-locking):
//!
//! 1. a directory's child is locked after the directory;
//! 2. two directories of which neither is the other's child are locked together only by who holds
//!    the lock of the tree (`Fs::tree`), and then an ancestor before what lies below it, in any
//!    order else;
//! 3. only who holds the lock of the tree gives a directory another parent;
//! 4. inodes of other kinds are locked after all directories, by number.
//!
//! So there is no circle. Inodes of other kinds cannot be part of one, by 4. In a circle of
//! directories, whoever does not hold the lock of the tree holds a directory and waits for its
//! child; the tree has no circle, so one holds the lock of the tree, and just one. From the
//! directory that this one waits for down to one that it holds all others are below one another:
//! it holds a directory and waits for one above. Both being parents, that breaks 2. A child that
//! it waits for is never above a parent: who asks for that is refused ([`Parents::is_above`]).
//! And of two children none is above the other, as it would be above that one's parent.

use limpid_locks::{MutexGuard, RwLockWriteGuard, child, under};

use crate::attributes::{FileKind, Timespec};
use crate::canary::{Step, left_out};
use crate::classes::TREE;
use crate::error::{FsError, Result, What, corrupt};
use crate::fs::{Fs, ROOT};
use crate::inode::{Inode, State};
use crate::record::Meta;
use crate::tx::Tx;

/// Directories above one another that a hostile medium could make endless.
const MAX_DEPTH: usize = 1 << 20;

/// An inode's exclusive lock.
pub(crate) type StateGuard<'a> = RwLockWriteGuard<'a, State>;

/// One or two directories whose names change: their locks and working copies. Where both are
/// the same directory, the second index stands for the first.
pub(crate) struct Parents<'a> {
    inodes: [&'a Inode; 2],
    locks: [Option<StateGuard<'a>>; 2],
    /// The records, to be changed and put into a transaction.
    pub metas: [Meta; 2],
    /// Index of the second: 0 if both are the same.
    pub second: usize,
    /// The directories and all above each; empty if both are the same.
    above: [Vec<u64>; 2],
    /// The lock of the tree, given back last.
    tree: Option<MutexGuard<'a, ()>>,
}

impl<'a> Parents<'a> {
    /// Locks both directories, and the tree if they are two or if `tree` says so. Wants no lock.
    pub fn lock(fs: &'a Fs, inodes: [&'a Inode; 2], tree: bool) -> Result<Parents<'a>> {
        let [first, second] = inodes;
        let two = first.ino() != second.ino();
        let tree = (two || (tree && !left_out(Step::LockTree))).then(|| fs.tree.lock());
        let mut above = [Vec::new(), Vec::new()];
        let mut locks = [None, None];
        if two {
            above = [ancestors(fs, first)?, ancestors(fs, second)?];
            let first_above = above[1].contains(&first.ino().0);
            let second_above = above[0].contains(&second.ino().0);
            let swap = second_above || (!first_above && second.ino() < first.ino());
            for index in if swap { [1, 0] } else { [0, 1] } {
                locks[index] = Some(under(&TREE, || inodes[index].write()));
            }
        } else {
            locks[0] = Some(first.write());
        }
        let meta = |index: usize| locks[index].as_ref().map(|lock| lock.meta);
        let first_meta = first.merged(&meta(0).expect("the first is locked"));
        let second_meta = meta(1).map_or(first_meta, |meta| second.merged(&meta));
        if first_meta.nlink == 0 || second_meta.nlink == 0 {
            return Err(FsError::NotFound);
        }
        let metas = [first_meta, second_meta];
        Ok(Parents { inodes, locks, metas, second: usize::from(two), above, tree })
    }

    /// True if the inode is the directory of that index, or lies above it. Only where the
    /// directories are two: of one directory, no child is above it.
    pub fn is_above(&self, ino: u64, index: usize) -> bool {
        self.above[index].contains(&ino)
    }

    /// True if two children that are both directories may be locked.
    pub fn may_lock_two_directories(&self) -> bool {
        self.tree.is_some() || left_out(Step::LockTree)
    }

    /// Locks an inode that has a name in the first directory.
    pub fn lock_child<'c>(&self, child: &'c Inode) -> Result<StateGuard<'c>> {
        self.lock_named(0, child)
    }

    /// Locks two inodes: the first has a name in the first directory, the second in the second.
    /// Two directories: see [`may_lock_two_directories`](Parents::may_lock_two_directories).
    pub fn lock_children<'c>(
        &self,
        first: &'c Inode,
        second: &'c Inode,
    ) -> Result<(StateGuard<'c>, StateGuard<'c>)> {
        let is_dir = |inode: &Inode| inode.kind() == FileKind::Directory;
        assert!(
            self.may_lock_two_directories() || !is_dir(first) || !is_dir(second),
            "two directories are locked under the lock of the tree"
        );
        // Directories first, each kind by number.
        if (!is_dir(first), first.ino()) < (!is_dir(second), second.ino()) {
            let lock = self.lock_named(0, first)?;
            Ok((lock, self.lock_named(self.second, second)?))
        } else {
            let lock = self.lock_named(self.second, second)?;
            Ok((self.lock_named(0, first)?, lock))
        }
    }

    /// Locks an inode that has a name in the directory of that index.
    fn lock_named<'c>(&self, index: usize, child: &'c Inode) -> Result<StateGuard<'c>> {
        match self.tree {
            Some(_) => under(&TREE, || lock_named(self.inodes[index], child)),
            None => lock_child(self.inodes[index], child),
        }
    }

    /// Puts the working copies into a transaction, with new times.
    pub fn put(&mut self, tx: &mut Tx<'_>) {
        let now = Timespec::now();
        for meta in &mut self.metas[..=self.second] {
            meta.mtime = now;
            meta.ctime = now;
            tx.put_inode(meta);
        }
    }

    /// Takes the working copies over, after the commit.
    pub fn committed(&mut self) {
        for ((inode, lock), meta) in self.inodes.iter().zip(&mut self.locks).zip(&self.metas) {
            if let Some(lock) = lock {
                inode.set_meta(lock, *meta);
            }
        }
    }
}

/// Locks an inode that has a name in `dir`, the only directory that is locked.
pub(crate) fn lock_child<'c>(dir: &Inode, inode: &'c Inode) -> Result<StateGuard<'c>> {
    child(|| lock_named(dir, inode))
}

/// Locks an inode that has a name in `dir`, which is locked. On a damaged medium a directory may
/// have a name in a directory that is not its parent: locking that one could close a circle.
fn lock_named<'c>(dir: &Inode, inode: &'c Inode) -> Result<StateGuard<'c>> {
    if inode.kind() == FileKind::Directory && inode.parent() != dir.ino().0 {
        let why = "a directory that says it lies in another one";
        return corrupt(What::DirectoryEntry, dir.ino().0, why);
    }
    Ok(inode.write())
}

/// A directory and all directories above it. Wants the lock of the tree.
fn ancestors(fs: &Fs, dir: &Inode) -> Result<Vec<u64>> {
    let mut all = vec![dir.ino().0];
    let mut up = dir.parent();
    while all.last() != Some(&ROOT) {
        if all.len() > MAX_DEPTH {
            return corrupt(What::Inode, dir.ino().0, "a directory above itself");
        }
        all.push(up);
        up = fs.directory(crate::attributes::Ino(up))?.parent();
    }
    Ok(all)
}
