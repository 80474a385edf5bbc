//! Copies of memory that may raise SIGBUS.

use std::sync::OnceLock;

pub use crate::arch::Fault;
use crate::arch::{self, Cpu};

/// From this length on stores that must reach the medium go round the caches: as soon as there can
/// be a whole cache line. Measured with examples/copy.rs on Zen 5, through the caches with clwb and
/// round them, each with a fence: 64 bytes 163 and 98 ns; 4 KiB 350 and 157 ns; 1 MiB 44 and 14 us.
const NON_TEMPORAL_MIN: usize = arch::LINE;

/// Copies bytes from and to mapped files; SIGBUS on either side comes back as [`Fault`].
///
/// Holding one proves that the SIGBUS handler was installed and the processor was looked at; each
/// call has a look whether the handler is still in front (`front.rs`). It does not prove that an
/// address is mapped: an access to an unmapped address is SIGSEGV and ends the process. Where
/// [`Copier::GUARDED`] is false, SIGBUS ends the process as well.
#[derive(Clone, Copy, Debug)]
pub struct Copier {
    cpu: Cpu,
}

impl Copier {
    /// Whether this architecture has guarded routines.
    pub const GUARDED: bool = arch::GUARDED;

    /// Installs the process's SIGBUS handler, once, and returns the copier.
    pub fn get() -> Copier {
        static COPIER: OnceLock<Copier> = OnceLock::new();
        *COPIER.get_or_init(|| {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            crate::sigbus::install();
            Copier { cpu: Cpu::detect() }
        })
    }

    /// Copies `len` bytes. After a fault any part of `to` may have been written.
    ///
    /// # Safety
    /// Both ranges belong to mappings that allow the access, and do not overlap. Other threads
    /// and processes may access the medium's side at the same time; the other side is the
    /// caller's alone.
    #[inline]
    pub unsafe fn copy(self, to: *mut u8, from: *const u8, len: usize) -> Result<(), Fault> {
        look();
        // SAFETY: the caller's promise; the handler is installed since a `Copier` exists.
        unsafe { arch::copy(self.cpu, to, from, len) }
    }

    /// Fills `len` bytes with zeroes.
    ///
    /// # Safety
    /// As for [`copy`](Copier::copy), for the one range.
    #[inline]
    pub unsafe fn zero(self, to: *mut u8, len: usize) -> Result<(), Fault> {
        look();
        // SAFETY: the caller's promise; the handler is installed since a `Copier` exists.
        unsafe { arch::zero(self.cpu, to, len) }
    }

    /// Loads 8 aligned bytes at once (acquire).
    ///
    /// # Safety
    /// As for [`copy`](Copier::copy), for the aligned 8 bytes at `from`.
    #[inline]
    pub unsafe fn load_u64(self, from: *const u8) -> Result<u64, Fault> {
        look();
        // SAFETY: the caller's promise; the handler is installed since a `Copier` exists.
        unsafe { arch::load_u64(from) }
    }

    /// Stores 8 aligned bytes at once (release).
    ///
    /// # Safety
    /// As for [`copy`](Copier::copy), for the aligned 8 bytes at `to`.
    #[inline]
    pub unsafe fn store_u64(self, to: *mut u8, value: u64) -> Result<(), Fault> {
        look();
        // SAFETY: the caller's promise; the handler is installed since a `Copier` exists.
        unsafe { arch::store_u64(to, value) }
    }

    /// Replaces `current` by `new` in 8 aligned bytes, if they hold it; returns what they held
    /// (acquire and release).
    ///
    /// # Safety
    /// As for [`copy`](Copier::copy), for the aligned 8 bytes at `at`.
    #[inline]
    pub unsafe fn compare_exchange_u64(
        self,
        at: *mut u8,
        current: u64,
        new: u64,
    ) -> Result<u64, Fault> {
        // SAFETY: the caller's promise; the handler is installed since a `Copier` exists.
        unsafe { arch::compare_exchange_u64(at, current, new) }
    }

