//! Pools: a medium with a file system on it, open in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use limpid_dax::{FaultPolicy, PAGE_SIZE, PageRange, StoreUnit};
use limpid_fs::{Access, FormatOptions, Fs, FsError, OpenReport, Statfs};
use limpid_locks::{Class, Mutex, mutex};
use limpid_mmu::{Backing, BackingOptions, Engine};
use limpid_pmem::{Durability, Kind, Media, Medium, OpenOptions as MediumOptions, Origin};

use crate::error::{Error, Result};
use crate::node::Nodes;
use crate::open::process_ids;
use crate::outside::Outside;

/// Smallest size of a pool in bytes.
pub const MIN_POOL_SIZE: u64 = 1024 * limpid_fs::BLOCK;

/// How a pool is created or opened.
///
/// ```
/// let pool = limpid::PoolOptions::new().label("scratch").memory(16 << 20)?;
/// assert_eq!(pool.info().label, "scratch");
/// # Ok::<(), limpid::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PoolOptions {
    medium: MediumOptions,
    label: String,
    uuid: Option<[u8; 16]>,
    fault_around: Option<u64>,
    store_unit: Option<StoreUnit>,
    store_ahead: Option<u64>,
}

impl PoolOptions {
    /// The defaults: read and write, no label, a random UUID.
    pub fn new() -> PoolOptions {
        PoolOptions::default()
    }

    /// Opens the pool for reading only; several readers may share it.
    pub fn read_only(mut self, yes: bool) -> Self {
        self.medium.read_only = yes;
        self
    }

    /// Label of a new pool, up to 64 bytes.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// UUID of a new pool.
    pub fn uuid(mut self, uuid: [u8; 16]) -> Self {
        self.uuid = Some(uuid);
        self
    }

    /// Takes an existing file for a new pool, discarding what it holds.
    pub fn overwrite(mut self, yes: bool) -> Self {
        self.medium.reuse = yes;
        self
    }

    /// Gives the whole medium storage at once, as persistent memory has it.
    pub fn populate(mut self, yes: bool) -> Self {
        self.medium.populate = yes;
        self
    }

    /// Treats the medium as if it survived power loss: stores leave the caches and fences wait,
    /// at their full price. For tests and measurements.
    pub fn assume_persistent(mut self, yes: bool) -> Self {
        self.medium.assume_persistent = yes;
        self
    }

    /// Largest number of bytes a fault installs around its page; 0 only the page's own unit. The
    /// default is 32 MiB.
    pub fn fault_around(mut self, bytes: u64) -> Self {
        self.fault_around = Some(bytes);
        self
    }

    /// What a store through a map to a hole takes of the pool. Maps can choose for themselves
    /// ([`MapOptions::store_unit`](crate::MapOptions::store_unit)).
    ///
    /// [`StoreUnit::Page`] saves space: a store of 8 bytes costs 4 KiB. It is the default where the
    /// medium has pages of 4 KiB only, as a file behind the page cache. [`StoreUnit::Huge`] takes
    /// whole units of 2 MiB, so that stores get 2 MiB pages: fewer faults, and fewer misses in the
    /// processor's tables for ever after. It is the default where the medium has such pages, and
    /// the only way where it has no smaller ones.
    pub fn store_unit(mut self, unit: StoreUnit) -> Self {
        self.store_unit = Some(unit);
        self
    }

    /// With [`StoreUnit::Page`]: most bytes that a store takes, its own page included. A store
    /// takes one page, and as many behind it as lie before it in one piece, up to this and to the
    /// end of its 2 MiB unit; so stores in rising order soon take whole units, and others one page
    /// each. 0 is one page always; the default, and the most, is 2 MiB.
    pub fn store_ahead(mut self, bytes: u64) -> Self {
        self.store_ahead = Some(bytes);
        self
    }

    /// Creates a pool of `size` bytes in a new file, or on a DAX device (whose size is its own).
    /// Its root directory belongs to the effective user and group of the process.
    pub fn create(self, path: impl AsRef<Path>, size: u64) -> Result<Pool> {
        let path = path.as_ref();
        if size < MIN_POOL_SIZE {
            let source = FsError::TooSmall { size, min: MIN_POOL_SIZE };
            return Err(Error::Pool { pool: path.to_owned(), source });
        }
        self.check_label(path)?;
        let medium = Medium::create(path, size, &self.medium)?;
        self.format(medium, path)
    }

    /// Opens an existing pool. One that is in use is refused; but if who has it is about to let go,
    /// because its mount is gone or because it dies, this waits (see `docs/mount.md`).
    pub fn open(self, path: impl AsRef<Path>) -> Result<Pool> {
        let path = path.as_ref();
        let medium = Medium::open(path, &self.medium)?;
        self.attach(medium, path)
    }

