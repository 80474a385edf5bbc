//! Renaming, atomically, within a directory or between two.

use std::sync::Arc;

use parking_lot::RwLockWriteGuard;

use crate::attributes::{FileKind, Ino, Timespec};
use crate::canary::{Step, left_out};
use crate::dir::{self, Found};
use crate::error::{FsError, Result, What, corrupt};
use crate::fs::{Fs, ROOT};
use crate::inode::{Inode, State};
use crate::names::MAX_LINKS;
use crate::record::Meta;
use crate::remove::Loss;
use crate::tx::Tx;

bitflags::bitflags! {
    /// How to rename; the values are those of renameat2(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RenameFlags: u32 {
        /// Fail if the new name exists.
        const NOREPLACE = 1;
        /// Swap the two names, which must both exist.
        const EXCHANGE = 2;
    }
}

/// Directories above one another that a hostile medium could make endless.
const MAX_DEPTH: usize = 1 << 20;

/// The two directories of a rename, which may be one: their locks and working copies.
struct Parents<'a> {
    inodes: [&'a Inode; 2],
    locks: [Option<RwLockWriteGuard<'a, State>>; 2],
    metas: [Meta; 2],
    /// Index of the second: 0 if both are the same.
    second: usize,
}

impl<'a> Parents<'a> {
    /// Locks both: an ancestor before what lies below it, else in the order of their numbers.
    fn lock(first: &'a Inode, second: &'a Inode, second_above: bool) -> Result<Parents<'a>> {
        let same = first.ino() == second.ino();
        let locks = if same {
            [Some(first.write()), None]
        } else if second_above {
            let lock = second.write();
            [Some(first.write()), Some(lock)]
        } else {
            let lock = first.write();
            [Some(lock), Some(second.write())]
        };
        let meta = |index: usize| locks[index].as_ref().map(|lock| lock.meta);
        let first_meta = first.merged(&meta(0).expect("the first is locked"));
        let second_meta = meta(1).map_or(first_meta, |meta| second.merged(&meta));
        if first_meta.nlink == 0 || second_meta.nlink == 0 {
            return Err(FsError::NotFound);
        }
        let metas = [first_meta, second_meta];
        Ok(Parents { inodes: [first, second], locks, metas, second: usize::from(!same) })
    }

    fn put(&mut self, tx: &mut Tx<'_>) {
        let now = Timespec::now();
        for meta in &mut self.metas[..=self.second] {
            meta.mtime = now;
            meta.ctime = now;
            tx.put_inode(meta);
        }
    }

    fn committed(&mut self) {
        for ((inode, lock), meta) in self.inodes.iter().zip(&mut self.locks).zip(&self.metas) {
            if let Some(lock) = lock {
                inode.set_meta(lock, *meta);
            }
        }
    }
}

/// A name on the way: its entry and its inode.
struct Moving {
    found: Found,
    inode: Arc<Inode>,
}

impl Moving {
    fn is_dir(&self) -> bool {
        self.found.kind == FileKind::Directory
    }
}

