//! Page tables, as the DAX layer drives them.
//!
//! One [`Mmu`] object stands for the page tables of one map (VMA) in one address space: the local
//! process, a remote one, or a cache that has to be told of changes. Calls come from many threads
//! at once; `unmap` and `write_protect` with `i_mmap` held shared, `install` with the entry locks
//! of all its pages, so never two at once that install into the same page. An unmap may run at
//! the same time as an install of the same page; either order is right, since an access that
//! finds nothing simply faults again.

use crate::units::{PageIndex, PageRange};

/// What to install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Zeroes: loads see zero, a store faults.
    Zero,
    /// The medium from this device offset (bytes, page aligned) on.
    Storage {
        /// Device offset of the first page.
        device: u64,
        /// Whether stores may go through without a fault.
        writable: bool,
    },
    /// A private copy of the page (private maps only): the contents come from the medium, or
    /// are zeroes where `device` is `None`. Later changes of the file do not reach it.
    Private {
        /// Device offset of the page to copy.
        device: Option<u64>,
    },
    /// Zeroes for loads; a store raises SIGBUS, since it could not have storage. Page tables that
    /// cannot refuse a single store show this for a while, and then have the next store fault
    /// again. Shared maps that take stores only.
    LoadsOnly,
    /// An access raises SIGBUS: past the end of the file.
    Poison,
}

/// Why page tables could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MmuError {
    /// The system has no memory, or no room for another kernel mapping.
    #[error("the system cannot hold another mapping")]
    NoMemory,
    /// The map is being torn down; nobody waits for this page any more.
    #[error("the map is gone")]
    Gone,
}

/// What a store does after [`Mmu::write_protect`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// It faults: no store can go unnoticed, DIRTY may be cleared.
    Faults,
    /// The tables note it (and will report it next time) but do not fault: DIRTY must stay.
    Noted,
    /// It neither faults nor is noted: DIRTY must stay and the whole range counts as written.
    Unnoticed,
}

/// The page tables of one map. See the module's documentation for locking.
pub trait Mmu: Send + Sync {
    /// Largest unit this map can install for the 2 MiB unit around `page`, in pages, given where
    /// the map lies in memory (address and file offset must agree modulo 2 MiB).
    fn can_map_huge(&self, page: PageIndex) -> bool;

    /// True if storage may be installed read-only in a writable map, a store then faults. Where
    /// it is false (maps in user space: the store would raise SIGSEGV), a load through a writable
    /// map installs writable storage and marks it DIRTY.
    fn storage_stores_fault(&self) -> bool {
        false
    }

    /// Makes `pages` of the file show `target`, in place of whatever is there, and wakes who
    /// waits for them. `pages` lies within the map. Atomic for other threads: an access sees the
    /// old state or the new one. Installing what is there already succeeds. Private copies are
    /// kept, whatever `target` is.
    fn install(&self, pages: PageRange, target: Target) -> Result<(), MmuError>;

    /// Removes whatever `pages` show, so that the next access faults; private copies stay.
    /// Cannot fail: if the system refuses, the process is ended rather than left incoherent.
    fn unmap(&self, pages: PageRange);

    /// As [`unmap`](Mmu::unmap), but private copies go, too: the pages lie past the end of the file
    /// now.
    fn discard(&self, pages: PageRange) {
        self.unmap(pages);
    }

    /// Write-protects the storage shown by `pages` and calls `written` for each run of pages
    /// that was stored to since the last call (or since it was installed). Stores that were noted
    /// before an unmap, or before something else was installed, are still reported by the next
    /// call.
    fn write_protect(&self, pages: PageRange, written: &mut dyn FnMut(PageRange)) -> Protection;
}
