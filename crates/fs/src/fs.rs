//! The open pool: opening, closing, and what concerns it as a whole.

use std::sync::Arc;

use limpid_locks::{Mutex, mutex};
use limpid_pmem::Media;

use crate::anchor::{STATE_AT, State};
use crate::attributes::{Ino, SetAttributes, Timespec};
use crate::classes::{ORPHANS, TREE};
use crate::core::{Core, Verified};
use crate::error::{FsError, Result, What, corrupt};
use crate::format::{self, FormatOptions};
use crate::inode::Inode;
use crate::inodes::InodeTable;
use crate::journal::Journal;
use crate::layout::BLOCK;
use crate::orphans;
use crate::overlay::Overlay;
use crate::recovery;
use crate::repair::log;
use crate::seal;
use crate::space::Space;
use crate::superblock::{KNOWN, Superblock, VERSION};
use crate::table::{Left, Table};
use crate::xattr::XattrFlags;

/// The root directory's inode.
pub(crate) const ROOT: u64 = 1;

/// How a pool is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing is written, not even what the journal still holds: that is shown from memory.
    ReadOnly,
    /// Everything is allowed.
    ReadWrite,
}

/// What opening a pool found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// Transactions replayed from the journal (or shown from memory, when read-only).
    pub recovered: u32,
    /// Inodes without names, or half truncated, that were dealt with.
    pub orphans: u32,
    /// The first superblock is corrupt; the backup was used.
    pub backup_superblock_used: bool,
    /// The pool had been closed properly.
    pub clean: bool,
}

/// What a pool is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The pool's UUID.
    pub uuid: [u8; 16],
    /// The pool's label.
    pub label: String,
    /// Version of the on-media format.
    pub version: u32,
    /// Feature words: compatible, read-only compatible, incompatible.
    pub features: [u64; 3],
    /// Size of the pool in bytes.
    pub size: u64,
    /// Device offset of the first data block in bytes (a multiple of 2 MiB).
    pub data_start: u64,
    /// When it was made.
    pub created: Timespec,
    /// True if it was opened read-only.
    pub read_only: bool,
    /// Device offset in bytes where the medium failed while metadata was changed, which stopped
    /// all changes.
    pub stopped_at: Option<u64>,
}

/// How full a pool is, in blocks of 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statfs {
    /// Blocks for files and their metadata.
    pub blocks: u64,
    /// Blocks not in use.
    pub free: u64,
    /// Blocks that new files can use.
    pub available: u64,
    /// Inodes in use.
    pub files: u64,
    /// Inodes that could be made with the free space.
    pub files_free: u64,
    /// Size of a block in bytes.
    pub block_size: u64,
    /// Longest name in bytes.
    pub max_name: u32,
}

/// An open pool. All methods may be called from many threads at once.
///
/// ```
/// use std::sync::Arc;
/// use limpid_fs::{Access, FormatOptions, Fs, Kind, NewNode};
/// use limpid_pmem::{Media, VecMedia};
///
/// let media: Arc<dyn Media> = Arc::new(VecMedia::new(4 << 20));
/// Fs::format(&media, &FormatOptions::default())?;
/// let (fs, _) = Fs::open(media, Access::ReadWrite)?;
/// let node = NewNode { kind: Kind::File, mode: 0o644, uid: 0, gid: 0 };
/// let file = fs.create(fs.root(), b"name", node)?;
/// assert_eq!(fs.lookup(fs.root(), b"name")?.ino(), file.ino());
/// fs.release(file)?;
/// assert!(fs.check().is_empty());
/// fs.close()?;
/// # Ok::<(), limpid_fs::FsError>(())
/// ```
pub struct Fs {
    pub(crate) core: Arc<Core>,
    pub(crate) table: Arc<Table>,
    /// The lock of the tree: who holds it may lock two directories, and may give a directory
    /// another parent (`family.rs`).
    pub(crate) tree: Mutex<()>,
}

impl Core {
    /// Reads the roots. The journal has nothing to replay; its next number is `next`.
    pub fn open(
        media: Arc<dyn Media>,
        superblock: Superblock,
        next: u64,
        read_only: bool,
    ) -> Result<Core> {
        let geometry = superblock.geometry;
        Ok(Core {
            journal: Journal::new(superblock.salt(), next),
            space: Space::open(&*media, geometry),
            inodes: InodeTable::open(&*media, &geometry)?,
            orphans: mutex(&ORPHANS, orphans::open(&*media, &geometry)?),
            verified: Verified::new(&geometry),
            read_only,
            media,
            superblock,
            geometry,
        })
    }

