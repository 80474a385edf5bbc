//! Maps: a file as memory.

use std::ops::Range;
use std::sync::{Arc, Weak};

use limpid_dax::{
    Access, Fallback, FaultOutcome, Order, PAGE_SIZE, PageIndex, PageRange, StoreUnit, Vma,
};
use limpid_mmu::{
    AccessError, FaultHandler, FaultOutcome as Settled, LinuxMap, MapSpec, PageSizes,
};

use crate::error::{Error, Result};
use crate::file::File;
use crate::node::Node;

/// What to map, and how.
///
/// ```
/// use limpid::{File, MapOptions, Pool};
/// let pool = Pool::memory(16 << 20)?;
/// let file = File::create(&pool, "/data")?;
/// file.set_len(1 << 20)?;
/// let map = match MapOptions::new().write(true).range(4096..8192).map(&file) {
///     Err(limpid::Error::NoMaps(reason)) => return Ok(eprintln!("skipped: {reason}")),
///     map => map?,
/// };
/// map.write(0, b"stored")?;
/// let mut bytes = [0; 6];
/// file.read_at(&mut bytes, 4096)?;
/// assert_eq!(&bytes, b"stored");
/// # Ok::<(), limpid::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MapOptions {
    write: bool,
    private: bool,
    range: Option<Range<u64>>,
    store_unit: Option<StoreUnit>,
}

impl MapOptions {
    /// A shared map of the whole file, for loads only.
    pub fn new() -> MapOptions {
        MapOptions::default()
    }

    /// Allows stores.
    pub fn write(&mut self, yes: bool) -> &mut Self {
        self.write = yes;
        self
    }

    /// Stores go to private copies of the pages, not to the file.
    pub fn private(&mut self, yes: bool) -> &mut Self {
        self.private = yes;
        self
    }

    /// Maps only these bytes of the file; they need not be aligned.
    pub fn range(&mut self, bytes: Range<u64>) -> &mut Self {
        self.range = Some(bytes);
        self
    }

    /// What a store to a hole takes; the default is what the pool was opened with
    /// ([`PoolOptions::store_unit`](crate::PoolOptions::store_unit), which has more).
    pub fn store_unit(&mut self, unit: StoreUnit) -> &mut Self {
        self.store_unit = Some(unit);
        self
    }

    /// Makes the map. The file must be open for reading, and for writing if the map is shared and
    /// takes stores. The range must lie within the file and not be empty.
    pub fn map(&self, file: &File) -> Result<Map> {
        file.wants_read()?;
        if self.write && !self.private {
            file.wants_write()?;
        }
        file.pool.here()?;
        let size = file.len();
        let bytes = self.range.clone().unwrap_or(0..size);
        if bytes.start >= bytes.end {
            return Err(Error::EmptyMap);
        }
        if bytes.end > size {
            let len = bytes.end - bytes.start;
            return Err(Error::OutOfRange { at: bytes.start, len, size });
        }
        Map::new(file, bytes, self)
    }
}

impl File {
    /// A shared map of the whole file, for loads.
    pub fn map(&self) -> Result<Map> {
        MapOptions::new().map(self)
    }

    /// A shared map of the whole file, for loads and stores.
    pub fn map_mut(&self) -> Result<Map> {
        MapOptions::new().write(true).map(self)
    }
}

/// Settles the faults of one map by the DAX layer. It holds the file only while a fault is being
/// handled, so that the file can be closed; a fault that is under way keeps it open.
struct Faults {
    node: Weak<Node>,
    vma: Weak<Vma>,
}

impl FaultHandler for Faults {
    fn fault(&self, page: PageIndex, store: bool) -> Settled {
        let (Some(node), Some(vma)) = (self.node.upgrade(), self.vma.upgrade()) else {
            return Settled::Gone;
        };
        let access = if store { Access::Store } else { Access::Load };
        if store {
            node.note_write();
        }
        match node.mapping.fault(&vma, page, access) {
            FaultOutcome::Installed | FaultOutcome::PastEnd | FaultOutcome::Failed(_) => {
                Settled::Installed
            }
            FaultOutcome::NoMemory => Settled::NoMemory,
            FaultOutcome::Gone => Settled::Gone,
        }
    }
}

/// What a map's page tables hold, and why not more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageReport {
    /// Bytes of the map by what maps them at this moment.
    pub sizes: PageSizes,
    /// The 2 MiB units of the file that were last mapped with 4 KiB pages, as byte ranges of the
    /// file, with the reason.
    pub fallbacks: Vec<(Range<u64>, Fallback)>,
    /// Whether the medium has 2 MiB pages at all. Where it has none (a file behind the page cache),
    /// storage is in 4 KiB pages even without a fallback.
    pub medium_huge: bool,
}

