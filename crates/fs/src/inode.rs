//! An inode in memory: its attributes, its block map, and the lock around both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use limpid_locks::{
    MappedRwLockReadGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, by_number, rw_lock,
};

use crate::attributes::{Attributes, FileKind, Ino, SetAttributes, Timespec};
use crate::classes::{DIRECTORY, INODE};
use crate::core::Core;
use crate::error::{FsError, Result};
use crate::hot::HotRun;
use crate::map::{self, Map};
use crate::record::Meta;
use crate::tx::Tx;

/// An open inode. There is one object per inode and open pool; it implements
/// [`limpid_dax::Iomap`] for regular files.
pub struct Inode {
    pub(crate) core: Arc<Core>,
    ino: u64,
    kind: FileKind,
    generation: u32,
    /// Size in bytes, for readers without the lock; written under the lock.
    size: AtomicU64,
    /// The parent of a directory, for readers without the lock; written under the lock.
    parent: AtomicU64,
    /// Times that changed since the record was written last.
    pub(crate) modified: PendingTime,
    pub(crate) accessed: PendingTime,
    /// The inode is free again: whoever still holds this object must not use it.
    freed: AtomicBool,
    /// The run that was looked up last.
    pub(crate) hot: HotRun,
    state: RwLock<State>,
}

/// What the inode's lock protects. For a directory that includes its tree of names.
pub(crate) struct State {
    /// The record, as the medium has it.
    pub meta: Meta,
    /// The block map, once it was needed.
    pub map: Option<Map>,
}

/// A time that is newer than the record's, in nanoseconds since 1970; 0 for none.
#[derive(Default)]
pub(crate) struct PendingTime(AtomicI64);

impl PendingTime {
    fn set(&self, time: Timespec) {
        let nanoseconds = time.seconds.saturating_mul(1_000_000_000);
        self.0.store(nanoseconds.saturating_add(i64::from(time.nanoseconds)), Ordering::Relaxed);
    }

    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The record took `seen` over: forget it, unless a newer one came.
    fn taken(&self, seen: i64) {
        let _ = self.0.compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn over(seen: i64, old: Timespec) -> Timespec {
        if seen == 0 {
            return old;
        }
        Timespec {
            seconds: seen.div_euclid(1_000_000_000),
            nanoseconds: seen.rem_euclid(1_000_000_000) as u32,
        }
    }
}

impl Inode {
    pub(crate) fn new(core: Arc<Core>, meta: Meta) -> Inode {
        let class = match meta.kind {
            FileKind::Directory => &DIRECTORY,
            _ => &INODE,
        };
        Inode {
            core,
            ino: meta.ino,
            kind: meta.kind,
            generation: meta.generation,
            size: AtomicU64::new(meta.size),
            parent: AtomicU64::new(meta.link),
            modified: PendingTime::default(),
            accessed: PendingTime::default(),
            freed: AtomicBool::new(false),
            hot: HotRun::default(),
            state: rw_lock(class, State { meta, map: None }),
        }
    }

    /// Number of the inode.
    pub fn ino(&self) -> Ino {
        Ino(self.ino)
    }

    /// What it is.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Changes each time the number is used again.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The directory that holds a directory. It stays the same as long as the lock of the tree or
    /// that directory's lock is held.
    pub(crate) fn parent(&self) -> u64 {
        self.parent.load(Ordering::Acquire)
    }

    /// All attributes.
    pub fn attributes(&self) -> Attributes {
        let state = self.state.read();
        let meta = self.merged(&state.meta);
        drop(state);
        Attributes {
            ino: Ino(meta.ino),
            kind: meta.kind,
            mode: u32::from(meta.mode),
            uid: meta.uid,
            gid: meta.gid,
            nlink: meta.nlink,
            size: if meta.kind == FileKind::Directory {
                meta.blocks * crate::layout::BLOCK
            } else {
                meta.size
            },
            blocks: meta.blocks,
            rdev: if is_device(meta.kind) { meta.link } else { 0 },
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            btime: meta.btime,
            generation: meta.generation,
            has_xattrs: !meta.xattrs.is_empty(),
        }
    }

    /// Notes that the data was read: the time of last access changes in memory, if it is not
    /// newer than the last change or older than a day ("relatime").
    pub fn touch_accessed(&self) {
        if self.core.read_only {
            return;
        }
        let now = Timespec::now();
        let state = self.state.read();
        let meta = self.merged(&state.meta);
        let stale = meta.atime <= meta.mtime
            || meta.atime <= meta.ctime
            || now.seconds.saturating_sub(meta.atime.seconds) > 86_400;
        if stale {
            self.accessed.set(now);
        }
    }

    /// Notes that the data was read: the time of last access changes in memory, however new it is
    /// ("strictatime").
    pub fn touch_accessed_always(&self) {
        if !self.core.read_only {
            self.accessed.set(Timespec::now());
        }
    }

