//! The routines that touch a medium, one file per architecture. All assembly of the crate is here.
//!
//! Each architecture provides the same items: [`Cpu`] (what this processor offers, found once)
//! with its [`Instructions`], `load_u64`, `compare_exchange_u64`, `prefetch_for_write`, and the
//! constants `LINE`, `GUARDED` and `WRITES_BACK`.

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[path = "x86_64.rs"]
mod imp;

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[path = "portable.rs"]
mod imp;

pub(crate) use imp::*;

/// An access that raised SIGBUS inside one of the routines. Only whole-routine failure is told:
/// any part of the access may have been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The address the processor could not access; at least 1.
    pub address: usize,
}

/// All that ever stores to a medium, writes it back or waits for it. What must be durable is
/// computed by users of this trait, so that tests can put one below them that keeps account.
pub(crate) trait Instructions: Copy {
    /// Copies `len` bytes, in ascending order as far as whole cache lines go.
    ///
    /// # Safety
    /// Each byte of both ranges belongs to a mapping that allows the access (which may still raise
    /// SIGBUS); the ranges do not overlap; the handler of `sigbus.rs` is installed.
    unsafe fn copy(self, to: *mut u8, from: *const u8, len: usize) -> Result<(), Fault>;

    /// Copies with non-temporal stores, which only [`fence`](Instructions::fence) orders against
    /// other threads.
    ///
    /// # Safety
    /// As for [`copy`](Instructions::copy); `to` and `len` are multiples of [`LINE`].
    unsafe fn copy_non_temporal(
        self,
        to: *mut u8,
        from: *const u8,
        len: usize,
    ) -> Result<(), Fault>;

    /// Fills `len` bytes with zeroes.
    ///
    /// # Safety
    /// As for [`copy`](Instructions::copy), for the one range.
    unsafe fn zero(self, to: *mut u8, len: usize) -> Result<(), Fault>;

    /// Zeroes with non-temporal stores, which only [`fence`](Instructions::fence) orders against
    /// other threads.
    ///
    /// # Safety
    /// As for [`copy_non_temporal`](Instructions::copy_non_temporal), for the one range.
    unsafe fn zero_non_temporal(self, to: *mut u8, len: usize) -> Result<(), Fault>;

    /// Starts the write-back of `lines` cache lines, at least one, from the aligned `first` on.
    ///
    /// # Safety
    /// As for [`copy`](Instructions::copy), for the one range.
    unsafe fn write_back(self, first: *const u8, lines: usize) -> Result<(), Fault>;

    /// Stores 8 bytes at once (release).
    ///
    /// # Safety
    /// As for [`copy`](Instructions::copy), for 8 aligned bytes to be written.
    unsafe fn store_u64(self, to: *mut u8, value: u64) -> Result<(), Fault>;

    /// Waits until the non-temporal stores and write-backs of this thread have reached the medium.
    fn fence(self);
}
