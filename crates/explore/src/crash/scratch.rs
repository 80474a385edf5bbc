//! A medium whose changes can be taken back: what a crash state is built, opened and repaired on.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use limpid_pmem::{Durability, Media, MediaError, Persist};

const PAGE: usize = 4096;

/// Bytes in memory with marks to go back to. Going back costs the pages that were changed.
#[derive(Clone)]
pub(crate) struct Scratch {
    inner: Arc<Mutex<Inner>>,
    len: u64,
}

struct Inner {
    bytes: Vec<u8>,
    /// For each page, how many marks there were when it was saved last.
    saved_at: Vec<u8>,
    /// For each mark, the pages that changed since, as they were.
    saved: Vec<Vec<Saved>>,
    /// Memory of pages, to be used again.
    spare: Vec<Box<[u8; PAGE]>>,
}

struct Saved {
    page: usize,
    saved_at: u8,
    bytes: Box<[u8; PAGE]>,
}

impl Inner {
    /// Saves the pages of a range that is about to change.
    fn touch(&mut self, at: usize, len: usize) {
        let marks = self.saved.len() as u8;
        let Some(list) = self.saved.last_mut() else { return };
        for page in at / PAGE..(at + len).div_ceil(PAGE) {
            if self.saved_at[page] == marks {
                continue;
            }
            let mut bytes = self.spare.pop().unwrap_or_else(|| Box::new([0; PAGE]));
            bytes.copy_from_slice(&self.bytes[page * PAGE..(page + 1) * PAGE]);
            list.push(Saved { page, saved_at: self.saved_at[page], bytes });
            self.saved_at[page] = marks;
        }
    }
}

impl Scratch {
    /// A medium with these bytes, whole pages.
    pub fn new(bytes: Vec<u8>) -> Scratch {
        assert!(bytes.len().is_multiple_of(PAGE), "a medium has whole pages");
        let len = bytes.len() as u64;
        let saved_at = vec![0; bytes.len() / PAGE];
        let inner = Inner { bytes, saved_at, saved: Vec::new(), spare: Vec::new() };
        Scratch { inner: Arc::new(Mutex::new(inner)), len }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a mark: [`back`](Scratch::back) takes back what changes from now on.
    pub fn mark(&self) {
        let mut inner = self.lock();
        assert!(inner.saved.len() < 200, "marks fit a byte");
        inner.saved.push(Vec::new());
    }

    /// Takes back what changed since the last mark, and the mark.
    pub fn back(&self) {
        let inner = &mut *self.lock();
        let list = inner.saved.pop().expect("every mark is taken back once");
        for saved in list {
            let start = saved.page * PAGE;
            inner.bytes[start..start + PAGE].copy_from_slice(&saved.bytes[..]);
            inner.saved_at[saved.page] = saved.saved_at;
            inner.spare.push(saved.bytes);
        }
    }

    /// The aligned 8 bytes at `at`.
    pub fn word(&self, at: u64) -> u64 {
        let inner = self.lock();
        let at = at as usize;
        u64::from_le_bytes(inner.bytes[at..at + 8].try_into().expect("8 bytes"))
    }

    /// Changes aligned words.
    pub fn set_words(&self, words: impl Iterator<Item = (u64, u64)>) {
        let inner = &mut *self.lock();
        for (at, value) in words {
            let at = at as usize;
            inner.touch(at, 8);
            inner.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }

    /// All bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    fn check(&self, at: u64, len: u64) -> Result<(usize, usize), MediaError> {
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok((at as usize, len as usize)),
            _ => Err(MediaError::OutOfRange { at, len, size: self.len }),
        }
    }
}

impl Media for Scratch {
    fn len(&self) -> u64 {
        self.len
    }

    fn granularity(&self) -> u64 {
        PAGE as u64
    }

    fn durability(&self) -> Durability {
        Durability::Power
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        let (at, len) = self.check(at, into.len() as u64)?;
        into.copy_from_slice(&self.lock().bytes[at..at + len]);
        Ok(())
    }

    fn write(&self, at: u64, from: &[u8], _: Persist) -> Result<(), MediaError> {
        let (at, len) = self.check(at, from.len() as u64)?;
        let inner = &mut *self.lock();
        inner.touch(at, len);
        inner.bytes[at..at + len].copy_from_slice(from);
        Ok(())
    }

    fn zero(&self, range: Range<u64>, _: Persist) -> Result<(), MediaError> {
        let (at, len) = self.check(range.start, range.end.saturating_sub(range.start))?;
        let inner = &mut *self.lock();
        inner.touch(at, len);
        inner.bytes[at..at + len].fill(0);
        Ok(())
    }

    fn copy(&self, from: u64, to: u64, len: u64, _: Persist) -> Result<(), MediaError> {
        let (from, _) = self.check(from, len)?;
        let (to, len) = self.check(to, len)?;
        let inner = &mut *self.lock();
        inner.touch(to, len);
        inner.bytes.copy_within(from..from + len, to);
        Ok(())
    }

    fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        self.check(at, 8)?;
        Ok(self.word(at))
    }

    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        self.check(at, 8)?;
        self.set_words([(at, value)].into_iter());
        Ok(())
    }

    fn flush(&self, _: Range<u64>) {}

    fn fence(&self) {}

    fn sync(&self, _: Range<u64>) -> Result<(), MediaError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_restores_each_level() {
        let scratch = Scratch::new(vec![1; 4 * PAGE]);
        scratch.mark();
        scratch.write(PAGE as u64 - 4, &[2; 8], Persist::No).unwrap();
        scratch.mark();
        scratch.store_u64(PAGE as u64 - 8, 3).unwrap();
        scratch.zero(2 * PAGE as u64..3 * PAGE as u64, Persist::No).unwrap();
        let all = scratch.to_bytes();
        assert!(all[2 * PAGE..3 * PAGE].iter().all(|byte| *byte == 0));
        scratch.back();
        assert_eq!(scratch.word(PAGE as u64 - 8), 0x0202_0202_0101_0101);
        assert_eq!(scratch.word(2 * PAGE as u64), 0x0101_0101_0101_0101);
        scratch.back();
        assert_eq!(scratch.to_bytes(), vec![1; 4 * PAGE]);
    }
}
