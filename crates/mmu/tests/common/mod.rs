//! A file of the simplest kind for the tests: units of 2 MiB, each a hole or a place in the pool,
//! one lock for all of it. It stands for the DAX layer and keeps the DAX layer's rules: block map
//! first, then one unmap over all maps; a fault installs with the lock held.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use limpid_dax::{Mmu, MmuError, PageIndex, PageRange, Target};
use limpid_mmu::{Backing, BackingOptions, Engine, FaultHandler, FaultOutcome, LinuxMap, MapSpec};

pub const UNIT: u64 = 2 << 20;
pub const UNIT_PAGES: u64 = 512;

/// The engine, or a visible note that this machine has none.
pub fn engine() -> Option<&'static Engine> {
    match Engine::get() {
        Ok(engine) => Some(engine),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

/// A pool of `units` units: a nameless file beside the first medium that `LIMPID_TEST_MEDIA` names,
/// else memory, with huge pages where a private tmpfs mount can be made.
pub fn memory(units: u64) -> OwnedFd {
    let file = on_dax().or_else(huge_tmpfs).unwrap_or_else(|| {
        rustix::fs::memfd_create("pool", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd")
    });
    rustix::fs::ftruncate(&file, units * UNIT).expect("ftruncate");
    file
}

/// The folder for pools on a DAX file system, if the run names one.
fn dax_folder() -> Option<PathBuf> {
    let list = std::env::var_os("LIMPID_TEST_MEDIA")?;
    Some(std::env::split_paths(&list).next()?.parent()?.to_owned())
}

fn on_dax() -> Option<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let folder = dax_folder()?;
    let file = openat(CWD, &folder, flags, Mode::RUSR | Mode::WUSR);
    Some(file.unwrap_or_else(|errno| panic!("{}: {errno}", folder.display())))
}

fn huge_tmpfs() -> Option<OwnedFd> {
    use rustix::fs::{Mode, OFlags, openat};
    use rustix::mount::*;
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    fsconfig_set_string(fs.as_fd(), "huge", "always").ok()?;
    fsconfig_create(fs.as_fd()).ok()?;
    let mount = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).ok()?;
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    openat(&mount, ".", flags, Mode::RUSR | Mode::WUSR).ok()
}

/// One file.
pub struct TestFile {
    pub engine: &'static Engine,
    pub backing: Arc<Backing>,
    pool: OwnedFd,
    inner: Mutex<Inner>,
    maps: Mutex<Vec<Weak<LinuxMap>>>,
}

struct Inner {
    blocks: BTreeMap<u64, u64>,
    next: u64,
    free: Vec<u64>,
    /// Pages from here on are past the end.
    end: u64,
    /// A hole gets no storage.
    full: bool,
}

impl TestFile {
    pub fn new(engine: &'static Engine, units: u64) -> Arc<TestFile> {
        TestFile::with(engine, units, BackingOptions::default())
    }

    pub fn with(engine: &'static Engine, units: u64, options: BackingOptions) -> Arc<TestFile> {
        let pool = memory(units);
        let sync = dax_folder().is_some();
        let options = BackingOptions { len: units * UNIT, sync, ..options };
        let duplicate = rustix::io::fcntl_dupfd_cloexec(&pool, 0).expect("dup");
        let backing = Arc::new(Backing::new(engine, duplicate, options).expect("backing"));
        let inner = Inner {
            blocks: BTreeMap::new(),
            next: 0,
            free: Vec::new(),
            end: u64::MAX,
            full: false,
        };
        Arc::new(TestFile {
            engine,
            backing,
            pool,
            inner: Mutex::new(inner),
            maps: Mutex::default(),
        })
    }

    pub fn map(self: &Arc<Self>, pages: PageRange, writable: bool, private: bool) -> Arc<LinuxMap> {
        let spec = MapSpec { pages, writable, private };
        let map = LinuxMap::new(self.engine, self.backing.clone(), spec).expect("map");
        map.serve(Arc::new(Handler { file: self.clone(), map: Arc::downgrade(&map) }));
        self.maps.lock().unwrap().push(Arc::downgrade(&map));
        map
    }

