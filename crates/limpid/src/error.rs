//! What can go wrong, in one line each.

use std::io;
use std::path::{Path, PathBuf};

use limpid_dax::DaxError;
use limpid_fs::FsError;
use limpid_pmem::{MediaError, OpenError};

use crate::path::WalkError;

/// Why an operation on a pool failed. The text names what, and where as far as it is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused an operation on a path.
    #[error("{}: {source}", path.display())]
    Path {
        /// The path inside the pool.
        path: PathBuf,
        /// The reason.
        source: FsError,
    },
    /// The file system refused an operation on an open file, or on the pool.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The pool itself is damaged, foreign or unsuitable.
    #[error("{}: {source}", pool.display())]
    Pool {
        /// The pool's path.
        pool: PathBuf,
        /// The reason.
        source: FsError,
    },
    /// The medium could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The medium failed, or the caller's buffer could not be accessed.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// Maps cannot be had on this system.
    #[error(transparent)]
    NoMaps(#[from] limpid_mmu::EngineError),
    /// This map cannot be had.
    #[error(transparent)]
    Map(#[from] limpid_mmu::MapError),
    /// Too many symbolic links.
    #[error("{}: too many symbolic links", path.display())]
    Loop {
        /// The path inside the pool.
        path: PathBuf,
    },
    /// The handle was not opened for this.
    #[error("the file was not opened for {0}")]
    NotOpenedFor(&'static str),
    /// The range does not lie in the file, or is too large.
    #[error("bytes {at}+{len} do not lie in the file of {size} bytes")]
    OutOfRange {
        /// First byte.
        at: u64,
        /// Length in bytes.
        len: u64,
        /// Size of the file in bytes.
        size: u64,
    },
    /// An empty file, or an empty range, cannot be mapped.
    #[error("an empty range cannot be mapped")]
    EmptyMap,
    /// Collapse and insert want whole pages inside the file.
    #[error("bytes {at}+{len} are not whole 4096-byte pages inside the file of {size} bytes")]
    Unaligned {
        /// First byte.
        at: u64,
        /// Length in bytes.
        len: u64,
        /// Size of the file in bytes.
        size: u64,
    },
    /// An atomic access to bytes that are not aligned to 8.
    #[error("byte {at} of the map is not aligned to 8")]
    MisalignedAtomic {
        /// Offset in the map's pages.
        at: u64,
    },
    /// A page that the device can map only together with bytes of other files, or past the end.
    #[error(
        "byte {at} cannot be mapped: the device maps whole units of {granularity} bytes only, and \
         the file has none of its own there; allocate whole units, or make the device's \
         namespace with `ndctl create-namespace -m devdax -a 4096`"
    )]
    Granularity {
        /// Offset in the file.
        at: u64,
        /// Unit of the device in bytes.
        granularity: u64,
    },
    /// The kernel does not tell what the page tables hold.
    #[error("the page tables cannot be read: {0}")]
    Evidence(io::Error),
    /// What a program stored through a map of the mount could not be written, and was lost.
    #[error("what a program stored through a map is lost until it is written again: {0}")]
    Lost(io::Error),
    /// The pool was closed.
    #[error("the pool is closed")]
    Closed,
}

/// Result of most operations.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The errno that stands for the reason.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Path { source, .. } | Error::Fs(source) | Error::Pool { source, .. } => {
                source.errno()
            }
            Error::Open(error) => open_errno(error),
            Error::Media(MediaError::Buffer) => libc::EFAULT,
            Error::Media(MediaError::Full { .. }) => libc::ENOSPC,
            Error::Media(MediaError::ReadOnly) => libc::EROFS,
            Error::Media(_) => libc::EIO,
            Error::NoMaps(_) | Error::Map(_) | Error::Granularity { .. } => libc::EOPNOTSUPP,
            Error::Loop { .. } => libc::ELOOP,
            Error::NotOpenedFor(_) | Error::Closed => libc::EBADF,
            Error::OutOfRange { .. } => libc::EFBIG,
            Error::EmptyMap | Error::Unaligned { .. } | Error::MisalignedAtomic { .. } => {
                libc::EINVAL
            }
            Error::Evidence(error) | Error::Lost(error) => {
                error.raw_os_error().unwrap_or(libc::EIO)
            }
        }
    }

    /// Whether the file system that holds the pool's file is full. Nothing else is wrong then: the
    /// same call works when there is room.
    pub fn host_is_full(&self) -> bool {
        let source = match self {
            Error::Path { source, .. } | Error::Fs(source) | Error::Pool { source, .. } => source,
            Error::Media(error) => &FsError::Media(*error),
            _ => return false,
        };
        matches!(source, FsError::Media(MediaError::Full { .. }))
    }

    pub(crate) fn at(path: &Path) -> impl Fn(FsError) -> Error + '_ {
        move |source| Error::Path { path: path.to_owned(), source }
    }

    pub(crate) fn walk(path: &Path, error: WalkError) -> Error {
        match error {
            WalkError::Fs(source) => Error::Path { path: path.to_owned(), source },
            WalkError::Loop => Error::Loop { path: path.to_owned() },
        }
    }
}

fn open_errno(error: &OpenError) -> i32 {
    match error {
        OpenError::InUse { .. } => libc::EBUSY,
        OpenError::Exists { .. } => libc::EEXIST,
        OpenError::System { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
        _ => libc::EINVAL,
    }
}

impl From<DaxError<FsError>> for Error {
    fn from(error: DaxError<FsError>) -> Error {
        match error {
            DaxError::Iomap(error) => Error::Fs(error),
            DaxError::Media(error) => Error::Media(error),
            DaxError::TooLarge { at, len } | DaxError::Overlap { at, len, .. } => {
                Error::OutOfRange { at, len, size: 0 }
            }
            DaxError::Unaligned { at, len, size } => Error::Unaligned { at, len, size },
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = io::Error::from_raw_os_error(error.errno()).kind();
        io::Error::new(kind, error)
    }
}
