//! Why a pool could not be mounted or unmounted.

use std::io;
use std::path::PathBuf;

/// Why a pool could not be mounted or unmounted. Every variant names what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The mount point does not exist, or is no directory, or cannot be reached.
    #[error("the mount point cannot be used: {source}")]
    MountPoint {
        /// The directory.
        dir: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something is in the directory that the mount would hide.
    #[error("the mount point is not empty")]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// Something is mounted there.
    #[error("something is mounted there already")]
    Mounted {
        /// The directory.
        dir: PathBuf,
    },
    /// The process that served the directory is gone.
    #[error("the mount there is dead: its process is gone")]
    Dead {
        /// The directory.
        dir: PathBuf,
    },
    /// Nothing is mounted there, or it is not a pool.
    #[error("no pool is mounted there")]
    NotMounted {
        /// The directory.
        dir: PathBuf,
    },
    /// The mount is in use.
    #[error("the mount is in use")]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// The system has no FUSE.
    #[error("this system has no FUSE: /dev/fuse: {0}")]
    NoFuse(io::Error),
    /// The system's FUSE is not for this user.
    #[error("not permitted to use /dev/fuse: {0}")]
    NotPermitted(io::Error),
    /// Only root may do that.
    #[error("not permitted: only root may")]
    NotRoot,
    /// Only root mounts without `fusermount3`, which is not installed.
    #[error("not permitted to mount: only root may, and fusermount3 is not installed")]
    NoHelper,
    /// `fusermount3` refused, for the reason it gave.
    #[error("not permitted to mount: {0}")]
    HelperRefused(String),
    /// The pool is mounted already by this process.
    #[error("this process has mounted the pool already")]
    Twice,
    /// So many threads cannot be had, or are more than [`MAX_THREADS`](crate::MAX_THREADS).
    #[error("{threads} threads cannot be started: {source}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// The system's reason.
        source: io::Error,
    },
    /// The process or thread behind the mount ended before it served anything.
    #[error("the mount could not be served: {0}")]
    NotServed(io::Error),
    /// An option cannot be changed while the pool is mounted.
    #[error("cannot be changed while mounted: {0}")]
    Unchangeable(&'static str),
    /// The kernel refused.
    #[error("the kernel refused the mount: {0}")]
    Refused(io::Error),
}