    /// Writes bytes that lie in one unit, giving it storage first if it is a hole.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        let unit = offset / UNIT;
        let mut inner = self.inner.lock().unwrap();
        let fresh = !inner.blocks.contains_key(&unit);
        let device = match inner.blocks.get(&unit) {
            Some(device) => *device,
            None => inner.allocate(),
        };
        rustix::io::pwrite(&self.pool, bytes, device + offset % UNIT).expect("pwrite");
        if fresh {
            inner.blocks.insert(unit, device);
            self.unmap(unit_pages(unit));
        }
    }

    /// Reads through the block map, as read(2) does.
    pub fn read_u64(&self, offset: u64) -> u64 {
        let inner = self.inner.lock().unwrap();
        let Some(device) = inner.blocks.get(&(offset / UNIT)) else { return 0 };
        let mut bytes = [0; 8];
        rustix::io::pread(&self.pool, &mut bytes, device + offset % UNIT).expect("pread");
        u64::from_ne_bytes(bytes)
    }

    /// Moves a unit to another place, contents included (a copy on write of the file system).
    /// Stores through maps are held off first, so none is lost.
    pub fn relocate(&self, unit: u64) {
        let mut inner = self.inner.lock().unwrap();
        let Some(&old) = inner.blocks.get(&unit) else { return };
        self.unmap(unit_pages(unit));
        let new = inner.allocate();
        let mut bytes = vec![0; UNIT as usize];
        rustix::io::pread(&self.pool, &mut bytes, old).expect("pread");
        rustix::io::pwrite(&self.pool, &bytes, new).expect("pwrite");
        // A hole that gets this place next shall not show what was here.
        rustix::io::pwrite(&self.pool, &vec![0; UNIT as usize], old).expect("pwrite");
        inner.blocks.insert(unit, new);
        inner.free.push(old);
    }

    /// Makes a unit a hole again.
    pub fn punch(&self, unit: u64) {
        let mut inner = self.inner.lock().unwrap();
        self.unmap(unit_pages(unit));
        if let Some(device) = inner.blocks.remove(&unit) {
            rustix::io::pwrite(&self.pool, &vec![0; UNIT as usize], device).expect("pwrite");
            inner.free.push(device);
        }
    }

    /// Whether there is room for another unit.
    pub fn set_full(&self, full: bool) {
        self.inner.lock().unwrap().full = full;
    }

    /// Sets the end of the file, in pages.
    pub fn set_end(&self, end: u64) {
        let mut inner = self.inner.lock().unwrap();
        let changed = end.min(inner.end);
        inner.end = end;
        self.unmap(PageRange::from(PageIndex(changed)));
    }

    /// One unmap over all maps.
    pub fn unmap(&self, pages: PageRange) {
        for map in self.maps.lock().unwrap().iter().filter_map(Weak::upgrade) {
            map.unmap(pages);
        }
    }

    fn fault(&self, map: &LinuxMap, page: PageIndex, store: bool) -> Result<(), MmuError> {
        let mut inner = self.inner.lock().unwrap();
        let only = PageRange::new(page.0, page.0 + 1);
        if page.0 >= inner.end {
            return map.install(only, Target::Poison);
        }
        let unit = page.0 / UNIT_PAGES;
        let end = PageRange::new(0, inner.end);
        let pages = unit_pages(unit).intersect(map.pages()).intersect(end);
        let skipped = pages.start.offset() % UNIT;
        match inner.blocks.get(&unit) {
            Some(device) => {
                let device = device + skipped;
                map.install(pages, Target::Storage { device, writable: map.is_writable() })
            }
            None if !store => map.install(pages, Target::Zero),
            None if map.is_private() => map.install(only, Target::Private { device: None }),
            None if inner.full => map.install(only, Target::LoadsOnly),
            None => {
                let device = inner.allocate();
                self.unmap(unit_pages(unit));
                inner.blocks.insert(unit, device);
                let device = device + skipped;
                map.install(pages, Target::Storage { device, writable: true })
            }
        }
    }
}

impl Inner {
    fn allocate(&mut self) -> u64 {
        // What was freed holds zeroes.
        self.free.pop().unwrap_or_else(|| {
            self.next += UNIT;
            self.next - UNIT
        })
    }
}

struct Handler {
    file: Arc<TestFile>,
    map: Weak<LinuxMap>,
}

impl FaultHandler for Handler {
    fn fault(&self, page: PageIndex, store: bool) -> FaultOutcome {
        let Some(map) = self.map.upgrade() else { return FaultOutcome::Gone };
        match self.file.fault(&map, page, store) {
            Ok(()) => FaultOutcome::Installed,
            Err(MmuError::NoMemory) => FaultOutcome::NoMemory,
            Err(MmuError::Gone) => FaultOutcome::Gone,
        }
    }
}

pub fn unit_pages(unit: u64) -> PageRange {
    PageRange::new(unit * UNIT_PAGES, (unit + 1) * UNIT_PAGES)
}

/// A small generator for random tests; print the seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        eprintln!("seed {seed:#x}");
        Random(seed | 1)
    }

    pub fn fork(&mut self) -> Random {
        Random(self.next() | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }
}

pub fn seed() -> u64 {
    let given = std::env::var("LIMPID_SEED").ok();
    let given = given.and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    given.unwrap_or_else(|| {
        let time = std::time::UNIX_EPOCH.elapsed().expect("a clock");
        time.as_nanos() as u64
    })
}
