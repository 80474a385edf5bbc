//! What can go wrong, in one line each.

use std::io;
use std::path::{Path, PathBuf};

use limpid_dax::DaxError;
use limpid_fs::FsError;
use limpid_mmu::{EngineError, MapError};
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
    NoMaps(#[from] EngineError),
    /// This map cannot be had.
    #[error(transparent)]
    Map(#[from] MapError),
    /// Too many symbolic links.
    #[error("{}: too many symbolic links", path.display())]
    Loop {
        /// The path inside the pool.
        path: PathBuf,
    },
    /// The handle was not opened for this.
    #[error("the file was not opened for {0}")]
    NotOpenedFor(&'static str),
    /// The range does not lie in the file or in the map.
    #[error("bytes {at}+{len} do not lie in the {size} bytes that are there")]
    OutOfRange {
        /// First byte.
        at: u64,
        /// Length in bytes.
        len: u64,
        /// Size of the file, or of the map, in bytes.
        size: u64,
    },
    /// The file ended before as many bytes were read as were asked for.
    #[error("the file ends at byte {size}, before the {len} bytes from byte {at} on")]
    EndOfFile {
        /// First byte.
        at: u64,
        /// Length in bytes.
        len: u64,
        /// Size of the file in bytes.
        size: u64,
    },
    /// The range ends past the largest size a file can have.
    #[error("bytes {at}+{len} end past the largest size a file can have")]
    TooLarge {
        /// First byte.
        at: u64,
        /// Length in bytes.
        len: u64,
    },
    /// A range of no bytes, where there is nothing to do with one.
    #[error("a range of no bytes")]
    EmptyRange,
    /// Two ranges of one file that are to share blocks overlap.
    #[error("the ranges {from}+{len} and {at}+{len} of one file overlap")]
    Overlap {
        /// First byte of the range that is to change.
        at: u64,
        /// First byte of the range it is to share blocks with.
        from: u64,
        /// Length in bytes.
        len: u64,
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
    /// The process has as many kernel mappings as it may have: a page cannot be shown now.
    #[error(
        "byte {at} of the file cannot be mapped now: the process has as many mappings as \
         vm.max_map_count allows"
    )]
    NoMappings {
        /// Offset in the file.
        at: u64,
    },
    /// The kernel does not tell what the page tables hold.
    #[error("the page tables cannot be read: {0}")]
    Evidence(io::Error),
    /// What a program stored through a map of the mount could not be written, and was lost.
    #[error("what a program stored through a map is lost until it is written again: {0}")]
    Lost(io::Error),
    /// The process was forked, without exec, from the one that opened the pool; nothing was
    /// touched.
    #[error("the pool was opened by the process that this one was forked from: open it here")]
    Forked,
    /// The pool was closed.
    #[error("the pool is closed")]
    Closed,
}

/// Result of most operations.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The errno that stands for the reason; `std::io::Error`s made of this carry it.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Path { source, .. } | Error::Fs(source) | Error::Pool { source, .. } => {
                source.errno()
            }
            Error::Open(error) => open_errno(error),
            Error::Media(MediaError::Buffer) => libc::EFAULT,
            Error::Media(MediaError::Full { .. }) => libc::ENOSPC,
            Error::Media(MediaError::ReadOnly) => libc::EROFS,
            Error::Media(MediaError::Forked) => libc::EBADF,
            Error::Media(_) => libc::EIO,
            Error::NoMaps(error) => no_maps_errno(error),
            Error::Map(error) => map_errno(error),
            Error::Granularity { .. } => libc::EOPNOTSUPP,
            Error::NoMappings { .. } => libc::ENOMEM,
            Error::Loop { .. } => libc::ELOOP,
            Error::NotOpenedFor(_) | Error::Closed | Error::Forked => libc::EBADF,
            Error::TooLarge { .. } => libc::EFBIG,
            Error::OutOfRange { .. } | Error::EndOfFile { .. } => libc::EINVAL,
            Error::Overlap { .. } | Error::EmptyRange | Error::EmptyMap => libc::EINVAL,
            Error::Unaligned { .. } | Error::MisalignedAtomic { .. } => libc::EINVAL,
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

fn no_maps_errno(error: &EngineError) -> i32 {
    match error {
        EngineError::NoRoom(errno) => errno.raw_os_error(),
        _ => libc::EOPNOTSUPP,
    }
}

fn map_errno(error: &MapError) -> i32 {
    match error {
        MapError::Empty => libc::EINVAL,
        MapError::ReadOnly => libc::EROFS,
        MapError::NoAddresses { errno, .. } => errno.raw_os_error(),
        _ => libc::EOPNOTSUPP,
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
            DaxError::TooLarge { at, len } => Error::TooLarge { at, len },
            DaxError::Overlap { at, from, len } => Error::Overlap { at, from, len },
            DaxError::Unaligned { at, len, size } => Error::Unaligned { at, len, size },
        }
    }
}

/// As an error of the standard library, which programs ask for its kind and `raw_os_error`: it has
/// both, and the system's words. An end of file is `UnexpectedEof`, which has no errno.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        match error {
            Error::EndOfFile { .. } => io::Error::new(io::ErrorKind::UnexpectedEof, error),
            _ => io::Error::from_raw_os_error(error.errno()),
        }
    }
}
