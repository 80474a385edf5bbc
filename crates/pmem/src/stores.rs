//! Stores to a medium, and how they get there: through the caches, round them, or left in them.

use crate::arch::{Fault, Instructions, LINE};
use crate::copier::look;

/// From this length on stores that must reach the medium go round the caches: as soon as there can
/// be a whole cache line. Measured with examples/copy.rs on Zen 5, through the caches with clwb and
/// round them, each with a fence: 64 bytes 163 and 98 ns; 4 KiB 350 and 157 ns; 1 MiB 44 and 14 us.
const NON_TEMPORAL_MIN: usize = LINE;

/// Stores by the instructions `I`: those of the processor, except in tests of this crate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stores<I> {
    instructions: I,
}

impl<I: Instructions> Stores<I> {
    pub(crate) fn new(instructions: I) -> Stores<I> {
        Stores { instructions }
    }

    /// Stores `len` bytes; they may stay in the caches.
    ///
    /// # Safety
    /// As for [`Instructions::copy`].
    #[inline]
    pub(crate) unsafe fn put(self, to: *mut u8, source: Source, len: usize) -> Result<(), Fault> {
        look();
        match source {
            // SAFETY: the caller's promise.
            Source::Bytes(from) => unsafe { self.instructions.copy(to, from, len) },
            // SAFETY: the caller's promise.
            Source::Zeroes => unsafe { self.instructions.zero(to, len) },
        }
    }

    /// Stores `len` bytes so that they are on their way to the medium when it returns. Only
    /// [`fence`](Stores::fence) waits for them, and orders them against other threads.
    ///
    /// # Safety
    /// As for [`Instructions::copy`].
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
        let head = (to as usize).wrapping_neg() % LINE;
        let body = (len - head) & !(LINE - 1);
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
    /// As for [`Instructions::copy`].
    unsafe fn put_lines(self, to: *mut u8, source: Source, len: usize) -> Result<(), Fault> {
        // SAFETY: the caller's promise.
        unsafe {
            self.put(to, source, len)?;
            self.write_back(to, len)
        }
    }

    /// # Safety
    /// As for [`Instructions::copy_non_temporal`].
    unsafe fn put_non_temporal(self, to: *mut u8, source: Source, len: usize) -> Result<(), Fault> {
        match source {
            // SAFETY: the caller's promise.
            Source::Bytes(from) => unsafe { self.instructions.copy_non_temporal(to, from, len) },
            // SAFETY: the caller's promise.
            Source::Zeroes => unsafe { self.instructions.zero_non_temporal(to, len) },
        }
    }

    /// Stores 8 aligned bytes at once (release).
    ///
    /// # Safety
    /// As for [`Instructions::store_u64`].
    #[inline]
    pub(crate) unsafe fn store_u64(self, to: *mut u8, value: u64) -> Result<(), Fault> {
        look();
        // SAFETY: the caller's promise.
        unsafe { self.instructions.store_u64(to, value) }
    }

    /// Starts the write-back of all cache lines that hold a byte of the range.
    ///
    /// # Safety
    /// As for [`Instructions::copy`], for the one range.
    #[inline]
    pub(crate) unsafe fn write_back(self, from: *const u8, len: usize) -> Result<(), Fault> {
        if len == 0 {
            return Ok(());
        }
        let into_line = from as usize % LINE;
        let first = from.wrapping_sub(into_line);
        // SAFETY: the caller's own promise; a line never crosses a page, so the lines lie in the
        // mapped pages of the range.
        unsafe { self.instructions.write_back(first, (into_line + len).div_ceil(LINE)) }
    }

    /// Waits until what this thread stored through or wrote back has reached the medium.
    #[inline]
    pub(crate) fn fence(self) {
        self.instructions.fence();
    }
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

#[cfg(test)]
mod tests;