    /// Notes that the data was changed now; in memory.
    pub(crate) fn touch_modified(&self) {
        self.modified.set(Timespec::now());
    }

    /// True if a time is newer in memory than on the medium.
    pub(crate) fn has_pending_times(&self) -> bool {
        self.modified.get() != 0 || self.accessed.get() != 0
    }

    /// Makes the times durable that so far changed in memory only. One transaction if there are
    /// any; on a medium of durability "process" everything committed is written back, too.
    pub fn sync(&self) -> Result<()> {
        self.flush_times()?;
        self.core.sync_medium()
    }

    /// Writes pending times to the record.
    pub(crate) fn flush_times(&self) -> Result<()> {
        if self.has_pending_times() && !self.is_freed() && !self.core.read_only {
            let mut state = self.write();
            self.update(&mut state, Tx::shrinking(&self.core), |_, _, _| Ok(()))?;
        }
        Ok(())
    }

    /// Changes mode, owner or times, in one transaction.
    pub(crate) fn set_attributes(&self, set: &SetAttributes) -> Result<()> {
        self.core.writable()?;
        let mut state = self.write();
        self.update(&mut state, Tx::shrinking(&self.core), |_, meta, _| {
            if let Some(mode) = set.mode {
                meta.mode = mode as u16 & 0o7777;
            }
            meta.uid = set.uid.unwrap_or(meta.uid);
            meta.gid = set.gid.unwrap_or(meta.gid);
            meta.atime = set.atime.unwrap_or(meta.atime);
            meta.mtime = set.mtime.unwrap_or(meta.mtime);
            meta.ctime = Timespec::now();
            Ok(())
        })
    }

    /// The record with the pending times.
    pub(crate) fn merged(&self, meta: &Meta) -> Meta {
        let modified = self.modified.get();
        Meta {
            atime: PendingTime::over(self.accessed.get(), meta.atime),
            mtime: PendingTime::over(modified, meta.mtime),
            ctime: PendingTime::over(modified, meta.ctime).max(meta.ctime),
            ..*meta
        }
    }

    /// One transaction that changes this inode: `change` gets a copy of the record and the map
    /// (if it is loaded), the copy becomes the record when the transaction is committed. Wants
    /// the inode's lock, which `state` is a part of.
    pub(crate) fn update<T>(
        &self,
        state: &mut State,
        mut tx: Tx<'_>,
        change: impl FnOnce(&mut Tx<'_>, &mut Meta, Option<&mut Map>) -> Result<T>,
    ) -> Result<T> {
        let (modified, accessed) = (self.modified.get(), self.accessed.get());
        let mut meta = self.merged(&state.meta);
        // Whatever goes wrong, the map may hold what was not committed: it comes back only with
        // the commit.
        let mut map = state.map.take();
        let result = change(&mut tx, &mut meta, map.as_mut())?;
        tx.put_inode(&meta);
        tx.commit()?;
        state.map = map;
        self.modified.taken(modified);
        self.accessed.taken(accessed);
        self.set_meta(state, meta);
        Ok(result)
    }

    /// Takes over a record that was committed.
    pub(crate) fn set_meta(&self, state: &mut State, meta: Meta) {
        self.size.store(meta.size, Ordering::Release);
        self.parent.store(meta.link, Ordering::Release);
        state.meta = meta;
    }

    /// The lock, shared. Not for the block map: see [`map`](Inode::map).
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// The lock, exclusive. Beside others only as `family.rs` allows.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        let state = match self.kind {
            FileKind::Directory => self.state.write(),
            _ => by_number(self.ino, || self.state.write()),
        };
        self.hot.clear();
        state
    }

    /// The block map, under the shared lock; loaded if need be.
    pub(crate) fn map(&self) -> Result<MappedRwLockReadGuard<'_, Map>> {
        loop {
            let state = self.state.read();
            match RwLockReadGuard::try_map(state, |state| state.map.as_ref()) {
                Ok(map) => return Ok(map),
                Err(state) => drop(state),
            }
            drop(self.write_mapped()?);
        }
    }

    /// The exclusive lock, with the block map loaded.
    pub(crate) fn write_mapped(&self) -> Result<RwLockWriteGuard<'_, State>> {
        if self.kind != FileKind::File {
            return Err(FsError::Invalid);
        }
        let mut state = self.write();
        if state.map.is_none() {
            state.map = Some(map::load(&self.core, &state.meta)?);
        }
        Ok(state)
    }

    /// See the field.
    pub(crate) fn is_freed(&self) -> bool {
        self.freed.load(Ordering::Acquire)
    }

    /// Marks the object as dead, once its inode was freed.
    pub(crate) fn set_freed(&self) {
        self.freed.store(true, Ordering::Release);
    }
}

/// True for inodes with a device number.
pub(crate) fn is_device(kind: FileKind) -> bool {
    matches!(kind, FileKind::CharDevice | FileKind::BlockDevice)
}