    fn set_state(&self, state: State) -> Result<()> {
        let word = seal::seal_word(state as u64, self.superblock.salt());
        self.media.store_u64(STATE_AT, word)?;
        self.media.flush(STATE_AT..STATE_AT + 8);
        self.media.fence();
        Ok(())
    }
}

/// Brings a repair to its end that was interrupted once it was durable; when read-only, what it
/// changes is shown from memory.
fn finish_repair(
    media: Arc<dyn Media>,
    superblock: &Superblock,
    read_only: bool,
) -> Result<Arc<dyn Media>> {
    match log::find(&*media, &superblock.geometry, superblock.salt())? {
        Some(blocks) if read_only => Ok(Arc::new(Overlay::read_only(media, blocks))),
        Some(blocks) => log::apply(&*media, &blocks).map(|()| media),
        None => Ok(media),
    }
}

impl Fs {
    /// Makes a pool over the whole medium (at least 4 MiB). What was on it is lost.
    pub fn format(media: &Arc<dyn Media>, options: &FormatOptions) -> Result<()> {
        format::format(media, options)
    }

    /// Opens the pool on a medium: replays what the journal holds, and frees what a crash left
    /// half freed. Costs the same however full the pool is.
    pub fn open(media: Arc<dyn Media>, access: Access) -> Result<(Arc<Fs>, OpenReport)> {
        let read_only = access == Access::ReadOnly;
        let (superblock, backup_superblock_used) = Superblock::read(&*media)?;
        let unknown = superblock.features[1] & !KNOWN[1];
        if unknown != 0 && !read_only {
            return Err(FsError::UnsupportedFeature { bits: unknown });
        }
        let salt = superblock.salt();
        let media = finish_repair(media, &superblock, read_only)?;
        let found = recovery::find(&*media, &superblock.geometry, salt)?;
        let state = seal::open_word(media.load_u64(STATE_AT)?, salt);
        let mut report = OpenReport {
            recovered: found.replayed,
            orphans: 0,
            backup_superblock_used,
            clean: state == Some(State::Clean as u64) && found.replayed == 0,
        };
        let next = found.next;
        let media: Arc<dyn Media> = if !read_only {
            recovery::apply(&*media, &found, salt)?;
            media
        } else if found.blocks.is_empty() {
            media
        } else {
            Arc::new(Overlay::read_only(media, found.blocks))
        };
        let core = Arc::new(Core::open(media, superblock, next, read_only)?);
        let fs = Arc::new(Fs { core, table: Arc::default(), tree: mutex(&TREE, ()) });
        fs.directory(Ino(ROOT))?;
        if !read_only {
            fs.core.set_state(State::Open)?;
            report.orphans = fs.adopt_orphans()?;
        }
        Ok((fs, report))
    }