impl Fs {
    /// Renames. An existing new name is replaced unless the flags say otherwise; a directory
    /// replaces only an empty directory. A directory cannot be moved below itself.
    pub fn rename(
        &self,
        from_dir: Ino,
        from: &[u8],
        to_dir: Ino,
        to: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        self.core.writable()?;
        dir::check_name(from)?;
        dir::check_name(to)?;
        if flags == RenameFlags::all() || !RenameFlags::all().contains(flags) {
            return Err(FsError::Invalid);
        }
        let inodes = [self.directory(from_dir)?, self.directory(to_dir)?];
        let cross = from_dir != to_dir;
        // While this is held, no directory changes its parent but by this call.
        let _renaming = cross.then(|| self.renaming.lock());
        let above = if cross {
            [self.ancestors(from_dir)?, self.ancestors(to_dir)?]
        } else {
            Default::default()
        };
        let first_above = above[1].contains(&from_dir.0);
        let second_above = !first_above && (above[0].contains(&to_dir.0) || to_dir < from_dir);
        let mut parents = Parents::lock(&inodes[0], &inodes[1], second_above)?;
        let source = self.moving(&inodes[0], dir::get(&self.core, &parents.metas[0], from)?)?;
        let target = dir::find(&self.core, &parents.metas[1], to)?;
        if source.is_dir() && above[1].contains(&source.found.ino) {
            return Err(FsError::Invalid);
        }
        let key = match target {
            Err(_) if flags.contains(RenameFlags::EXCHANGE) => return Err(FsError::NotFound),
            Err(key) => key,
            Ok(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(FsError::Exists),
            Ok(found) => {
                let exchange = flags.contains(RenameFlags::EXCHANGE);
                if above[0].contains(&found.ino) {
                    return Err(if exchange { FsError::Invalid } else { FsError::NotEmpty });
                }
                let target = self.moving(&inodes[1], found)?;
                // Two names of one inode: there is nothing to do.
                if target.found.ino == source.found.ino {
                    return Ok(());
                }
                return match exchange {
                    true => self.exchange(&mut parents, (&source, from), (&target, to)),
                    false => self.replace(&mut parents, &source, &target, to),
                };
            }
        };
        self.move_name(&mut parents, &source, key, to)
    }

    fn moving(&self, dir: &Inode, found: Found) -> Result<Moving> {
        Ok(Moving { inode: self.child(dir, &found)?, found })
    }

    /// A directory and all directories above it. Wants the lock `renaming`.
    fn ancestors(&self, dir: Ino) -> Result<Vec<u64>> {
        let mut all = vec![dir.0];
        let mut at = dir;
        while at.0 != ROOT {
            at = self.parent(at)?;
            if all.len() > MAX_DEPTH {
                return corrupt(What::Inode, dir.0, "a directory above itself");
            }
            all.push(at.0);
        }
        Ok(all)
    }

    /// Renames to a name that is free.
    fn move_name(
        &self,
        parents: &mut Parents<'_>,
        source: &Moving,
        key: u64,
        to: &[u8],
    ) -> Result<()> {
        let mut lock = source.inode.write();
        let mut tx = Tx::new(&self.core);
        let second = parents.second;
        dir::remove(&mut tx, &mut parents.metas[0], source.found.key)?;
        if left_out(Step::RenameAtOnce) {
            parents.put(&mut tx);
            std::mem::replace(&mut tx, Tx::new(&self.core)).commit()?;
        }
        let Found { ino, kind, .. } = source.found;
        dir::put(&mut tx, &mut parents.metas[second], key, to, ino, kind)?;
        let moved = self.moved(&mut tx, parents, source, &lock, second)?;
        parents.put(&mut tx);
        tx.commit()?;
        source.inode.set_meta(&mut lock, moved);
        parents.committed();
        Ok(())
    }

    /// Renames to a name that exists and goes.
    fn replace(
        &self,
        parents: &mut Parents<'_>,
        source: &Moving,
        target: &Moving,
        to: &[u8],
    ) -> Result<()> {
        match (source.is_dir(), target.is_dir()) {
            (true, false) => return Err(FsError::NotDirectory),
            (false, true) => return Err(FsError::IsDirectory),
            _ => {}
        }
        let (mut lock, mut target_lock) = lock_two(&source.inode, &target.inode);
        let mut loss = Loss::new(self, &target.inode, &mut target_lock)?;
        let mut tx = Tx::new(&self.core);
        let second = parents.second;
        dir::remove(&mut tx, &mut parents.metas[0], source.found.key)?;
        let Found { ino, kind, .. } = source.found;
        dir::put(&mut tx, &mut parents.metas[second], target.found.key, to, ino, kind)?;
        let nlink = &mut parents.metas[second].nlink;
        *nlink = nlink.saturating_sub(u32::from(target.is_dir()));
        let moved = self.moved(&mut tx, parents, source, &lock, second)?;
        loss.record(&mut tx)?;
        parents.put(&mut tx);
        tx.commit()?;
        source.inode.set_meta(&mut lock, moved);
        parents.committed();
        loss.committed().map(|_| ())
    }

    /// Swaps two names.
    fn exchange(
        &self,
        parents: &mut Parents<'_>,
        (source, from): (&Moving, &[u8]),
        (target, to): (&Moving, &[u8]),
    ) -> Result<()> {
        let (mut lock, mut target_lock) = lock_two(&source.inode, &target.inode);
        let mut tx = Tx::new(&self.core);
        let second = parents.second;
        let Found { key, .. } = source.found;
        let Found { ino, kind, .. } = target.found;
        dir::put(&mut tx, &mut parents.metas[0], key, from, ino, kind)?;
        let Found { ino, kind, .. } = source.found;
        dir::put(&mut tx, &mut parents.metas[second], target.found.key, to, ino, kind)?;
        let moved = self.moved(&mut tx, parents, source, &lock, second)?;
        let swapped = self.moved(&mut tx, parents, target, &target_lock, 0)?;
        parents.put(&mut tx);
        tx.commit()?;
        source.inode.set_meta(&mut lock, moved);
        target.inode.set_meta(&mut target_lock, swapped);
        parents.committed();
        Ok(())
    }

    /// The record of an inode that moves into the directory of index `to`, put into the
    /// transaction; the link counts of the directories follow.
    fn moved(
        &self,
        tx: &mut Tx<'_>,
        parents: &mut Parents<'_>,
        moving: &Moving,
        state: &State,
        to: usize,
    ) -> Result<Meta> {
        let mut meta = moving.inode.merged(&state.meta);
        meta.ctime = Timespec::now();
        if moving.is_dir() {
            let from = parents.second - to;
            if parents.metas[to].nlink >= MAX_LINKS {
                return Err(FsError::TooManyLinks);
            }
            parents.metas[to].nlink += 1;
            parents.metas[from].nlink = parents.metas[from].nlink.saturating_sub(1);
            meta.link = parents.metas[to].ino;
        }
        tx.put_inode(&meta);
        Ok(meta)
    }
}

/// Locks two inodes in the order of their numbers.
fn lock_two<'a>(
    first: &'a Inode,
    second: &'a Inode,
) -> (RwLockWriteGuard<'a, State>, RwLockWriteGuard<'a, State>) {
    if first.ino() < second.ino() {
        let lock = first.write();
        (lock, second.write())
    } else {
        let lock = second.write();
        (first.write(), lock)
    }
}
