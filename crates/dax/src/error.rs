//! What can go wrong in the DAX layer.

use limpid_pmem::MediaError;

/// Why a file operation failed. `E` is the block map's own error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DaxError<E> {
    /// The block map refused (no space, corrupt, …).
    #[error("{0:?}")]
    Iomap(E),
    /// The medium or the caller's buffer failed.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The range ends past the largest file size, or past what the operation allows.
    #[error("the range {at}+{len} is too large")]
    TooLarge {
        /// File offset in bytes.
        at: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Collapse and insert want whole pages within the file.
    #[error("the range {at}+{len} does not lie on page bounds inside the file of {size} bytes")]
    Unaligned {
        /// File offset in bytes.
        at: u64,
        /// Length in bytes.
        len: u64,
        /// Size of the file in bytes.
        size: u64,
    },
    /// The two ranges of one file that are to share blocks overlap.
    #[error("the ranges {from}+{len} and {at}+{len} of one file overlap")]
    Overlap {
        /// File offset in bytes of the range that is to change.
        at: u64,
        /// File offset in bytes of the range it is to share blocks with.
        from: u64,
        /// Length in bytes.
        len: u64,
    },
}

/// How a fault ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultOutcome<E> {
    /// The page shows what it should; the access may be tried again.
    Installed,
    /// The page lies past the end of the file; accesses raise SIGBUS.
    PastEnd,
    /// Storage could not be had; the access raises SIGBUS. If it was a store to what reads as
    /// zeroes, loads go on seeing them, and a later store faults again; else all accesses raise
    /// SIGBUS until the page is next unmapped.
    Failed(E),
    /// The page tables have no memory; the access may be tried again later.
    NoMemory,
    /// The map is gone.
    Gone,
}

/// Why a fault could not use a larger page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Fallback {
    /// The 2 MiB unit does not lie wholly inside the map.
    MapBounds,
    /// The unit reaches past the end of the file.
    EndOfFile,
    /// Smaller pages of this unit are already in use.
    Conflict,
    /// The unit's blocks are not one aligned run on the medium, or only part of it has blocks.
    Layout,
    /// No aligned free 2 MiB were left on the medium.
    NoSpace,
    /// A store to a private map copies one page.
    PrivateStore,
    /// Stores to holes take small pages ([`StoreUnit::Page`](crate::StoreUnit::Page)).
    StoreUnit,
}

impl Fallback {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Fallback; 7] = [
        Fallback::MapBounds,
        Fallback::EndOfFile,
        Fallback::Conflict,
        Fallback::Layout,
        Fallback::NoSpace,
        Fallback::PrivateStore,
        Fallback::StoreUnit,
    ];

    /// One sentence for people.
    pub const fn reason(self) -> &'static str {
        match self {
            Fallback::MapBounds => "the 2 MiB unit is not wholly inside the map",
            Fallback::EndOfFile => "the 2 MiB unit reaches past the end of the file",
            Fallback::Conflict => "4 KiB pages of the unit are already in use",
            Fallback::Layout => "the unit's blocks are not one aligned run on the medium",
            Fallback::NoSpace => "no aligned free 2 MiB on the medium",
            Fallback::PrivateStore => "a store to a private map copies 4 KiB",
            Fallback::StoreUnit => "stores to holes take 4 KiB each, to save space",
        }
    }
}
