//! The pool as maps show it: a file, and how ranges of it have to be mapped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::engine::Engine;
use crate::error::MapError;
use crate::mm::{FileMapping, Region, Span};
use crate::track::{self, Tracking};

/// How a pool's file is mapped. The default is a read-write plain file of no length.
#[derive(Clone, Copy, Debug)]
pub struct BackingOptions {
    /// Length of the pool in bytes.
    pub len: u64,
    /// Smallest unit in bytes in which it can be mapped: 4096, on devdax its alignment.
    pub granularity: u64,
    /// Map with MAP_SHARED_VALIDATE and MAP_SYNC (fsdax, devdax).
    pub sync: bool,
    /// The file is open for writing.
    pub writable: bool,
    /// Stores of a map can go to private copies. A DAX device cannot be mapped that way.
    pub private: bool,
    /// Note which pages are stored to, where the kernel can; worth it where a writeback of the
    /// CPU's cache lines is needed. The kernel's ability is tried on the first 2 MiB of the
    /// pool, by storing to a byte what it holds already.
    pub track_writes: bool,
}

impl Default for BackingOptions {
    fn default() -> Self {
        BackingOptions {
            len: 0,
            granularity: 4096,
            sync: false,
            writable: true,
            private: true,
            track_writes: false,
        }
    }
}

/// A pool's file, shared by all maps of its files. Device offsets are offsets in this file.
#[derive(Debug)]
pub struct Backing {
    file: OwnedFd,
    options: BackingOptions,
    tracking: Tracking,
}

impl Backing {
    /// Takes a duplicate of the pool's descriptor.
    pub fn new(
        engine: &'static Engine,
        file: OwnedFd,
        options: BackingOptions,
    ) -> Result<Backing, MapError> {
        if !options.granularity.is_power_of_two() || options.granularity < 4096 {
            return Err(MapError::Granularity(options.granularity));
        }
        let mut backing = Backing { file, options, tracking: Tracking::default() };
        if options.track_writes && options.writable {
            backing.tracking = track::probe(engine, &backing);
        }
        Ok(backing)
    }

    /// The options it was made with.
    pub fn options(&self) -> BackingOptions {
        self.options
    }

    /// True if stores to storage of some page size are noted by the kernel.
    pub fn tracks_writes(&self) -> bool {
        self.tracking.small || self.tracking.huge
    }

    pub(crate) fn tracking(&self) -> Tracking {
        self.tracking
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Shows the pool from `device` on in a span of `region`.
    pub(crate) fn map(
        &self,
        region: &Region,
        span: Span,
        device: u64,
        writable: bool,
        private: bool,
    ) -> Result<(), Errno> {
        let end = device.checked_add(span.len as u64);
        assert!(
            end.is_some_and(|end| end <= self.options.len),
            "device range {device}+{} lies outside the pool of {} bytes",
            span.len,
            self.options.len
        );
        // Asked of the kernel it would fail too, but only after it took away what was there.
        let unit = self.options.granularity;
        if !device.is_multiple_of(unit) || !(span.len as u64).is_multiple_of(unit) {
            return Err(Errno::INVAL);
        }
        let how = FileMapping { writable, private, sync: self.options.sync };
        region.map_file(span, self.file(), device, how)
    }
}
