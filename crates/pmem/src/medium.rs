//! The four real media as one type.

use core::fmt;
use core::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mm::{Advice, MapFlags, MsyncFlags, madvise, msync};

use crate::arch;
use crate::host::Room;
use crate::mapping::Mapping;
use crate::media::{Durability, Media, MediaError, Persist};
use crate::process::Origin;
use crate::region::{Mode, Region};
use crate::{holder, host, lock};

/// What a medium is, as the kernel told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file behind the page cache, or on tmpfs.
    File,
    /// A regular file of a DAX file system, mapped with MAP_SYNC.
    Fsdax,
    /// A /dev/dax device.
    Devdax,
    /// Memory without a name.
    Memory,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::File => "file",
            Kind::Fsdax => "fsdax",
            Kind::Devdax => "devdax",
            Kind::Memory => "memory",
        })
    }
}

/// A device, a file or memory that holds a pool, locked and mapped whole.
///
/// ```
/// use limpid_pmem::{Media, Medium, OpenOptions, Persist};
/// let medium = Medium::memory(1 << 20, &OpenOptions::default())?;
/// medium.write(4096, b"hello", Persist::Yes)?;
/// medium.fence();
/// let mut bytes = [0; 5];
/// medium.read(4096, &mut bytes)?;
/// assert_eq!(&bytes, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Medium {
    region: Region,
    parts: Parts,
    /// Carries the lock.
    fd: OwnedFd,
    /// Where the medium is a file: which of its pages have storage.
    room: Option<Room>,
    /// Keeps the region's memory; must be dropped after it, which holds no memory of its own.
    _mapping: Mapping,
}

/// What was found out when the medium was opened.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) kind: Kind,
    pub(crate) granularity: u64,
    pub(crate) flags: MapFlags,
    pub(crate) huge: bool,
    pub(crate) path: Option<PathBuf>,
    pub(crate) assume_persistent: bool,
    pub(crate) writable: bool,
    pub(crate) len: u64,
    /// Who opened it, and so holds the lock.
    pub(crate) origin: Origin,
}

impl Parts {
    fn durability(&self) -> Durability {
        if self.assume_persistent {
            return Durability::Power;
        }
        match self.kind {
            Kind::Memory => Durability::None,
            Kind::File => Durability::Process,
            // Without write-back of cache lines only msync reaches the medium.
            Kind::Fsdax | Kind::Devdax if !arch::WRITES_BACK => Durability::Process,
            Kind::Fsdax | Kind::Devdax => Durability::Power,
        }
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        // A forked child shares the description with its parent, whose lock it is.
        if !self.parts.origin.is_inherited() {
            lock::unlock(self.fd.as_fd());
        }
    }
}

impl Medium {
    pub(crate) fn assemble(parts: Parts, fd: OwnedFd, mapping: Mapping) -> Medium {
        let mode = Mode {
            writable: parts.writable,
            write_through: parts.durability() == Durability::Power,
            huge: parts.huge,
        };
        // SAFETY: the mapping covers `len` bytes with this protection, and lives as long as the
        // region, since both are fields of one value and the mapping is never replaced.
        let region = unsafe { Region::new(mapping.base(), parts.len, mode) };
        let in_file = matches!(parts.kind, Kind::File | Kind::Fsdax);
        let room = in_file.then(|| Room::new(parts.len));
        Medium { region, parts, fd, room, _mapping: mapping }
    }

    /// Refuses in a forked child: the pool is its parent's.
    #[inline]
    fn here(&self) -> Result<(), MediaError> {
        if self.parts.origin.is_inherited() { Err(MediaError::Forked) } else { Ok(()) }
    }

    /// What the medium is.
    pub fn kind(&self) -> Kind {
        self.parts.kind
    }

    /// The path it was opened by; none for memory.
    pub fn path(&self) -> Option<&Path> {
        self.parts.path.as_deref()
    }

    /// The file that ranges of the medium are mapped from: its offsets are device offsets.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// How ranges must be mapped to have the medium's durability: MAP_SHARED, or
    /// MAP_SHARED_VALIDATE with MAP_SYNC.
    pub fn map_flags(&self) -> MapFlags {
        self.parts.flags
    }

    /// Whether stores are refused.
    pub fn read_only(&self) -> bool {
        !self.region.writable()
    }

    /// Whether 2 MiB pages can be had, for ranges that are aligned in the medium and in memory.
    pub fn huge(&self) -> bool {
        self.parts.huge
    }

    /// Address of device offset 0 in this process; a multiple of 2 MiB. Loads and stores through
    /// it are unchecked and unguarded.
    pub fn as_ptr(&self) -> *mut u8 {
        self.region.base()
    }

    /// Tells others that the medium is held for the mount of this device (`major:minor`) alone:
    /// who opens it when that mount is gone waits until it is let go of, instead of being refused.
    pub fn hold_for_mount(&self, device: &str) {
        holder::hold_for_mount(self.fd.as_fd(), device);
    }

    /// Tells others that the medium will be let go of as soon as can be: who opens it waits.
    pub fn leave(&self) {
        holder::leave(self.fd.as_fd());
    }

    /// Bytes of storage that the host can still give to the medium's file, and bytes that the file
    /// has. None where the medium is no file, or the host does not tell.
    pub fn host_storage(&self) -> Option<(u64, u64)> {
        self.room.as_ref().and_then(|_| host::storage(self.fd.as_fd()))
    }

