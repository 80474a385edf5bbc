//! Copies of memory that may raise SIGBUS.

use std::sync::OnceLock;

pub use crate::arch::Fault;
use crate::arch::{self, Cpu, Instructions};

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

    /// The processor's instructions. Whoever uses them calls [`look`] first.
    pub(crate) fn cpu(self) -> Cpu {
        self.cpu
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
        unsafe { self.cpu.copy(to, from, len) }
    }

    /// Fills `len` bytes with zeroes.
    ///
    /// # Safety
    /// As for [`copy`](Copier::copy), for the one range.
    #[inline]
    pub unsafe fn zero(self, to: *mut u8, len: usize) -> Result<(), Fault> {
        look();
        // SAFETY: the caller's promise; the handler is installed since a `Copier` exists.
        unsafe { self.cpu.zero(to, len) }
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
        unsafe { self.cpu.store_u64(to, value) }
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
}

/// Has our handler in front of those that the program installed meanwhile.
#[inline]
pub(crate) fn look() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    crate::front::look();
}
