//! Inodes handed out held: the one door between a name or a number and the inode.
//!
//! A number alone says nothing for long: the inode may be freed, and the number another's, before
//! it is used. So what is looked up is handed out held, from under the lock of the directory that
//! names it: as long as a [`Held`] lives its inode is not freed, nor its number used again, even
//! when its last name goes. To hold costs a moment of one lock. It is not to open: an inode that
//! is held only does not keep its soft reservation, and its times are written when it is closed or
//! the pool is synced.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use limpid_pmem::Origin;

use crate::attributes::Ino;
use crate::dir::{self, DirEntry};
use crate::error::{FsError, Result};
use crate::fs::Fs;
use crate::inode::Inode;
use crate::names::live;
use crate::table::Table;

/// Entries that are held at a time while a directory is listed.
const BATCH: usize = 32;

/// An inode that is neither freed nor reused as long as this lives.
pub struct Held {
    table: Arc<Table>,
    inode: Arc<Inode>,
    origin: Origin,
}

impl Held {
    /// Opens the inode: as long as it is open it may be changed and its data used
    /// ([`Fs::release`]). Not found if its last name went and it is being freed.
    pub fn open(&self) -> Result<Arc<Inode>> {
        self.table.open(&self.inode.core, self.inode.ino().0)
    }
}

impl Deref for Held {
    type Target = Inode;

    fn deref(&self) -> &Inode {
        &self.inode
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A forked child has a copy of what is the parent's.
        if !self.origin.is_inherited() {
            let_go(&self.table, &self.inode);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.inode.ino()).finish()
    }
}

impl Fs {
    /// The inode a name stands for, held. Wants no lock; "." and ".." are not names.
    pub fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Held> {
        if name.len() > dir::MAX_NAME {
            return Err(FsError::NameTooLong);
        }
        self.write_overdue_times();
        let dir = self.directory(dir)?;
        let state = live(&dir)?;
        let found = dir::get(&self.core, &state.meta, name)?;
        // The name keeps the inode until the directory's lock is let go; then it is held.
        self.child(&dir, &found)?;
        self.hold_number(found.ino)
    }

    /// The inode of a number, held; not found if there is none now. Whoever asks knows that the
    /// number is still that of the inode he means, or compares the generation.
    pub fn hold(&self, ino: Ino) -> Result<Held> {
        self.write_overdue_times();
        self.hold_number(ino.0)
    }

    /// The directory that holds a directory; the root is its own parent. Not found for one that
    /// was removed.
    pub fn parent(&self, dir: Ino) -> Result<Held> {
        let dir = self.directory(dir)?;
        let state = dir.read();
        if state.meta.nlink == 0 {
            return Err(FsError::NotFound);
        }
        // It cannot be removed or become another's number: `dir` is in it until it is let go.
        self.hold_number(state.meta.link)
    }

    /// As [`read_dir`](Fs::read_dir), with what each name stands for, held.
    pub fn read_dir_held(
        &self,
        dir: Ino,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_>, Held) -> bool,
    ) -> Result<()> {
        self.write_overdue_times();
        let dir = self.directory(dir)?;
        let mut next = Some(cookie);
        while let Some(from) = next {
            let mut held = Vec::with_capacity(BATCH);
            {
                let state = dir.read();
                if dir.is_freed() {
                    return Ok(());
                }
                let (entries, more) = dir::list_leaf(&self.core, &state.meta, from)?;
                next = more;
                for (key, ino, kind, name) in entries {
                    if held.len() == BATCH {
                        next = Some(key);
                        break;
                    }
                    match self.hold_number(ino) {
                        Ok(inode) => held.push((key, kind, name, inode)),
                        // A damaged medium: an entry without an inode.
                        Err(FsError::NotFound) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            for (key, kind, name, inode) in held {
                let entry = DirEntry { name: &name, ino: inode.ino(), kind, cookie: key + 1 };
                if !each(entry, inode) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    pub(crate) fn hold_number(&self, ino: u64) -> Result<Held> {
        let (inode, table) = (self.table.hold(&self.core, ino)?, self.table.clone());
        Ok(Held { table, inode, origin: Origin::here() })
    }
}

/// Ends a hold. The last one of an inode without names that nobody has open frees it.
fn let_go(table: &Table, inode: &Inode) {
    if table.let_go(inode.ino().0) {
        return;
    }
    let mut state = inode.write();
    let writable = inode.core.writable().is_ok();
    let gone = state.meta.nlink == 0 && writable && !inode.is_freed();
    // An error leaves the inode to the next opening of the pool, which ends what is left.
    if table.end_hold(inode.ino().0, gone) && inode.free_orphan(&mut state).is_ok() {
        table.forget(inode);
    }
}
