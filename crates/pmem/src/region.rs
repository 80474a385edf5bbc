//! The bytes of a medium in this process's memory, with bounds checked.

use core::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use crate::arch::{self, Cpu, Fault, Instructions};
use crate::copier::Copier;
use crate::media::{MediaError, Persist};
use crate::stores::{Source, Stores};

/// A run of memory that holds a whole medium; device offset 0 is its first byte.
///
/// Invariant, promised to [`Region::new`]: `base .. base + len` stays mapped, readable, and
/// writable if the mode says so, as long as the region lives. Every raw access below rests on it,
/// and on [`Region::at`] having checked the offsets.
#[derive(Debug)]
pub(crate) struct Region<I = Cpu> {
    base: *mut u8,
    len: u64,
    mode: Mode,
    copier: Copier,
    stores: Stores<I>,
}

/// How a region may be stored to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// Stores are allowed at all.
    pub(crate) writable: bool,
    /// Stores with [`Persist::Yes`] leave the caches.
    pub(crate) write_through: bool,
    /// The memory is mapped with huge pages.
    pub(crate) huge: bool,
}

/// From this length on stores to huge pages go round the caches even if nothing need persist: so
/// much would not stay in them. Measured with examples/copy.rs on Zen 5, writes through and round
/// the caches: 1 MiB 17 and 13 us hot, 22 and 14 us cold; 8 MiB 140 and 141 us hot, 186 and 141 us
/// cold. Smaller ones are left in the caches for the next reader. With 4 KiB pages going round
/// loses (4 MiB: 70 and 108 us).
const STREAM_MIN: usize = 4 << 20;

// SAFETY: a region is an address range that any thread may access; no Rust reference into it is
// ever made, and all accesses are foreign (assembly) or atomic.
unsafe impl<I: Send> Send for Region<I> {}
// SAFETY: as for Send: racing accesses race byte by byte, as `Media` says.
unsafe impl<I: Sync> Sync for Region<I> {}

impl Region {
    /// # Safety
    /// The invariant of the type holds until the region is dropped.
    pub(crate) unsafe fn new(base: *mut u8, len: u64, mode: Mode) -> Region {
        // SAFETY: the caller's promise.
        unsafe { Region::with_instructions(base, len, mode, Copier::get().cpu()) }
    }
}

impl<I: Instructions> Region<I> {
    /// A region whose stores are made with these instructions.
    ///
    /// # Safety
    /// As for [`Region::new`].
    pub(crate) unsafe fn with_instructions(
        base: *mut u8,
        len: u64,
        mode: Mode,
        instructions: I,
    ) -> Region<I> {
        Region { base, len, mode, copier: Copier::get(), stores: Stores::new(instructions) }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    pub(crate) fn writable(&self) -> bool {
        self.mode.writable
    }

    /// Checks that `at .. at + len` lies within the region.
    #[inline]
    pub(crate) fn check(&self, at: u64, len: u64) -> Result<(), MediaError> {
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(MediaError::OutOfRange { at, len, size: self.len }),
        }
    }

    /// The address of `at`, of which `len` bytes may be accessed.
    #[inline]
    fn at(&self, at: u64, len: u64) -> Result<*mut u8, MediaError> {
        self.check(at, len)?;
        // SAFETY: `at` is within the region, or one past its end if `len` is 0.
        Ok(unsafe { self.base.add(at as usize) })
    }

    /// As [`at`](Region::at), for storing.
    #[inline]
    fn at_mut(&self, at: u64, len: u64) -> Result<*mut u8, MediaError> {
        if !self.mode.writable {
            return Err(MediaError::ReadOnly);
        }
        self.at(at, len)
    }

