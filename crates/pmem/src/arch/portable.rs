//! Plain copies for architectures without routines of their own.
//!
//! A SIGBUS during a copy ends the process here, and cache lines cannot be written back, so a
//! medium never claims more than [`Durability::Process`](crate::Durability::Process).

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Fault, Instructions};

/// Size of a cache line in bytes, as far as alignment of the persistent paths goes.
pub(crate) const LINE: usize = 64;
/// Whether a SIGBUS in these routines comes back as a [`Fault`].
pub const GUARDED: bool = false;
/// Whether cache lines can be written back.
pub(crate) const WRITES_BACK: bool = false;

/// What this processor offers: nothing that these routines would use.
#[derive(Clone, Copy, Debug)]
pub struct Cpu;

impl Cpu {
    pub(crate) fn detect() -> Cpu {
        Cpu
    }
}

impl Instructions for Cpu {
    unsafe fn copy(self, to: *mut u8, from: *const u8, len: usize) -> Result<(), Fault> {
        // SAFETY: the caller's own promise.
        unsafe { core::ptr::copy_nonoverlapping(from, to, len) };
        Ok(())
    }

    unsafe fn copy_non_temporal(
        self,
        to: *mut u8,
        from: *const u8,
        len: usize,
    ) -> Result<(), Fault> {
        // SAFETY: the caller's own promise.
        unsafe { self.copy(to, from, len) }
    }

    unsafe fn zero(self, to: *mut u8, len: usize) -> Result<(), Fault> {
        // SAFETY: the caller's own promise.
        unsafe { core::ptr::write_bytes(to, 0, len) };
        Ok(())
    }

    unsafe fn zero_non_temporal(self, to: *mut u8, len: usize) -> Result<(), Fault> {
        // SAFETY: the caller's own promise.
        unsafe { self.zero(to, len) }
    }

    unsafe fn write_back(self, _: *const u8, _: usize) -> Result<(), Fault> {
        Ok(())
    }

    unsafe fn store_u64(self, to: *mut u8, value: u64) -> Result<(), Fault> {
        // SAFETY: mapped and aligned, by the caller's promise; shared memory is accessed
        // atomically.
        unsafe { AtomicU64::from_ptr(to.cast()) }.store(value, Ordering::Release);
        Ok(())
    }

    fn fence(self) {
        core::sync::atomic::fence(Ordering::SeqCst);
    }
}

/// # Safety
/// The 8 bytes are mapped readable and aligned.
pub(crate) unsafe fn load_u64(from: *const u8) -> Result<u64, Fault> {
    // SAFETY: mapped and aligned, by the caller's promise; shared memory is accessed atomically.
    Ok(unsafe { AtomicU64::from_ptr(from.cast_mut().cast()) }.load(Ordering::Acquire))
}

/// # Safety
/// The 8 bytes are mapped writable and aligned.
pub(crate) unsafe fn compare_exchange_u64(
    at: *mut u8,
    current: u64,
    new: u64,
) -> Result<u64, Fault> {
    // SAFETY: mapped and aligned, by the caller's promise; shared memory is accessed atomically.
    let atomic = unsafe { AtomicU64::from_ptr(at.cast()) };
    let found = atomic.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire);
    Ok(found.unwrap_or_else(|found| found))
}

/// Asks for the cache lines of a range, to be written. Nothing is done here.
pub(crate) fn prefetch_for_write(_from: *const u8, _len: usize) {}