/// A range of a file as memory. Offsets count from the start of the range.
///
/// The bytes are shared with every other map, handle and thread, so they are reached by copies
/// and atomic accesses; who can prove that nobody changes them may take a slice. A map stays
/// valid when the file is closed, renamed or unlinked. If the file is truncated below the map,
/// the methods here return [`Error::OutOfRange`]; accesses through pointers raise SIGBUS.
///
/// A store to a hole needs room in the pool. If there is none, the methods return "no space"
/// ([`FsError::NoSpace`](limpid_fs::FsError::NoSpace)), a store through a pointer raises SIGBUS,
/// and a system call that stores returns EFAULT. Loads go on, and stores as well as soon as there
/// is room; through a pointer a few milliseconds later.
pub struct Map {
    vma: Arc<Vma>,
    map: Arc<LinuxMap>,
    node: Arc<Node>,
    file: File,
    bytes: Range<u64>,
}

impl Map {
    fn new(file: &File, bytes: Range<u64>, options: &MapOptions) -> Result<Map> {
        file.pool.here()?;
        let (write, private) = (options.write, options.private);
        file.fetch_newer(bytes.clone());
        let (engine, backing) = file.pool.backing()?;
        let granularity = backing.options().granularity.max(PAGE_SIZE);
        let pages = PageRange {
            start: PageIndex::of(bytes.start / granularity * granularity),
            end: PageIndex::of(bytes.end.next_multiple_of(granularity)),
        };
        let spec = MapSpec { pages, writable: write, private };
        let map = LinuxMap::new(engine, backing, spec)?;
        // Where the medium can be mapped in large units only, so can what a store takes.
        let store_unit = options.store_unit.filter(|_| granularity == PAGE_SIZE);
        let (shared, writable) = (!private, write);
        let vma = Arc::new(Vma { pages, shared, writable, store_unit, mmu: map.clone() });
        let node = file.node.clone();
        node.mapping.add_map(vma.clone());
        let faults = Faults { node: Arc::downgrade(&node), vma: Arc::downgrade(&vma) };
        map.serve(Arc::new(faults));
        Ok(Map { vma, map, node, file: file.try_clone()?, bytes })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        (self.bytes.end - self.bytes.start) as usize
    }

    /// Never true: an empty range cannot be mapped.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bytes of the file that are mapped.
    pub fn file_range(&self) -> Range<u64> {
        self.bytes.clone()
    }

