//! Errors of this crate's own boundary; the DAX layer sees [`limpid_dax::MmuError`].

use rustix::io::Errno;

/// Why maps cannot be had in this process at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The kernel or its settings refuse userfaultfd, even for faults of user mode only.
    #[error("userfaultfd is not available ({0}): maps need it (CONFIG_USERFAULTFD, seccomp)")]
    NoUserfaultfd(Errno),
    /// The kernel's userfaultfd lacks features.
    #[error("the kernel's userfaultfd lacks features {wanted:#x} ({errno}): Linux 6.7 is needed")]
    OldUserfaultfd {
        /// Feature bits that were asked for.
        wanted: u64,
        /// What the kernel answered.
        errno: Errno,
    },
    /// `/proc/self/pagemap` or the ioctl PAGEMAP_SCAN is missing.
    #[error("PAGEMAP_SCAN on /proc/self/pagemap fails ({0}): Linux 6.7 and /proc are needed")]
    NoPagemapScan(Errno),
    /// The process has no room for the few mappings and threads that the engine needs.
    #[error("the process has no room for the threads or mappings of the fault engine ({0})")]
    NoRoom(Errno),
    /// This process is a fork of the one that started the engine; its fault threads are not here.
    #[error("maps cannot be made in a forked child; start a new program instead")]
    Forked,
}

/// Why a map or its backing could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// A map of no pages.
    #[error("a map needs at least one page")]
    Empty,
    /// A writable shared map of a pool that was opened to be read only.
    #[error("the pool is open for reading only: no writable map")]
    ReadOnly,
    /// A private writable map of a medium that can only be mapped in larger units: copies are
    /// made page by page.
    #[error("private writable maps need a medium of 4096-byte granularity, this one has {0}")]
    Unsupported(u64),
    /// A private writable map of a DAX device: the kernel maps those shared only.
    #[error("a DAX device cannot be mapped with private copies: use a shared map, or a file")]
    NoPrivateCopies,
    /// A granularity that is not a power of two of at least a page.
    #[error("granularity {0} is not a power of two of at least 4096 bytes")]
    Granularity(u64),
    /// The system refuses so many addresses (address space limit, strict overcommit).
    #[error("cannot reserve {len} bytes of addresses ({errno})")]
    NoAddresses {
        /// Length of the reservation in bytes.
        len: u64,
        /// What the kernel answered.
        errno: Errno,
    },
}
