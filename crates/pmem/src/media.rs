//! The trait every medium implements: bytes at device offsets, and how they become persistent.

use core::ops::Range;

/// What a store survives, without any further call, once it was flushed and fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: the bytes live as long as the pool is open (medium `memory`).
    None,
    /// The death of the process at any instruction; power loss only after [`Media::sync`]
    /// (medium `file`).
    Process,
    /// Power loss, once the cache lines were written back and fenced (`fsdax`, `devdax`).
    Power,
}

/// Whether a store must be on its way to the medium when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persist {
    /// The bytes may stay in the CPU's caches; [`Media::flush`] is called later if need be.
    No,
    /// The bytes are on their way (non-temporal stores, or stores and cache-line write-back);
    /// the next [`Media::fence`] of this thread makes them durable.
    Yes,
}

/// Why an access to a medium failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The medium could not deliver or take the bytes at this device offset (hardware poison, or
    /// the host file shrank below the pool).
    #[error("the medium failed at byte {at}")]
    Io {
        /// Device offset of the first byte that failed.
        at: u64,
    },
    /// The pool lies in a plain file, and the file system that holds it has no room for the bytes
    /// at this device offset. Nothing else is wrong: all goes on when there is room.
    #[error("the disk that holds the pool's file is full")]
    Full {
        /// Device offset of the first byte that found no room.
        at: u64,
    },
    /// The caller's own buffer could not be accessed (it lies in a map past the end of its file).
    #[error("the caller's buffer cannot be accessed")]
    Buffer,
    /// A store to a medium that was opened to be read only.
    #[error("the medium is read-only")]
    ReadOnly,
    /// The process was forked, without exec, from the one that opened the medium.
    #[error("the pool was opened by the process that this one was forked from: open it here")]
    Forked,
    /// The range does not lie within the medium.
    #[error("bytes {at}+{len} lie outside the medium of {size} bytes")]
    OutOfRange {
        /// First device offset of the range.
        at: u64,
        /// Length of the range in bytes.
        len: u64,
        /// Length of the medium in bytes.
        size: u64,
    },
}

/// Byte-addressable memory that holds a pool.
///
/// Offsets are device offsets in bytes from the start of the medium. All methods may be called
/// from many threads at once; overlapping accesses race byte by byte, aligned 8-byte accesses
/// through [`load_u64`](Media::load_u64) and [`store_u64`](Media::store_u64) never tear.
///
/// The crash contract, in one sentence: any subset of the stores that were not yet flushed *and*
/// fenced survives a power loss, in aligned 8-byte pieces.
pub trait Media: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// True if the medium has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Smallest unit, in bytes, in which the medium can be mapped (4 KiB, or 2 MiB on devdax).
    fn granularity(&self) -> u64;

    /// What a flushed and fenced store survives.
    fn durability(&self) -> Durability;

    /// Copies bytes from the medium into `into`.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError>;

    /// Copies `from` to the medium.
    fn write(&self, at: u64, from: &[u8], persist: Persist) -> Result<(), MediaError>;

    /// Fills a range with zeroes.
    fn zero(&self, range: Range<u64>, persist: Persist) -> Result<(), MediaError>;

    /// Copies `len` bytes within the medium; the ranges must not overlap.
    fn copy(&self, from: u64, to: u64, len: u64, persist: Persist) -> Result<(), MediaError>;

    /// Hints that the range will be written soon; does nothing else, whatever the range.
    fn prefetch(&self, range: Range<u64>) {
        _ = range;
    }

    /// Sees to it that stores to a range will not fail for want of room on the host. Media that
    /// have all their storage do nothing.
    fn reserve(&self, range: Range<u64>) -> Result<(), MediaError> {
        let _ = range;
        Ok(())
    }

    /// Atomic load of the aligned 8 bytes at `at` (acquire).
    fn load_u64(&self, at: u64) -> Result<u64, MediaError>;

    /// Atomic store of the aligned 8 bytes at `at` (release); not flushed.
    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError>;

    /// Starts writing the cache lines of the range back. Does nothing where
    /// [`durability`](Media::durability) is not [`Durability::Power`].
    fn flush(&self, range: Range<u64>);

    /// Orders: everything this thread flushed or stored with [`Persist::Yes`] before is durable
    /// when the call returns, as far as the medium goes.
    fn fence(&self);

    /// Tells that a range will not be read again soon: this process needs no memory for it until
    /// then. A hint; the contents stay as they are.
    fn forget(&self, range: Range<u64>) {
        let _ = range;
    }

    /// Makes a range survive power loss on media where flush and fence do not (msync on `file`).
    /// Does nothing elsewhere.
    fn sync(&self, range: Range<u64>) -> Result<(), MediaError>;
}