    /// Offset within the reservation of byte `offset` of the map.
    fn inside(&self, offset: usize, len: usize) -> Result<usize> {
        self.file.pool.here()?;
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len());
        if !fits {
            let (at, size) = (offset as u64, self.len() as u64);
            return Err(Error::OutOfRange { at, len: len as u64, size });
        }
        let lead = self.bytes.start - self.vma.pages.start.offset();
        Ok(lead as usize + offset)
    }

    /// Makes an access to bytes of the map, `work`, which gets their offset within the reservation.
    /// Where it raises SIGBUS, its faults are settled by this thread, which so learns the reason;
    /// if there is none any more, as when there is room again, the access is made once more.
    fn access<T>(
        &self,
        offset: usize,
        len: usize,
        access: Access,
        mut work: impl FnMut(usize) -> std::result::Result<T, AccessError>,
    ) -> Result<T> {
        /// Each time somebody else would have to come in between.
        const TRIES: u32 = 16;
        let inside = self.inside(offset, len)?;
        for _ in 0..TRIES {
            match work(inside) {
                Ok(done) => return Ok(done),
                Err(AccessError::Bus) => self.settle(offset, len, access)?,
                Err(AccessError::ReadOnly) => return Err(Error::NotOpenedFor("writing")),
                Err(AccessError::Misaligned(at)) => {
                    return Err(Error::MisalignedAtomic { at: at as u64 });
                }
                Err(AccessError::NoMappings) => return Err(self.unmappable(offset)),
                Err(AccessError::OutOfRange { .. }) => break,
            }
        }
        Err(self.past_end(offset, len))
    }

    /// Why the kernel refuses to map a byte: a medium of large units maps nothing smaller, and to
    /// the page tables that looks as if there were no mapping left.
    fn unmappable(&self, offset: usize) -> Error {
        let at = self.bytes.start + offset as u64;
        match self.file.pool.media.granularity() {
            granularity if granularity > PAGE_SIZE => Error::Granularity { at, granularity },
            _ => Error::NoMappings { at },
        }
    }

    fn past_end(&self, offset: usize, len: usize) -> Error {
        let at = self.bytes.start + offset as u64;
        Error::OutOfRange { at, len: len as u64, size: self.file.len() }
    }

    /// Settles the faults of an access that raised SIGBUS, or tells why that cannot be.
    fn settle(&self, offset: usize, len: usize, access: Access) -> Result<()> {
        let at = self.bytes.start + offset as u64;
        let end = at + len as u64;
        if end > self.file.len() {
            return Err(self.past_end(offset, len));
        }
        if self.file.pool.media.granularity() > PAGE_SIZE {
            return Err(self.unmappable(offset));
        }
        if let Some(error) = self.lost(at, len) {
            return Err(error);
        }
        let pages = PageRange::covering(&(at..end));
        for page in (pages.start.0..pages.end.0).map(PageIndex) {
            match self.node.mapping.fault(&self.vma, page, access) {
                FaultOutcome::Installed => {}
                FaultOutcome::Failed(error) => return Err(Error::Fs(error)),
                FaultOutcome::NoMemory => return Err(self.unmappable(offset)),
                FaultOutcome::PastEnd | FaultOutcome::Gone => {
                    return Err(self.past_end(offset, len));
                }
            }
        }
        Ok(())
    }

    /// The failure of the medium below a range of the file, if that is why it cannot be accessed.
    fn lost(&self, at: u64, len: usize) -> Option<Error> {
        let end = (at + len as u64).min(self.file.len());
        let pages = at / PAGE_SIZE..end.div_ceil(PAGE_SIZE);
        // One byte of each page: what fails, fails by pages.
        let mut failures = pages.filter_map(|page| {
            let offset = (page * PAGE_SIZE).max(at);
            self.file.node.mapping.read(offset, &mut [0; 1][..]).err()
        });
        match failures.next().map(Error::from) {
            Some(error @ Error::Media(_)) => Some(error),
            _ => None,
        }
    }

    /// Copies bytes out of the map; racing stores are seen or not, byte by byte.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        self.access(offset, into.len(), Access::Load, |at| self.map.read(at, into))
    }

    /// Copies bytes into the map. Where they would go into a hole and the pool has no room, the
    /// error is "no space", and some of the bytes may have been stored.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<()> {
        self.access(offset, from.len(), Access::Store, |at| self.map.write(at, from))
    }

    /// Loads the 8 bytes at `offset` atomically (acquire). The file offset must be a multiple
    /// of 8.
    pub fn load_u64(&self, offset: usize) -> Result<u64> {
        self.access(offset, 8, Access::Load, |at| self.map.load_u64(at))
    }

    /// Stores the 8 bytes at `offset` atomically (release). The file offset must be a multiple
    /// of 8.
    pub fn store_u64(&self, offset: usize, value: u64) -> Result<()> {
        self.access(offset, 8, Access::Store, |at| self.map.store_u64(at, value))
    }

    /// Adds to the 8 bytes at `offset` atomically, wrapping; returns what was there before.
    pub fn fetch_add_u64(&self, offset: usize, value: u64) -> Result<u64> {
        self.access(offset, 8, Access::Store, |at| self.map.fetch_add_u64(at, value))
    }

    /// Replaces the 8 bytes at `offset` by `new` atomically, if they are `current`. The inner
    /// result is what was there before: `Err` if it was something else and stays.
    pub fn compare_exchange_u64(
        &self,
        offset: usize,
        current: u64,
        new: u64,
    ) -> Result<std::result::Result<u64, u64>> {
        let work = |at| self.map.compare_exchange_u64(at, current, new);
        self.access(offset, 8, Access::Store, work)
    }

    /// Address of the first byte; valid as long as the map lives.
    pub fn as_ptr(&self) -> *mut u8 {
        let lead = self.bytes.start - self.vma.pages.start.offset();
        self.map.as_ptr().wrapping_add(lead as usize)
    }

    /// Makes the stores to a range durable: cache lines are written back and fenced; on a plain
    /// file pool the file is synced as well.
    pub fn flush(&self, range: Range<usize>) -> Result<()> {
        self.inside(range.start, range.end.saturating_sub(range.start))?;
        let start = self.bytes.start + range.start as u64;
        let end = self.bytes.start + range.end as u64;
        // Stores are told to nobody when they are made, but here.
        drop(self.file.changing(start..end));
        self.node.mapping.writeback(PageRange::covering(&(start..end)));
        let media = &self.file.pool.media;
        media.sync(0..media.len())?;
        Ok(())
    }

    /// What the page tables hold for this map now, and why units of it have 4 KiB pages.
    pub fn page_sizes(&self) -> Result<PageReport> {
        self.file.pool.here()?;
        let sizes = self.map.page_sizes(self.vma.pages).map_err(Error::Evidence)?;
        let mut fallbacks = Vec::new();
        let mut unit = self.vma.pages.start.round_down(Order::Pmd);
        while unit < self.vma.pages.end {
            if let Some(reason) = self.node.mapping.fallback_reason(unit) {
                fallbacks.push((unit.unit(Order::Pmd).bytes(), reason));
            }
            unit = unit.unit(Order::Pmd).end;
        }
        let medium_huge = self.file.pool.medium.huge();
        Ok(PageReport { sizes, fallbacks, medium_huge })
    }

    /// As [`page_sizes`](Map::page_sizes), for a part of the map, without reasons.
    pub fn page_sizes_of(&self, range: Range<usize>) -> Result<PageSizes> {
        self.inside(range.start, range.end.saturating_sub(range.start))?;
        let start = self.bytes.start + range.start as u64;
        let end = self.bytes.start + range.end as u64;
        self.map.page_sizes(PageRange::covering(&(start..end))).map_err(Error::Evidence)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        if self.file.pool.here().is_ok() {
            self.node.mapping.remove_map(&self.vma);
        }
    }
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Map").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