    /// Finishes what a crash interrupted. An orphan that is corrupt stays, for a checker to see.
    fn adopt_orphans(&self) -> Result<u32> {
        let mut done = 0;
        for ino in orphans::list(&self.core).unwrap_or_default() {
            let finished = self.table.get(&self.core, ino).and_then(|inode| {
                if inode.read().meta.nlink > 0 {
                    return inode.finish_cut(&mut *inode.write_mapped()?);
                }
                inode.free_orphan(&mut inode.write())?;
                self.table.forget(&inode);
                Ok(())
            });
            match finished {
                Ok(()) => done += 1,
                Err(error @ FsError::Media(_)) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(done)
    }

    /// Writes everything that is only in memory, and marks the pool as closed. Using the pool
    /// afterwards is harmless; it is only not "clean" any more after a crash.
    pub fn close(&self) -> Result<()> {
        if self.core.read_only {
            return Ok(());
        }
        self.core.writable()?;
        self.flush_times()?;
        self.core.space.soft.release_all(&self.core.space);
        self.core.journal.retire(&*self.core.media)?;
        self.core.set_state(State::Clean)?;
        self.core.sync_medium()
    }

    /// Makes everything durable as far as the medium goes: times, and on a medium of durability
    /// "process" all bytes.
    pub fn sync(&self) -> Result<()> {
        if self.core.read_only {
            return Ok(());
        }
        self.flush_times()?;
        self.core.sync_medium()
    }

    /// Writes the times of inodes that nobody uses and that only their times keep in memory.
    /// Wants no lock. What fails is tried again at the next sync.
    pub(crate) fn write_overdue_times(&self) {
        for inode in self.table.overdue() {
            let _ = inode.flush_times();
        }
    }

    fn flush_times(&self) -> Result<()> {
        for inode in self.table.with_pending_times() {
            inode.flush_times()?;
        }
        Ok(())
    }

    /// What the pool is.
    pub fn info(&self) -> Info {
        let superblock = &self.core.superblock;
        let label = superblock.label.split(|byte| *byte == 0).next().unwrap_or_default();
        Info {
            uuid: superblock.uuid,
            label: String::from_utf8_lossy(label).into_owned(),
            version: VERSION,
            features: superblock.features,
            size: self.core.geometry.total * BLOCK,
            data_start: self.core.geometry.data * BLOCK,
            created: superblock.created,
            read_only: self.core.read_only,
            stopped_at: self.core.journal.stopped_at(),
        }
    }

    /// How full the pool is.
    pub fn statfs(&self) -> Statfs {
        let space = &self.core.space;
        let free = space.free() + space.soft.blocks();
        let available = space.available();
        Statfs {
            blocks: self.core.geometry.data_blocks(),
            free,
            available,
            files: self.core.inodes.live(),
            files_free: available.saturating_mul(crate::layout::INODES_PER_BLOCK),
            block_size: BLOCK,
            max_name: crate::dir::MAX_NAME as u32,
        }
    }

    /// The root directory.
    pub fn root(&self) -> Ino {
        Ino(ROOT)
    }

    /// The medium.
    pub fn media(&self) -> &Arc<dyn Media> {
        &self.core.media
    }

    /// Opens an inode: it stays until it is released, even without a name.
    pub fn inode(&self, ino: Ino) -> Result<Arc<Inode>> {
        self.table.open(&self.core, ino.0)
    }

    /// True if somebody has the inode open.
    pub fn is_open(&self, ino: Ino) -> bool {
        self.table.is_open(ino.0)
    }

    /// Closes an inode that [`inode`](Fs::inode), [`create`](Fs::create),
    /// [`create_unnamed`](Fs::create_unnamed) or [`open_child`](Fs::open_child) opened. The last
    /// close frees an inode without names, and makes the times of another durable.
    pub fn release(&self, inode: Arc<Inode>) -> Result<()> {
        let mut state = inode.write();
        let writable = self.core.writable().is_ok();
        let gone = state.meta.nlink == 0 && writable && !inode.is_freed();
        let left = self.table.close(inode.ino().0, gone);
        if left == Left::Open {
            return Ok(());
        }
        self.core.space.soft.release(&self.core.space, inode.ino().0);
        if gone && left == Left::Nobody {
            inode.free_orphan(&mut state)?;
            self.table.forget(&inode);
        }
        if gone {
            return Ok(());
        }
        drop(state);
        if writable { inode.flush_times() } else { Ok(()) }
    }

    /// Changes attributes of an inode.
    pub fn set_attributes(&self, inode: &Inode, set: &SetAttributes) -> Result<()> {
        inode.set_attributes(set)
    }

    /// The value of an extended attribute.
    pub fn get_xattr(&self, inode: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        inode.get_xattr(name)
    }

    /// Sets an extended attribute: value up to 64 KiB, name 1 to 255 bytes.
    pub fn set_xattr(
        &self,
        inode: &Inode,
        name: &[u8],
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()> {
        inode.set_xattr(name, value, flags)
    }

    /// The names of all extended attributes.
    pub fn list_xattrs(&self, inode: &Inode) -> Result<Vec<Vec<u8>>> {
        inode.list_xattrs()
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&self, inode: &Inode, name: &[u8]) -> Result<()> {
        inode.remove_xattr(name)
    }

    /// The object of an inode that must be a directory.
    pub(crate) fn directory(&self, ino: Ino) -> Result<Arc<Inode>> {
        let inode = self.table.get(&self.core, ino.0)?;
        if inode.kind() != crate::attributes::FileKind::Directory {
            return Err(FsError::NotDirectory);
        }
        Ok(inode)
    }

    /// The object of the inode that an entry of `dir` points to, which must be of the kind the
    /// entry says.
    pub(crate) fn child(&self, dir: &Inode, found: &crate::dir::Found) -> Result<Arc<Inode>> {
        let bad = |why| corrupt(What::DirectoryEntry, dir.ino().0, why);
        if found.ino == dir.ino().0 {
            return bad("a directory that contains itself");
        }
        match self.table.get(&self.core, found.ino) {
            Ok(inode) if inode.kind() == found.kind => Ok(inode),
            Ok(_) => bad("an entry of another kind than its inode"),
            Err(FsError::NotFound) => bad("an entry without an inode"),
            Err(error) => Err(error),
        }
    }
}