    /// A pool of `size` bytes in memory; it is gone when the last handle is.
    pub fn memory(self, size: u64) -> Result<Pool> {
        let path = Path::new("memory");
        self.check_label(path)?;
        let medium = Medium::memory(size, &self.medium)?;
        self.format(medium, path)
    }

    fn check_label(&self, pool: &Path) -> Result<()> {
        if self.label.len() > limpid_fs::MAX_LABEL {
            let source = FsError::NameTooLong;
            return Err(Error::Pool { pool: pool.to_owned(), source });
        }
        Ok(())
    }

    fn format(self, medium: Medium, path: &Path) -> Result<Pool> {
        let medium = Arc::new(medium);
        let media: Arc<dyn Media> = medium.clone();
        // Whoever makes a pool can use it.
        let (uid, gid) = process_ids();
        let format = FormatOptions {
            label: self.label.clone(),
            uuid: self.uuid,
            uid,
            gid,
            ..FormatOptions::default()
        };
        let named = |source| Error::Pool { pool: path.to_owned(), source };
        Fs::format(&media, &format).map_err(named)?;
        self.assemble(medium, path)
    }

    fn attach(self, medium: Medium, path: &Path) -> Result<Pool> {
        self.assemble(Arc::new(medium), path)
    }

    fn assemble(self, medium: Arc<Medium>, path: &Path) -> Result<Pool> {
        let media: Arc<dyn Media> = medium.clone();
        let access = if medium.read_only() { Access::ReadOnly } else { Access::ReadWrite };
        let named = |source| Error::Pool { pool: path.to_owned(), source };
        let (fs, report) = Fs::open(media.clone(), access).map_err(named)?;
        let mut policy = FaultPolicy::default();
        if let Some(bytes) = self.fault_around {
            policy.around = bytes;
        }
        if let Some(bytes) = self.store_ahead {
            policy.ahead = bytes;
        }
        let default = if medium.huge() { StoreUnit::Huge } else { StoreUnit::Page };
        policy.store_unit = match media.granularity() {
            0..=PAGE_SIZE => self.store_unit.unwrap_or(default),
            _ => StoreUnit::Huge,
        };
        let nodes = Arc::new(Nodes::new(fs.clone(), media.clone(), policy));
        let inner = Inner {
            nodes,
            fs,
            media,
            medium,
            path: path.to_owned(),
            report,
            outside: Outside::default(),
            origin: Origin::here(),
            backing: mutex(&BACKING, None),
        };
        Ok(Pool { inner: Arc::new(inner) })
    }
}

/// What a pool is, and what it gives on this machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolInfo {
    /// Where it was opened; `memory` for a pool in memory.
    pub path: PathBuf,
    /// What the medium is, as the kernel told.
    pub medium: Kind,
    /// One line about the medium.
    pub medium_line: String,
    /// What a flushed and fenced store survives.
    pub durability: Durability,
    /// One line about maps on this machine, or why there are none.
    pub maps_line: String,
    /// Size in bytes.
    pub size: u64,
    /// UUID.
    pub uuid: [u8; 16],
    /// Label; may be empty.
    pub label: String,
    /// Version of the on-media format.
    pub version: u32,
    /// Feature words: compatible, read-only compatible, incompatible.
    pub features: [u64; 3],
    /// Opened for reading only.
    pub read_only: bool,
    /// Device offset in bytes where the medium failed while metadata was changed: the pool takes
    /// no more changes until it is opened again.
    pub stopped_at: Option<u64>,
    /// The last user closed it properly.
    pub clean: bool,
    /// Journal transactions that opening it brought to an end.
    pub recovered: u32,
    /// The first superblock was corrupt, the backup was used.
    pub backup_superblock_used: bool,
}

/// Held while the pool's backing of maps is made.
static BACKING: Class = Class::new("limpid: backing of maps");

pub(crate) struct Inner {
    pub nodes: Arc<Nodes>,
    pub fs: Arc<Fs>,
    pub media: Arc<dyn Media>,
    pub medium: Arc<Medium>,
    pub path: PathBuf,
    pub report: OpenReport,
    pub outside: Outside,
    backing: Mutex<Option<Arc<Backing>>>,
    origin: Origin,
}

impl Inner {
    /// Refuses in a forked child, before any lock is asked for: its holder may be a thread that
    /// the child does not have.
    #[inline]
    pub fn here(&self) -> Result<()> {
        if self.origin.is_inherited() { Err(Error::Forked) } else { Ok(()) }
    }

