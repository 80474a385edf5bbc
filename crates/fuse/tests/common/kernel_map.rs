//! A file of the mount as a program maps it: shared, by the kernel.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "each user has its part")]

use std::fs::File;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

/// A shared map of the first `len` bytes of a file.
pub struct KernelMap {
    start: *mut u8,
    len: usize,
}

// SAFETY: the bytes are reached by atomics only.
unsafe impl Send for KernelMap {}
// SAFETY: as above.
unsafe impl Sync for KernelMap {}

impl KernelMap {
    /// Maps a file that is open for reading and writing.
    pub fn new(file: &File, len: usize) -> KernelMap {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new map at an address of the kernel's choice touches no memory of others.
        let start = unsafe {
            mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, file, 0).unwrap()
        };
        KernelMap { start: start.cast(), len }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.len, "a word of the map");
        // SAFETY: in the map by the assertion, aligned since maps begin on pages, and alive as long
        // as the map; nothing but atomics reaches it.
        unsafe { AtomicU64::from_ptr(self.start.add(at).cast()) }
    }

    /// Loads the word at byte `at`.
    pub fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    /// Stores the word at byte `at`.
    pub fn store(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Release);
    }
}

impl KernelMap {
    /// Makes all that was stored durable.
    pub fn sync(&self) -> rustix::io::Result<()> {
        // SAFETY: the whole map, which is alive.
        unsafe { msync(self.start.cast(), self.len, MsyncFlags::SYNC) }
    }
}

/// Closes a file, and tells what close(2) says.
pub fn close(file: File) -> rustix::io::Result<()> {
    // SAFETY: the number is the file's, which nobody has any more.
    unsafe { rustix::io::try_close(file.into_raw_fd()) }
}

impl Drop for KernelMap {
    fn drop(&mut self) {
        // SAFETY: what was mapped in `new`, and nobody refers to it any more.
        unsafe { munmap(self.start.cast(), self.len).unwrap() }
    }
}
