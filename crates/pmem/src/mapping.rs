//! One mapping of a whole medium into this process.

use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// Size of a huge page on every architecture that matters here, in bytes.
pub(crate) const HUGE_PAGE: u64 = 2 << 20;

/// A shared mapping of the first `len` bytes of a file; unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an address range belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: as for Send; the type gives no access to the bytes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// mmap: maps `len` bytes (not 0) at an address that is a multiple of `align` (a power of
    /// two, and of the page size), so that the system can use pages of that size.
    pub(crate) fn new(
        fd: BorrowedFd<'_>,
        len: u64,
        align: u64,
        writable: bool,
        flags: MapFlags,
    ) -> Result<Mapping, Errno> {
        let (Ok(len), Ok(align)) = (usize::try_from(len), usize::try_from(align)) else {
            return Err(Errno::NOMEM);
        };
        let reserved = len.checked_add(align).ok_or(Errno::NOMEM)?;
        let none = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping where the kernel finds room touches no existing memory.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), reserved, ProtFlags::empty(), none)? }
            .cast::<u8>();
        let skip = start.align_offset(align);
        // SAFETY: `skip` is less than `align`, so the address lies in the reservation.
        let base = unsafe { start.add(skip) };
        let flags = flags | MapFlags::FIXED;
        // SAFETY: replaces a part of the reservation, which nobody else knows. If it fails the
        // kernel may have opened a gap there already, which another thread may fill at any time;
        // so the reservation is then given up rather than unmapped.
        unsafe { mmap(base.cast(), len, protection(writable), flags, fd, 0)? };
        let map_end = len.next_multiple_of(rustix::param::page_size());
        // SAFETY: both are the unused ends of the reservation; an empty one is refused, harmless.
        let _ =
            unsafe { (munmap(start.cast(), skip), munmap(base.add(map_end).cast(), align - skip)) };
        Ok(Mapping { base: NonNull::new(base).ok_or(Errno::NOMEM)?, len })
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and is this value's own. It cannot fail for a
        // whole mapping; if it did, the mapping would stay, which is safe.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Asks the kernel whether the first `len` bytes can be mapped with these flags.
pub(crate) fn can_map(
    fd: BorrowedFd<'_>,
    len: usize,
    writable: bool,
    flags: MapFlags,
) -> Result<(), Errno> {
    // SAFETY: a fresh mapping where the kernel finds room touches no existing memory.
    let probe = unsafe { mmap(ptr::null_mut(), len, protection(writable), flags, fd, 0)? };
    // SAFETY: unmaps what was just mapped; nobody else knows it.
    unsafe { munmap(probe, len) }
}

fn protection(writable: bool) -> ProtFlags {
    if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ }
}