    /// The pool as maps show it, made at the first map. What fails, like an open file too many,
    /// is tried again at the next one.
    pub fn backing(&self) -> Result<(&'static Engine, Arc<Backing>)> {
        let engine = Engine::get()?;
        let mut made = self.backing.lock();
        if let Some(backing) = &*made {
            return Ok((engine, backing.clone()));
        }
        let options = BackingOptions {
            len: self.media.len(),
            granularity: self.media.granularity(),
            sync: matches!(self.medium.kind(), Kind::Fsdax | Kind::Devdax),
            writable: !self.medium.read_only(),
            private: self.medium.kind() != Kind::Devdax,
            track_writes: self.media.durability() == Durability::Power,
        };
        let fd = self.medium.fd().try_clone_to_owned().map_err(|source| {
            let path = self.path.clone();
            limpid_pmem::OpenError::System { path, doing: "duplicate", source }
        })?;
        let backing = Arc::new(Backing::new(engine, fd, options)?);
        *made = Some(backing.clone());
        Ok((engine, backing))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.here().is_err() {
            return;
        }
        // The pool is consistent whether or not this works; a failure only means that the next
        // opening finds the journal to replay.
        let _ = self.fs.close();
    }
}

/// An open pool. Clones are handles of the same pool; it is closed when the last handle, file
/// and map is gone.
///
/// ```
/// use limpid::{File, Pool};
/// let pool = Pool::memory(16 << 20)?;
/// File::create(&pool, "/greeting")?.write_at(b"hello", 0)?;
/// assert_eq!(pool.read("/greeting")?, b"hello");
/// # Ok::<(), limpid::Error>(())
/// ```
#[derive(Clone)]
pub struct Pool {
    pub(crate) inner: Arc<Inner>,
}

impl Pool {
    /// Creates a pool of `size` bytes in a new file.
    pub fn create(path: impl AsRef<Path>, size: u64) -> Result<Pool> {
        PoolOptions::new().create(path, size)
    }

    /// Opens an existing pool for reading and writing.
    pub fn open(path: impl AsRef<Path>) -> Result<Pool> {
        PoolOptions::new().open(path)
    }

    /// A pool in memory.
    pub fn memory(size: u64) -> Result<Pool> {
        PoolOptions::new().memory(size)
    }

    /// What the pool is.
    pub fn info(&self) -> PoolInfo {
        let inner = &*self.inner;
        let fs = inner.fs.info();
        PoolInfo {
            path: inner.path.clone(),
            medium: inner.medium.kind(),
            medium_line: inner.medium.describe(),
            durability: inner.media.durability(),
            maps_line: match Engine::get() {
                Ok(engine) => engine.capabilities().to_string(),
                Err(error) => format!("none: {error}"),
            },
            size: fs.size,
            uuid: fs.uuid,
            label: fs.label,
            version: fs.version,
            features: fs.features,
            read_only: inner.medium.read_only(),
            stopped_at: fs.stopped_at,
            clean: inner.report.clean,
            recovered: inner.report.recovered,
            backup_superblock_used: inner.report.backup_superblock_used,
        }
    }

    /// Space and inodes. Of a pool in a sparse file no more is free than the host has room for.
    pub fn statfs(&self) -> Result<Statfs> {
        self.inner.here()?;
        let mut space = self.inner.fs.statfs();
        if let Some((left, given)) = self.inner.medium.host_storage() {
            let used = (space.blocks - space.free) * limpid_fs::BLOCK;
            let most = (given.saturating_sub(used)).saturating_add(left) / limpid_fs::BLOCK;
            space.available = space.available.min(most);
        }
        Ok(space)
    }

    /// Makes everything durable: stores through maps, times, and on a plain file all of its
    /// pages.
    pub fn sync(&self) -> Result<()> {
        self.inner.here()?;
        for node in self.inner.nodes.live() {
            node.mapping.writeback(PageRange::new(0, u64::MAX >> limpid_dax::PAGE_SHIFT));
        }
        self.inner.fs.sync()?;
        self.inner.media.sync(0..self.inner.media.len())?;
        Ok(())
    }

    /// Tells others that the pool is open for the mount of this device (`major:minor`) alone: who
    /// opens it when that mount is gone waits until it is closed, instead of being refused.
    pub fn hold_for_mount(&self, device: &str) {
        self.inner.medium.hold_for_mount(device);
    }

    /// Tells others that the pool will be closed as soon as can be: who opens it waits for that.
    pub fn leave(&self) {
        self.inner.medium.leave();
    }

    /// Checks the file system's structures and returns what is wrong, a line each.
    pub fn check(&self) -> Result<Vec<String>> {
        self.inner.here()?;
        let problems = self.inner.fs.check();
        Ok(problems.iter().map(|problem| format!("{problem:?}")).collect())
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("path", &self.inner.path).finish_non_exhaustive()
    }
}
