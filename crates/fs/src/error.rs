//! Why a file system operation failed, and the errno each reason stands for.

use limpid_pmem::MediaError;

/// What a place in the pool should have held but does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Both copies of the superblock.
    Superblock,
    /// A record of the journal.
    Journal,
    /// The block of roots (block 1).
    Anchor,
    /// The descriptor of a group of blocks.
    GroupDescriptor,
    /// The block bitmap of a group.
    Bitmap,
    /// A bit of a bitmap: a block freed twice, or given out twice.
    BlockState,
    /// An inode record.
    Inode,
    /// The list of free inodes.
    FreeInodes,
    /// A tree node.
    Node,
    /// The extents of a file.
    Extents,
    /// An entry of a directory.
    DirectoryEntry,
    /// The target of a symbolic link.
    Symlink,
    /// An extended attribute.
    Xattr,
}

/// Why a file system operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FsError {
    /// The medium holds something impossible at this device offset (bytes).
    #[error("{what:?} at byte {at} of the pool is corrupt: {why}")]
    Corrupt {
        /// What should be there.
        what: What,
        /// Device offset in bytes (or the inode or block number for things without a place).
        at: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No free blocks are left.
    #[error("the pool has no free space")]
    NoSpace,
    /// A name is longer than 255 bytes, or a symbolic link's target longer than 4095.
    #[error("the name is too long")]
    NameTooLong,
    /// A name is empty, ".", "..", or holds a slash or a zero byte.
    #[error("the name cannot be used")]
    InvalidName,
    /// The name exists already.
    #[error("the name exists")]
    Exists,
    /// No such name, inode or attribute.
    #[error("not found")]
    NotFound,
    /// No such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// A directory is needed here.
    #[error("not a directory")]
    NotDirectory,
    /// A directory cannot be used here.
    #[error("is a directory")]
    IsDirectory,
    /// The directory still has entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// The root, "." or ".." cannot lose or change its name.
    #[error("the root, '.' and '..' keep their names")]
    Busy,
    /// A directory has one name only.
    #[error("a directory has one name only")]
    NotPermitted,
    /// The inode has as many links as can be counted.
    #[error("too many links")]
    TooManyLinks,
    /// The pool was opened read-only.
    #[error("the pool is read-only")]
    ReadOnly,
    /// The medium holds no pool.
    #[error("not a pool")]
    NotAPool,
    /// The pool was made by another version of the format.
    #[error("format version {0} is not known")]
    UnsupportedVersion(u32),
    /// The pool uses features this version does not know.
    #[error("feature bits {bits:#x} are not known")]
    UnsupportedFeature {
        /// The unknown bits.
        bits: u64,
    },
    /// The medium is shorter than the pool on it.
    #[error("the medium has {size} bytes, the pool needs {expected}")]
    Truncated {
        /// Length of the medium in bytes.
        size: u64,
        /// Length of the pool in bytes.
        expected: u64,
    },
    /// The medium is too small for a pool.
    #[error("the medium has {size} bytes, a pool needs at least {min}")]
    TooSmall {
        /// Length of the medium in bytes.
        size: u64,
        /// Smallest length in bytes.
        min: u64,
    },
    /// The medium failed.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The medium failed while metadata was changed: the pool takes no more changes until it is
    /// opened again.
    #[error("the medium failed at byte {at} while metadata was changed: changes have stopped")]
    Stopped {
        /// Device offset in bytes where it failed.
        at: u64,
    },
    /// A commit panicked: the pool takes no more changes until it is opened again, which recovers
    /// it. What the commit was not about can still be read.
    #[error("stopped after an internal error in a commit; open the pool again")]
    Panicked,
    /// An offset or size is larger than a file can be.
    #[error("the file would be too large")]
    TooLarge,
    /// The arguments make no sense together, or the inode is of the wrong kind.
    #[error("invalid argument")]
    Invalid,
    /// An extended attribute is larger than 64 KiB, or its name longer than 255 bytes.
    #[error("the attribute is too large")]
    AttributeTooLarge,
    /// The caller's buffer is too small for the attribute.
    #[error("the buffer is too small")]
    BufferTooSmall,
}

impl FsError {
    /// The Linux errno this error stands for.
    pub fn errno(&self) -> i32 {
        const EPERM: i32 = 1;
        const ENOENT: i32 = 2;
        const EIO: i32 = 5;
        const EBADF: i32 = 9;
        const EFAULT: i32 = 14;
        const EBUSY: i32 = 16;
        const EEXIST: i32 = 17;
        const ENOTDIR: i32 = 20;
        const EISDIR: i32 = 21;
        const EINVAL: i32 = 22;
        const EFBIG: i32 = 27;
        const ENOSPC: i32 = 28;
        const EROFS: i32 = 30;
        const EMLINK: i32 = 31;
        const ERANGE: i32 = 34;
        const ENAMETOOLONG: i32 = 36;
        const ENOTEMPTY: i32 = 39;
        const ENODATA: i32 = 61;
        const E2BIG: i32 = 7;
        const EOPNOTSUPP: i32 = 95;
        const EUCLEAN: i32 = 117;
        match self {
            FsError::Corrupt { .. } => EUCLEAN,
            FsError::NoSpace | FsError::Media(MediaError::Full { .. }) => ENOSPC,
            FsError::NameTooLong => ENAMETOOLONG,
            FsError::Exists => EEXIST,
            FsError::NotFound => ENOENT,
            FsError::NoAttribute => ENODATA,
            FsError::NotDirectory => ENOTDIR,
            FsError::IsDirectory => EISDIR,
            FsError::NotEmpty => ENOTEMPTY,
            FsError::Busy => EBUSY,
            FsError::NotPermitted => EPERM,
            FsError::TooManyLinks => EMLINK,
            FsError::ReadOnly => EROFS,
            FsError::UnsupportedVersion(_) | FsError::UnsupportedFeature { .. } => EOPNOTSUPP,
            FsError::NotAPool | FsError::Invalid | FsError::InvalidName => EINVAL,
            FsError::Truncated { .. } | FsError::TooSmall { .. } => EINVAL,
            FsError::Media(MediaError::Buffer) => EFAULT,
            FsError::Media(MediaError::Forked) => EBADF,
            FsError::Media(_) | FsError::Stopped { .. } | FsError::Panicked => EIO,
            FsError::TooLarge => EFBIG,
            FsError::AttributeTooLarge => E2BIG,
            FsError::BufferTooSmall => ERANGE,
        }
    }
}

/// Shorthand used across the crate.
pub(crate) type Result<T> = core::result::Result<T, FsError>;

/// Whether nothing but the host's room is missing.
pub(crate) fn is_full(error: &MediaError) -> bool {
    matches!(error, MediaError::Full { .. })
}

/// Of a transaction that is committed: a host that breaks its promise of room has failed it.
pub(crate) fn committed_already(error: FsError) -> FsError {
    match error {
        FsError::Media(MediaError::Full { at }) => FsError::Media(MediaError::Io { at }),
        error => error,
    }
}

/// A [`FsError::Corrupt`].
pub(crate) fn corrupt<T>(what: What, at: u64, why: &'static str) -> Result<T> {
    Err(FsError::Corrupt { what, at, why })
}