    /// Stores `len` bytes; they may stay in the caches.
    ///
    /// # Safety
    /// As for [`copy`](Copier::copy).
    #[inline]
    pub(crate) unsafe fn put(self, to: *mut u8, source: Source, len: usize) -> Result<(), Fault> {
        match source {
            // SAFETY: the caller's promise.
            Source::Bytes(from) => unsafe { self.copy(to, from, len) },
            // SAFETY: the caller's promise.
            Source::Zeroes => unsafe { self.zero(to, len) },
        }
    }

    /// Stores `len` bytes so that they are on their way to the medium when it returns. Only
    /// [`fence`](Copier::fence) waits for them, and orders them against other threads.
    ///
    /// # Safety
    /// As for [`copy`](Copier::copy).
    pub(crate) unsafe fn put_through(
        self,
        to: *mut u8,
        source: Source,
        len: usize,
    ) -> Result<(), Fault> {
        look();
        if len < NON_TEMPORAL_MIN {
            // SAFETY: the caller's promise.
            return unsafe { self.put_lines(to, source, len) };
        }
        // Whole lines go round the caches; the partial lines at both ends cannot.
        let head = (to as usize).wrapping_neg() % arch::LINE;
        let body = (len - head) & !(arch::LINE - 1);
        let tail = len - head - body;
        // SAFETY: head, body and tail are the caller's range, in three parts; `NON_TEMPORAL_MIN`
        // is a line at least, so head, which is less than a line, is less than `len`.
        let stored = unsafe {
            self.put_lines(to, source, head)
                .and_then(|()| self.put_non_temporal(to.add(head), source.skip(head), body))
                .and_then(|()| self.put_lines(to.add(head + body), source.skip(head + body), tail))
        };
        if stored.is_err() {
            // The caller may never fence after an error, and lets others have this memory.
            self.fence();
        }
        stored
    }

    /// # Safety
    /// As for [`copy`](Copier::copy).
    unsafe fn put_lines(self, to: *mut u8, source: Source, len: usize) -> Result<(), Fault> {
        // SAFETY: the caller's promise.
        unsafe {
            self.put(to, source, len)?;
            self.write_back(to, len)
        }
    }

    /// # Safety
    /// As for [`copy`](Copier::copy); `to` and `len` are multiples of a cache line.
    unsafe fn put_non_temporal(self, to: *mut u8, source: Source, len: usize) -> Result<(), Fault> {
        match source {
            // SAFETY: the caller's promise.
            Source::Bytes(from) => unsafe { arch::copy_non_temporal(self.cpu, to, from, len) },
            // SAFETY: the caller's promise.
            Source::Zeroes => unsafe { arch::zero_non_temporal(self.cpu, to, len) },
        }
    }

    /// Starts the write-back of all cache lines that hold a byte of the range.
    ///
    /// # Safety
    /// As for [`copy`](Copier::copy), for the one range.
    #[inline]
    pub(crate) unsafe fn write_back(self, from: *const u8, len: usize) -> Result<(), Fault> {
        // SAFETY: the caller's promise.
        unsafe { arch::write_back(self.cpu, from, len) }
    }

    /// Waits until what this thread stored through or wrote back has reached the medium.
    #[inline]
    pub(crate) fn fence(self) {
        arch::fence();
    }
}

/// Has our handler in front of those that the program installed meanwhile.
#[inline]
fn look() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    crate::front::look();
}

/// What is stored: the caller's bytes, or zeroes.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    Bytes(*const u8),
    Zeroes,
}

impl Source {
    /// The source without its first `bytes`.
    fn skip(self, bytes: usize) -> Source {
        match self {
            Source::Bytes(from) => Source::Bytes(from.wrapping_add(bytes)),
            Source::Zeroes => Source::Zeroes,
        }
    }
}