    #[inline]
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        let from = self.at(at, into.len() as u64)?;
        // SAFETY: checked by `at`; a `&mut` slice is writable and nobody else's. It can alias the
        // medium only as another mapping of the same file, which the routines allow.
        let copied = unsafe { self.copier.copy(into.as_mut_ptr(), from, into.len()) };
        copied.map_err(|fault| self.error(fault, into.len() as u64, &[at]))
    }

    #[inline]
    pub(crate) fn write(&self, at: u64, from: &[u8], persist: Persist) -> Result<(), MediaError> {
        let to = self.at_mut(at, from.len() as u64)?;
        // SAFETY: checked by `at_mut`; a slice is readable.
        let stored = unsafe { self.put(to, Source::Bytes(from.as_ptr()), from.len(), persist) };
        stored.map_err(|fault| self.error(fault, from.len() as u64, &[at]))
    }

    pub(crate) fn zero(&self, range: Range<u64>, persist: Persist) -> Result<(), MediaError> {
        let len = range.end.saturating_sub(range.start);
        let to = self.at_mut(range.start, len)?;
        // SAFETY: checked by `at_mut`.
        let stored = unsafe { self.put(to, Source::Zeroes, len as usize, persist) };
        stored.map_err(|fault| self.error(fault, len, &[range.start]))
    }

    pub(crate) fn copy(
        &self,
        from: u64,
        to: u64,
        len: u64,
        persist: Persist,
    ) -> Result<(), MediaError> {
        let source = self.at(from, len)?;
        let target = self.at_mut(to, len)?;
        assert!(len == 0 || from.abs_diff(to) >= len, "the ranges of a copy overlap");
        // SAFETY: checked by `at` and `at_mut`, and disjoint.
        let stored = unsafe { self.put(target, Source::Bytes(source), len as usize, persist) };
        stored.map_err(|fault| self.error(fault, len, &[from, to]))
    }

    /// Only where stores go through the caches: round them, the lines would come for nothing.
    #[inline]
    pub(crate) fn prefetch(&self, range: Range<u64>) {
        let len = range.end.saturating_sub(range.start);
        if let Ok(from) = self.at(range.start, len)
            && !self.mode.write_through
        {
            arch::prefetch_for_write(from, len as usize);
        }
    }

    #[inline]
    pub(crate) fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        assert!(at.is_multiple_of(8), "an 8-byte load at {at} is not aligned");
        let from = self.at(at, 8)?;
        // SAFETY: checked by `at`; aligned, since the base is.
        let loaded = unsafe { self.copier.load_u64(from) };
        loaded.map_err(|fault| self.error(fault, 8, &[at]))
    }

    #[inline]
    pub(crate) fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        assert!(at.is_multiple_of(8), "an 8-byte store at {at} is not aligned");
        let to = self.at_mut(at, 8)?;
        // SAFETY: checked by `at_mut`; aligned, since the base is.
        let stored = unsafe { self.stores.store_u64(to, value) };
        stored.map_err(|fault| self.error(fault, 8, &[at]))
    }

    #[inline]
    pub(crate) fn flush(&self, range: Range<u64>) {
        if !self.mode.write_through {
            return;
        }
        let end = range.end.min(self.len);
        let Some(len) = end.checked_sub(range.start) else { return };
        // SAFETY: start and end were clipped to the region. A fault means that the medium lost
        // the page; whoever stored there or reads it is told, and there is nothing to flush.
        let _ =
            unsafe { self.stores.write_back(self.base.add(range.start as usize), len as usize) };
    }

    #[inline]
    pub(crate) fn fence(&self) {
        if self.mode.write_through {
            self.stores.fence();
        } else {
            compiler_fence(Ordering::SeqCst);
        }
    }

    /// # Safety
    /// As for [`Stores::put`].
    #[inline]
    unsafe fn put(
        &self,
        to: *mut u8,
        source: Source,
        len: usize,
        persist: Persist,
    ) -> Result<(), Fault> {
        if self.mode.write_through && persist == Persist::Yes {
            // SAFETY: the caller's promise.
            unsafe { self.stores.put_through(to, source, len) }
        } else if len >= STREAM_MIN && self.mode.huge {
            // SAFETY: the caller's promise.
            let stored = unsafe { self.stores.put_through(to, source, len) };
            // The caller need not fence what need not persist; other threads may look at once.
            self.stores.fence();
            stored
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.stores.put(to, source, len) }
        }
    }

    /// Who failed: the medium, in one of the ranges of `len` bytes from `starts`, or the caller's
    /// buffer.
    #[cold]
    fn error(&self, fault: Fault, len: u64, starts: &[u64]) -> MediaError {
        let Some(at) = fault.address.checked_sub(self.base as usize).map(|at| at as u64) else {
            return MediaError::Buffer;
        };
        // The last page of the map may reach past the end of the medium.
        if at >= self.len.next_multiple_of(4096) {
            return MediaError::Buffer;
        }
        // The address may be rounded down to the page that failed, so take the first byte that
        // was accessed from there on.
        let accessed = starts.iter().filter(|&&start| at < start + len);
        let first = accessed.map(|&start| start.max(at)).min();
        MediaError::Io { at: first.unwrap_or(starts[0]) }
    }
}