    /// Stores, and asks the host for storage where a store faults.
    #[inline]
    fn storing(&self, store: impl Fn() -> Result<(), MediaError>) -> Result<(), MediaError> {
        let result = store();
        match result {
            Err(MediaError::Io { at }) if self.room.is_some() => self.store_again(at, store),
            _ => result,
        }
    }

    /// As often as the host gives storage and another byte faults.
    #[cold]
    fn store_again(
        &self,
        mut at: u64,
        store: impl Fn() -> Result<(), MediaError>,
    ) -> Result<(), MediaError> {
        loop {
            host::after_fault(self.fd.as_fd(), at)?;
            match store() {
                Err(MediaError::Io { at: next }) if next > at => at = next,
                result => return result,
            }
        }
    }

    /// One line that tells what this medium is and what it gives.
    pub fn describe(&self) -> String {
        let durability = match (self.durability(), self.parts.assume_persistent) {
            (Durability::Power, false) => "survives power loss",
            (Durability::Power, true) => "treated as if it survived power loss",
            (Durability::Process, _) => "survives the process, and power loss after sync",
            (Durability::None, _) => "survives nothing",
        };
        format!(
            "{}, {} bytes, {}{} KiB units, {}, {durability}",
            self.kind(),
            self.len(),
            if self.read_only() { "read-only, " } else { "" },
            self.granularity() >> 10,
            if self.huge() { "2 MiB pages possible" } else { "4 KiB pages only" },
        )
    }
}

impl Media for Medium {
    fn len(&self) -> u64 {
        self.region.len()
    }

    fn granularity(&self) -> u64 {
        self.parts.granularity
    }

    fn durability(&self) -> Durability {
        self.parts.durability()
    }

    #[inline]
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.here()?;
        match self.region.read(at, into) {
            Err(MediaError::Io { .. })
                if self.room.is_some() && host::read(self.fd.as_fd(), at, into) =>
            {
                Ok(())
            }
            result => result,
        }
    }

    #[inline]
    fn write(&self, at: u64, from: &[u8], persist: Persist) -> Result<(), MediaError> {
        self.here()?;
        self.storing(|| self.region.write(at, from, persist))
    }

    fn zero(&self, range: Range<u64>, persist: Persist) -> Result<(), MediaError> {
        self.here()?;
        self.storing(|| self.region.zero(range.clone(), persist))
    }

    fn copy(&self, from: u64, to: u64, len: u64, persist: Persist) -> Result<(), MediaError> {
        self.here()?;
        self.storing(|| self.region.copy(from, to, len, persist))
    }

    #[inline]
    fn prefetch(&self, range: Range<u64>) {
        self.region.prefetch(range);
    }

    /// fallocate of the pages that are not known to have storage.
    fn reserve(&self, range: Range<u64>) -> Result<(), MediaError> {
        self.here()?;
        self.region.check(range.start, range.end.saturating_sub(range.start))?;
        self.room.as_ref().map_or(Ok(()), |room| room.reserve(self.fd.as_fd(), range))
    }

    #[inline]
    fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        self.here()?;
        match self.region.load_u64(at) {
            Err(error @ MediaError::Io { .. }) => {
                // The bytes of a hole do not change while they are read: they are zeroes.
                let mut bytes = [0; 8];
                self.read(at, &mut bytes).map_err(|_| error)?;
                Ok(u64::from_ne_bytes(bytes))
            }
            result => result,
        }
    }

    #[inline]
    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        self.here()?;
        self.storing(|| self.region.store_u64(at, value))
    }

    #[inline]
    fn flush(&self, range: Range<u64>) {
        if self.here().is_err() {
            return;
        }
        self.region.flush(range);
    }

    #[inline]
    fn fence(&self) {
        self.region.fence();
    }

    /// madvise(MADV_DONTNEED) of the pages that lie in the range wholly.
    fn forget(&self, range: Range<u64>) {
        if self.here().is_err() {
            return;
        }
        let page = rustix::param::page_size() as u64;
        let (start, end) = (range.start.next_multiple_of(page), range.end.min(self.len()));
        let end = end - end % page;
        if start < end {
            let base = self.region.base().wrapping_add(start as usize);
            // SAFETY: the pages lie in our mapping, which is shared: they are only unmapped, and
            // the file they belong to keeps their contents.
            let advised =
                unsafe { madvise(base.cast(), (end - start) as usize, Advice::LinuxDontNeed) };
            debug_assert!(advised.is_ok(), "pages of a mapping can be let go of");
        }
    }

    /// msync(MS_SYNC) of the pages of the range. It writes the file's metadata that is needed to
    /// find them too, as fdatasync does.
    fn sync(&self, range: Range<u64>) -> Result<(), MediaError> {
        self.here()?;
        let len = range.end.saturating_sub(range.start);
        self.region.check(range.start, len)?;
        let kernel_holds_bytes = match self.kind() {
            Kind::File => true,
            Kind::Fsdax | Kind::Devdax => !arch::WRITES_BACK,
            Kind::Memory => false,
        };
        if len == 0 || self.read_only() || !kernel_holds_bytes {
            return Ok(());
        }
        let page = rustix::param::page_size() as u64;
        let start = range.start - range.start % page;
        let base = self.region.base().wrapping_add(start as usize);
        // SAFETY: the pages lie in our mapping, by the check above; msync changes no contents.
        unsafe { msync(base.cast(), (range.end - start) as usize, MsyncFlags::SYNC) }.map_err(
            |errno| match host::is_full(errno) {
                true => MediaError::Full { at: range.start },
                false => MediaError::Io { at: range.start },
            },
        )
    }
}
