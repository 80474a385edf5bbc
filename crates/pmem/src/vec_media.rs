//! Heap memory as a medium, for unit tests and fuzzing.

use core::ops::Range;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::media::{Durability, Media, MediaError, Persist};
use crate::region::{Mode, Region};

/// A medium on the heap, with ranges that can be made to fail.
///
/// ```
/// use limpid_pmem::{Media, MediaError, VecMedia};
/// let medium = VecMedia::new(8192);
/// medium.poison(4096..4160);
/// assert_eq!(medium.read(4000, &mut [0; 100]), Err(MediaError::Io { at: 4096 }));
/// medium.heal();
/// assert_eq!(medium.read(4000, &mut [0; 100]), Ok(()));
/// ```
#[derive(Debug)]
pub struct VecMedia {
    region: Region,
    layout: Layout,
    durability: Durability,
    granularity: u64,
    poison: RwLock<Vec<Range<u64>>>,
    /// False while `poison` is empty, so that a sound medium takes no lock.
    poisoned: AtomicBool,
}

impl VecMedia {
    /// `len` zero bytes in units of 4 KiB. Memory of the heap plays a persistent medium here:
    /// its durability is [`Durability::Power`] unless it is told to be another.
    ///
    /// # Panics
    /// If there is no memory, as a `Vec` does.
    pub fn new(len: u64) -> VecMedia {
        let size = usize::try_from(len).unwrap_or(usize::MAX).max(1);
        let layout = Layout::from_size_align(size, 4096).expect("the length fits the memory");
        // SAFETY: the layout has a size of at least 1.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        let mode = Mode { writable: true, write_through: false, huge: false };
        // SAFETY: the allocation is readable and writable and lives until the value is dropped.
        let region = unsafe { Region::new(base, len, mode) };
        VecMedia {
            region,
            layout,
            durability: Durability::Power,
            granularity: 4096,
            poison: RwLock::default(),
            poisoned: AtomicBool::new(false),
        }
    }

    /// A medium that holds a copy of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> VecMedia {
        let medium = VecMedia::new(bytes.len() as u64);
        medium.region.write(0, bytes, Persist::No).expect("the region is as long as the bytes");
        medium
    }

    /// The same medium, claiming this durability. The bytes are on the heap all the same.
    pub fn with_durability(mut self, durability: Durability) -> VecMedia {
        self.durability = durability;
        self
    }

    /// The same medium, claiming to be mapped in units of `bytes` only, as DAX devices do.
    pub fn with_granularity(mut self, bytes: u64) -> VecMedia {
        self.granularity = bytes;
        self
    }

    /// A copy of all bytes, poisoned ones included.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.region.len() as usize];
        self.region.read(0, &mut bytes).expect("the bytes are as long as the region");
        bytes
    }

    /// Makes every access that touches `range` fail, without effect.
    pub fn poison(&self, range: Range<u64>) {
        self.poison.write().unwrap_or_else(PoisonError::into_inner).push(range);
        self.poisoned.store(true, Ordering::Release);
    }

    /// Makes all ranges work again.
    pub fn heal(&self) {
        self.poison.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.poisoned.store(false, Ordering::Release);
    }

    fn ranges(&self) -> RwLockReadGuard<'_, Vec<Range<u64>>> {
        self.poison.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that no byte of the range is poisoned.
    fn sound(&self, at: u64, len: u64) -> Result<(), MediaError> {
        self.region.check(at, len)?;
        if !self.poisoned.load(Ordering::Acquire) {
            return Ok(());
        }
        let touched = self.ranges();
        let first = touched
            .iter()
            .map(|bad| bad.start.max(at)..bad.end.min(at + len))
            .filter(|bad| bad.start < bad.end)
            .map(|bad| bad.start)
            .min();
        first.map_or(Ok(()), |at| Err(MediaError::Io { at }))
    }
}

impl Drop for VecMedia {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout; nobody can have the address any more.
        unsafe { dealloc(self.region.base(), self.layout) };
    }
}

impl Media for VecMedia {
    fn len(&self) -> u64 {
        self.region.len()
    }

    fn granularity(&self) -> u64 {
        self.granularity
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.sound(at, into.len() as u64)?;
        self.region.read(at, into)
    }

    fn write(&self, at: u64, from: &[u8], persist: Persist) -> Result<(), MediaError> {
        self.sound(at, from.len() as u64)?;
        self.region.write(at, from, persist)
    }

    fn zero(&self, range: Range<u64>, persist: Persist) -> Result<(), MediaError> {
        self.sound(range.start, range.end.saturating_sub(range.start))?;
        self.region.zero(range, persist)
    }

    fn copy(&self, from: u64, to: u64, len: u64, persist: Persist) -> Result<(), MediaError> {
        self.sound(from, len)?;
        self.sound(to, len)?;
        self.region.copy(from, to, len, persist)
    }

    fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        self.sound(at, 8)?;
        self.region.load_u64(at)
    }

    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        self.sound(at, 8)?;
        self.region.store_u64(at, value)
    }

    fn flush(&self, range: Range<u64>) {
        self.region.flush(range);
    }

    fn fence(&self) {
        self.region.fence();
    }

    fn sync(&self, range: Range<u64>) -> Result<(), MediaError> {
        self.region.check(range.start, range.end.saturating_sub(range.start))
    }
}
