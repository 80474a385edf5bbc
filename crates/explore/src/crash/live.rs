//! A live pool on a recording medium, as the operations of a workload use it: the file system and
//! the DAX layer of production, over page tables made of a map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use limpid_dax::{
    Access as Fault, Config, DaxError, FaultOutcome, FaultPolicy, Mapping, Mmu, MmuError,
    PageIndex, PageRange, Protection, Target, Vma, WaitTable,
};
use limpid_fs::{Access, Fs, FsError, Ino, Inode};
use limpid_locks::StdSeam;
use limpid_pmem::{Media, Persist};

/// Why an operation was refused; but for a short write, a refused operation changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Fs(FsError),
    Dax,
    /// Space ran out in the middle of a write, which tells how far it came.
    Short,
}

impl From<FsError> for Refused {
    fn from(error: FsError) -> Refused {
        Refused::Fs(error)
    }
}

impl From<DaxError<FsError>> for Refused {
    fn from(error: DaxError<FsError>) -> Refused {
        match error {
            DaxError::Iomap(error) => Refused::Fs(error),
            _ => Refused::Dax,
        }
    }
}

pub(crate) type Done = Result<(), Refused>;

/// The production stack but for the page tables.
pub(crate) struct Stack;

impl Config for Stack {
    type Seam = StdSeam;
    type Media = dyn Media;
    type Iomap = Inode;
}

/// An open pool.
pub(crate) struct Live {
    pub fs: Arc<Fs>,
    media: Arc<dyn Media>,
    waits: Arc<WaitTable<StdSeam>>,
    /// Inodes that stay open to the end of the workload.
    pub held: Vec<Arc<Inode>>,
}

impl Live {
    /// Opens the pool on a medium.
    pub fn open(media: Arc<dyn Media>) -> Result<Live, FsError> {
        let (fs, _) = Fs::open(media.clone(), Access::ReadWrite)?;
        Ok(Live { fs, media, waits: Arc::new(WaitTable::new()), held: Vec::new() })
    }

    /// The same pool for another thread.
    pub fn another(&self) -> Live {
        let (fs, media, waits) = (self.fs.clone(), self.media.clone(), self.waits.clone());
        Live { fs, media, waits, held: Vec::new() }
    }

    /// The directory of a path like "d/name", and the name.
    pub fn place<'p>(&self, path: &'p str) -> Result<(Ino, &'p [u8]), FsError> {
        match path.rsplit_once('/') {
            None => Ok((self.fs.root(), path.as_bytes())),
            Some((dir, name)) => {
                let (above, dir) = self.place(dir)?;
                Ok((self.fs.lookup(above, dir)?.ino(), name.as_bytes()))
            }
        }
    }

    /// Opens a path.
    pub fn inode(&self, path: &str) -> Result<Arc<Inode>, FsError> {
        let (dir, name) = self.place(path)?;
        self.fs.open_child(dir, name)
    }

    /// Opens a file, lets `work` do something with it, and closes it.
    pub fn file(&self, path: &str, work: impl FnOnce(&File<'_>) -> Done) -> Done {
        let inode = self.inode(path)?;
        let ino = inode.ino().0;
        let policy = FaultPolicy::default();
        let (media, waits) = (self.media.clone(), self.waits.clone());
        let mapping = Mapping::new(ino, inode.clone(), media, waits, policy);
        let done = work(&File { live: self, inode: inode.clone(), mapping });
        self.fs.release(inode)?;
        done
    }
}

/// An open file.
pub(crate) struct File<'a> {
    live: &'a Live,
    pub inode: Arc<Inode>,
    pub mapping: Mapping<Stack>,
}

impl File<'_> {
    /// Writes bytes that tell where they are and who wrote them.
    pub fn write(&self, at: limpid_dax::WriteAt, len: usize, who: u8) -> Done {
        let written = self.mapping.write(at, &pattern(len, who)[..])?;
        if written.len < len as u64 { Err(Refused::Short) } else { Ok(()) }
    }

    /// Stores through a shared map of the whole file and returns; with `flush` the stores are
    /// written back before.
    pub fn store(&self, at: u64, len: usize, who: u8, flush: bool) -> Done {
        let pages = PageRange::new(0, self.inode.size().div_ceil(4096).max(1));
        let tables = Arc::new(Tables::default());
        let vma = Arc::new(Vma {
            pages,
            shared: true,
            writable: true,
            store_unit: None,
            mmu: tables.clone(),
        });
        self.mapping.add_map(vma.clone());
        let mut done = Ok(());
        for (index, bytes) in pattern(len, who).chunks(8).enumerate() {
            let at = at + index as u64 * 8;
            done = self.store_word(&vma, &tables, at, bytes);
            if done.is_err() {
                break;
            }
        }
        if flush {
            self.mapping.writeback(pages);
        }
        self.mapping.remove_map(&vma);
        done
    }

    fn store_word(&self, vma: &Vma, tables: &Tables, at: u64, bytes: &[u8]) -> Done {
        let page = PageIndex(at / 4096);
        loop {
            if let Some(device) = tables.to_store(page) {
                let stored = self.live.media.write(device + at % 4096, bytes, Persist::No);
                return stored.map_err(|_| Refused::Dax);
            }
            match self.mapping.fault(vma, page, Fault::Store) {
                FaultOutcome::Installed => {}
                FaultOutcome::Failed(error) => return Err(Refused::Fs(error)),
                _ => return Err(Refused::Dax),
            }
        }
    }
}

/// `len` bytes that differ from those of anybody else.
pub(crate) fn pattern(len: usize, who: u8) -> Vec<u8> {
    (0..len).map(|index| (index as u8 & 0x0f).wrapping_add(who << 4) | 1).collect()
}

/// Page tables of one map: which page shows what, and which were stored to.
#[derive(Default)]
struct Tables(Mutex<Shown>);

#[derive(Default)]
struct Shown {
    /// Device offset and whether stores go through; none for zeroes.
    pages: BTreeMap<u64, Option<(u64, bool)>>,
    stored: BTreeSet<u64>,
}

impl Tables {
    /// Where a store to the page goes, if it does not fault.
    fn to_store(&self, page: PageIndex) -> Option<u64> {
        let shown = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match shown.pages.get(&page.0) {
            Some(Some((device, true))) => {
                shown.stored.insert(page.0);
                Some(*device)
            }
            _ => None,
        }
    }
}

impl Mmu for Tables {
    fn can_map_huge(&self, _: PageIndex) -> bool {
        false
    }

    fn storage_stores_fault(&self) -> bool {
        true
    }

    fn install(&self, pages: PageRange, target: Target) -> Result<(), MmuError> {
        let shown = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for page in pages.start.0..pages.end.0 {
            let target = match target {
                Target::Storage { device, writable } => {
                    Some((device + (page - pages.start.0) * 4096, writable))
                }
                _ => None,
            };
            shown.pages.insert(page, target);
        }
        Ok(())
    }

    fn unmap(&self, pages: PageRange) {
        let shown = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.pages.retain(|page, _| !(pages.start.0..pages.end.0).contains(page));
    }

    fn write_protect(&self, pages: PageRange, written: &mut dyn FnMut(PageRange)) -> Protection {
        let shown = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for page in pages.start.0..pages.end.0 {
            if let Some(Some((_, writable))) = shown.pages.get_mut(&page) {
                *writable = false;
            }
            if shown.stored.remove(&page) {
                written(PageRange::new(page, page + 1));
            }
        }
        Protection::Faults
    }
}
