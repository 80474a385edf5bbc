//! Removing names, and what becomes of an inode that loses one.

use limpid_locks::MutexGuard;

use crate::attributes::{FileKind, Ino, Timespec};
use crate::canary::{Step, left_out};
use crate::dir;
use crate::error::{FsError, Result, What, corrupt};
use crate::family;
use crate::free::{free_light, is_light};
use crate::fs::{Fs, ROOT};
use crate::held::Held;
use crate::inode::{Inode, State};
use crate::inodes::Shard;
use crate::orphans;
use crate::tree::TreeRoot;
use crate::tx::Tx;

/// What removing a name did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnlinkReport {
    /// The inode that lost the name.
    pub ino: Ino,
    /// Names it still has (0 for a directory).
    pub nlink: u32,
    /// The inode and its blocks were freed: nobody had it open.
    pub freed: bool,
}

impl Fs {
    /// Removes a name that is not a directory's. If it was the last one and nobody has the inode
    /// open, its space is free when this returns.
    pub fn unlink(&self, dir: Ino, name: &[u8]) -> Result<UnlinkReport> {
        Ok(self.remove_name(dir, name, false, |_| Ok(()))?.0)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, dir: Ino, name: &[u8]) -> Result<UnlinkReport> {
        Ok(self.remove_name(dir, name, true, |_| Ok(()))?.0)
    }

    /// As [`unlink`](Fs::unlink); what lost the name is handed out held.
    pub fn unlink_held(&self, dir: Ino, name: &[u8]) -> Result<Held> {
        Ok(self.remove_name(dir, name, false, |ino| self.hold_number(ino))?.1)
    }

    /// As [`rmdir`](Fs::rmdir); the directory that went is handed out held.
    pub fn rmdir_held(&self, dir: Ino, name: &[u8]) -> Result<Held> {
        Ok(self.remove_name(dir, name, true, |ino| self.hold_number(ino))?.1)
    }

    /// Removes a name. `hold` is called for what it stands for, before it loses the name.
    fn remove_name<T>(
        &self,
        dir: Ino,
        name: &[u8],
        want_dir: bool,
        hold: impl FnOnce(u64) -> Result<T>,
    ) -> Result<(UnlinkReport, T)> {
        self.core.writable()?;
        dir::check_name(name)?;
        let parent = self.directory(dir)?;
        let mut state = parent.write();
        let found = dir::get(&self.core, &state.meta, name)?;
        match (found.kind == FileKind::Directory, want_dir) {
            (true, false) => return Err(FsError::IsDirectory),
            (false, true) => return Err(FsError::NotDirectory),
            _ => {}
        }
        let child = self.child(&parent, &found)?;
        let held = hold(found.ino)?;
        let mut child_state = family::lock_child(&parent, &child)?;
        if left_out(Step::FreeWithUnlink) && child.kind() == FileKind::File {
            child_state.map = Some(crate::map::load(&self.core, &child_state.meta)?);
            child.cut_all(&mut child_state, 0, crate::layout::MAX_PAGES)?;
        }
        let mut loss = Loss::new(self, &child, &mut child_state)?;
        parent.update(&mut state, Tx::shrinking(&self.core), |tx, meta, _| {
            dir::remove(tx, meta, found.key)?;
            meta.nlink = meta.nlink.saturating_sub(u32::from(want_dir));
            meta.mtime = Timespec::now();
            meta.ctime = meta.mtime;
            loss.record(tx)
        })?;
        drop(state);
        Ok((loss.committed()?, held))
    }
}

/// An inode that loses a name, from before the transaction until after it. Dropping it undoes
/// what it did in memory.
pub(crate) struct Loss<'a> {
    fs: &'a Fs,
    inode: &'a Inode,
    state: &'a mut State,
    fate: Fate<'a>,
    done: bool,
}

/// What becomes of the inode.
enum Fate<'a> {
    /// It has other names.
    Stays,
    /// It is freed in the same transaction.
    Freed { guard: MutexGuard<'a, Shard>, shard: Shard },
    /// It becomes an orphan: it is open, or so large that it is freed afterwards (`free`).
    Orphan { guard: MutexGuard<'a, TreeRoot>, root: TreeRoot, free: bool },
}

impl<'a> Loss<'a> {
    /// Decides what becomes of an inode. `state` is its exclusive lock. A directory must be empty.
    pub fn new(fs: &'a Fs, inode: &'a Inode, state: &'a mut State) -> Result<Loss<'a>> {
        let meta = &state.meta;
        let is_dir = inode.kind() == FileKind::Directory;
        if is_dir && !meta.names()?.is_empty() {
            return Err(FsError::NotEmpty);
        }
        if meta.nlink == 0 || inode.is_freed() || inode.ino().0 == ROOT {
            return corrupt(What::Inode, meta.at, "an inode with a name and without links");
        }
        let fate = if !is_dir && meta.nlink > 1 {
            Fate::Stays
        } else {
            let free = fs.table.begin_free(inode.ino().0);
            if free && is_light(meta) {
                let guard = fs.core.inodes.lock_any();
                let shard = *guard;
                Fate::Freed { guard, shard }
            } else {
                let guard = fs.core.orphans.lock();
                let root = *guard;
                Fate::Orphan { guard, root, free }
            }
        };
        Ok(Loss { fs, inode, state, fate, done: false })
    }

    /// Adds the loss to the transaction.
    pub fn record(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        let mut meta = self.inode.merged(&self.state.meta);
        meta.ctime = Timespec::now();
        match &mut self.fate {
            Fate::Stays => {
                meta.nlink -= 1;
                tx.put_inode(&meta);
            }
            Fate::Freed { shard, .. } => free_light(tx, shard, &meta),
            Fate::Orphan { root, .. } => {
                meta.nlink = 0;
                tx.put_inode(&meta);
                if !left_out(Step::ListOrphan) {
                    orphans::add(tx, root, meta.ino)?;
                }
            }
        }
        Ok(())
    }

    /// Takes the loss over into memory, after the commit.
    pub fn committed(mut self) -> Result<UnlinkReport> {
        self.done = true;
        let (fs, inode) = (self.fs, self.inode);
        let ino = inode.ino();
        match std::mem::replace(&mut self.fate, Fate::Stays) {
            Fate::Stays => {
                self.state.meta.nlink -= 1;
                self.state.meta.ctime = Timespec::now();
                Ok(UnlinkReport { ino, nlink: self.state.meta.nlink, freed: false })
            }
            Fate::Freed { mut guard, shard } => {
                fs.core.space.soft.release(&fs.core.space, ino.0);
                inode.set_freed();
                self.state.meta.nlink = 0;
                *guard = shard;
                drop(guard);
                fs.table.forget(inode);
                Ok(UnlinkReport { ino, nlink: 0, freed: true })
            }
            Fate::Orphan { mut guard, root, free } => {
                self.state.meta.nlink = 0;
                *guard = root;
                drop(guard);
                if free {
                    inode.free_orphan(self.state)?;
                    fs.table.forget(inode);
                }
                Ok(UnlinkReport { ino, nlink: 0, freed: free })
            }
        }
    }
}

impl Drop for Loss<'_> {
    fn drop(&mut self) {
        if !self.done && !matches!(self.fate, Fate::Stays) {
            self.fs.table.cancel_free(self.inode.ino().0);
        }
    }
}
