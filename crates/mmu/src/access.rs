//! Access to the memory of a map by raw copies and atomics: memory that other threads and other
//! processes change at any time, so no reference to its bytes is ever made.
//!
//! A racing copy sees old or new bytes, byte by byte; aligned 8-byte accesses do not tear. Past
//! the end of the file, where a store can have no storage, and where the medium fails, all of them
//! return [`AccessError::Bus`], at the limit of mappings [`AccessError::NoMappings`].
#![allow(unsafe_code)]

use limpid_dax::PageRange;
use limpid_pmem::{Copier, Fault};

use crate::map::LinuxMap;

/// How often an access is made again whose reason to fail is gone.
const TRIES: usize = 4;

/// Why an access was refused before it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The bytes do not lie in the map.
    #[error("bytes {offset}+{len} lie outside the map of {size} bytes")]
    OutOfRange {
        /// First byte, from the start of the map.
        offset: usize,
        /// Number of bytes.
        len: usize,
        /// Length of the map in bytes.
        size: usize,
    },
    /// An atomic access that is not aligned to 8 bytes.
    #[error("byte {0} is not aligned to 8")]
    Misaligned(usize),
    /// A store to a map that takes none.
    #[error("the map is read-only")]
    ReadOnly,
    /// The page lies past the end of the file, a store can have no storage, or the medium failed.
    #[error("the page lies past the end of the file, has no storage, or the medium failed")]
    Bus,
    /// The process has as many kernel mappings as it may have (`vm.max_map_count`): the page
    /// cannot be shown now. It can when some are given up.
    #[error("no room for another kernel mapping (vm.max_map_count)")]
    NoMappings,
}

impl LinuxMap {
    /// Copies bytes out of the map. `offset` counts from the start of the map.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), AccessError> {
        let from = self.at(offset, into.len())?;
        self.guarded(offset, into.len(), |copier| {
            // SAFETY: `at` checked that the source lies in the reservation, which lives as long as
            // `self`; the destination is ours alone.
            unsafe { copier.copy(into.as_mut_ptr(), from, into.len()) }
        })
    }

    /// Copies bytes into the map. `offset` counts from the start of the map. After an error some
    /// of the bytes may have been stored.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), AccessError> {
        let to = self.at_writable(offset, from.len())?;
        self.guarded(offset, from.len(), |copier| {
            // SAFETY: `at` checked that the destination lies in the reservation, which lives as
            // long as `self`, and it takes stores.
            unsafe { copier.copy(to, from.as_ptr(), from.len()) }
        })
    }

    /// Loads the aligned 8 bytes at `offset` (acquire).
    pub fn load_u64(&self, offset: usize) -> Result<u64, AccessError> {
        let at = self.aligned(self.at(offset, 8)?, offset)?;
        // SAFETY: `at` and `aligned` checked place and alignment.
        self.guarded(offset, 8, |copier| unsafe { copier.load_u64(at.cast()) })
    }

    /// Stores the aligned 8 bytes at `offset` (release).
    pub fn store_u64(&self, offset: usize, value: u64) -> Result<(), AccessError> {
        let at = self.aligned(self.at_writable(offset, 8)?, offset)?;
        // SAFETY: `at_writable` and `aligned` checked place, protection and alignment.
        self.guarded(offset, 8, |copier| unsafe { copier.store_u64(at.cast(), value) })
    }

    /// Adds to the aligned 8 bytes at `offset`, wrapping; returns what was there before.
    pub fn fetch_add_u64(&self, offset: usize, value: u64) -> Result<u64, AccessError> {
        let mut current = self.load_for_store(offset)?;
        loop {
            match self.compare_exchange_u64(offset, current, current.wrapping_add(value))? {
                Ok(before) => return Ok(before),
                Err(found) => current = found,
            }
        }
    }

    /// Replaces `current` by `new` in the aligned 8 bytes at `offset`: the inner result is what
    /// was there before, `Err` if it was something else and stays.
    pub fn compare_exchange_u64(
        &self,
        offset: usize,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        let at = self.aligned(self.at_writable(offset, 8)?, offset)?;
        let found = self.guarded(offset, 8, |copier| {
            // SAFETY: `at_writable` and `aligned` checked place, protection and alignment.
            unsafe { copier.compare_exchange_u64(at.cast(), current, new) }
        })?;
        Ok(if found == current { Ok(found) } else { Err(found) })
    }

    fn load_for_store(&self, offset: usize) -> Result<u64, AccessError> {
        self.at_writable(offset, 8)?;
        self.load_u64(offset)
    }

    /// Makes an access to bytes of the map; says why if it fails.
    #[inline]
    fn guarded<T>(
        &self,
        offset: usize,
        len: usize,
        mut access: impl FnMut(Copier) -> Result<T, Fault>,
    ) -> Result<T, AccessError> {
        let copier = Copier::get();
        match access(copier) {
            Ok(value) => Ok(value),
            Err(_) => self.failed(offset, len, || access(copier)),
        }
    }

    #[cold]
    fn failed<T>(
        &self,
        offset: usize,
        len: usize,
        mut access: impl FnMut() -> Result<T, Fault>,
    ) -> Result<T, AccessError> {
        let first = self.pages.start.offset() + offset as u64;
        let pages = PageRange::covering(&(first..first + len as u64));
        let mut refused = false;
        for _ in 0..TRIES {
            match self.failure(pages) {
                // The first time it may be another access that was refused, before there was room.
                Some(AccessError::NoMappings) if !refused => refused = true,
                Some(error) => return Err(error),
                // Somebody gave the page another chance, or the medium fails.
                None => {}
            }
            if let Ok(value) = access() {
                return Ok(value);
            }
        }
        Err(if refused { AccessError::NoMappings } else { AccessError::Bus })
    }

    fn aligned(&self, at: *mut u8, offset: usize) -> Result<*mut u64, AccessError> {
        let at = at.cast::<u64>();
        if at.is_aligned() { Ok(at) } else { Err(AccessError::Misaligned(offset)) }
    }

    fn at_writable(&self, offset: usize, len: usize) -> Result<*mut u8, AccessError> {
        if self.writable { self.at(offset, len) } else { Err(AccessError::ReadOnly) }
    }

    fn at(&self, offset: usize, len: usize) -> Result<*mut u8, AccessError> {
        let size = self.len();
        if offset > size || len > size - offset {
            return Err(AccessError::OutOfRange { offset, len, size });
        }
        Ok(self.as_ptr().wrapping_add(offset))
    }
}
