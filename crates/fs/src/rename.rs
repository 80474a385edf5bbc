//! Renaming, atomically, within a directory or between two.

use std::sync::Arc;

use crate::attributes::{FileKind, Ino, Timespec};
use crate::canary::{Step, left_out};
use crate::dir::{self, Found};
use crate::error::{FsError, Result};
use crate::family::Parents;
use crate::fs::Fs;
use crate::held::Held;
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
        self.rename_with((from_dir, from), (to_dir, to), flags, |_| Ok(())).map(drop)
    }

    /// As [`rename`](Fs::rename); an inode that was replaced is handed out held.
    pub fn rename_held(
        &self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        flags: RenameFlags,
    ) -> Result<Option<Held>> {
        self.rename_with(from, to, flags, |ino| self.hold_number(ino))
    }

    /// Renames. `hold` is called for an inode that is replaced, before it loses its name.
    fn rename_with<T>(
        &self,
        (from_dir, from): (Ino, &[u8]),
        (to_dir, to): (Ino, &[u8]),
        flags: RenameFlags,
        hold: impl FnOnce(u64) -> Result<T>,
    ) -> Result<Option<T>> {
        self.core.writable()?;
        dir::check_name(from)?;
        dir::check_name(to)?;
        if flags == RenameFlags::all() || !RenameFlags::all().contains(flags) {
            return Err(FsError::Invalid);
        }
        let inodes = [self.directory(from_dir)?, self.directory(to_dir)?];
        let inodes = [&*inodes[0], &*inodes[1]];
        let mut parents = Parents::lock(self, inodes, false)?;
        let mut names = self.two_names(&parents, inodes, from, to)?;
        let both = |(source, target): &(Moving, core::result::Result<Moving, u64>)| {
            source.is_dir() && target.as_ref().is_ok_and(Moving::is_dir)
        };
        if both(&names) && !parents.may_lock_two_directories() {
            // The lock of the tree comes before those of directories: once more, with it.
            drop(parents);
            parents = Parents::lock(self, inodes, true)?;
            names = self.two_names(&parents, inodes, from, to)?;
        }
        let (source, target) = names;
        if source.is_dir() && parents.is_above(source.found.ino, 1) {
            return Err(FsError::Invalid);
        }
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        match target {
            Err(_) if exchange => Err(FsError::NotFound),
            Err(key) => self.move_name(&mut parents, &source, key, to).map(|()| None),
            Ok(_) if flags.contains(RenameFlags::NOREPLACE) => Err(FsError::Exists),
            Ok(target) if parents.is_above(target.found.ino, 0) => {
                Err(if exchange { FsError::Invalid } else { FsError::NotEmpty })
            }
            // Two names of one inode: there is nothing to do.
            Ok(target) if target.found.ino == source.found.ino => Ok(None),
            Ok(target) if exchange => {
                self.exchange(&mut parents, (&source, from), (&target, to)).map(|()| None)
            }
            Ok(target) => {
                let held = hold(target.found.ino)?;
                self.replace(&mut parents, &source, &target, to)?;
                Ok(Some(held))
            }
        }
    }

    /// What the two names of a rename stand for; the second may be free, then it has a key.
    fn two_names(
        &self,
        parents: &Parents<'_>,
        dirs: [&Inode; 2],
        from: &[u8],
        to: &[u8],
    ) -> Result<(Moving, core::result::Result<Moving, u64>)> {
        let source = self.moving(dirs[0], dir::get(&self.core, &parents.metas[0], from)?)?;
        let target = match dir::find(&self.core, &parents.metas[1], to)? {
            Ok(found) => Ok(self.moving(dirs[1], found)?),
            Err(key) => Err(key),
        };
        Ok((source, target))
    }

    fn moving(&self, dir: &Inode, found: Found) -> Result<Moving> {
        Ok(Moving { inode: self.child(dir, &found)?, found })
    }

    /// Renames to a name that is free.
    fn move_name(
        &self,
        parents: &mut Parents<'_>,
        source: &Moving,
        key: u64,
        to: &[u8],
    ) -> Result<()> {
        let mut lock = parents.lock_child(&source.inode)?;
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
        let (mut lock, mut target_lock) = parents.lock_children(&source.inode, &target.inode)?;
        let mut loss = Loss::new(self, &target.inode, &mut target_lock)?;
        let mut tx = Tx::shrinking(&self.core);
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
        let (mut lock, mut target_lock) = parents.lock_children(&source.inode, &target.inode)?;
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
