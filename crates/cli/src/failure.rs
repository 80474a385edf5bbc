//! Failures of pools and of the host's file systems, told in one line: what, where, what to do.

use std::fmt;
use std::io;
use std::path::Path;

use limpid::{Error, FsError, OpenError};
pub use limpid_terminal::{Failure, Result, one_line};

/// An operation at `place` that failed, in the host's file system or in a pool.
pub fn from_io(error: &io::Error, place: impl fmt::Display) -> Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(inner) => from_pool(inner, place),
        None if error.kind() == io::ErrorKind::FileTooLarge => {
            let advice = "give a smaller size; 'ulimit -f' shows a limit";
            Failure::new("the host allows no file of this size", place, advice)
        }
        None => Failure::from_system(error, place),
    }
}

/// An operation at `place` of a pool that failed. The error's own path is left out: `place`
/// names the pool as well.
pub fn from_pool(error: &Error, place: impl fmt::Display) -> Failure {
    let text = match error {
        Error::Path { source, .. } | Error::Pool { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    match error {
        _ if error.host_is_full() => {
            Failure::new(text, place, "make room on that disk, then go on; the pool is in order")
        }
        Error::Path { source: FsError::InvalidName | FsError::Busy, .. } => {
            let advice = "the root, '.' and '..' cannot be made, moved or removed";
            Failure::new(text, place, advice)
        }
        Error::Path { source, .. } | Error::Pool { source, .. } | Error::Fs(source) => {
            of_file_system(source, text, place)
        }
        _ => Failure::from_errno(error.errno(), text, place),
    }
}

/// A pool that could not be made.
pub fn from_create(error: &Error, pool: &Path) -> Failure {
    match error {
        Error::Open(OpenError::System { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Failure::new("no such directory", pool.display(), "check the path, or make it")
        }
        _ => from_open(error, pool),
    }
}

/// A pool that could not be opened or made.
pub fn from_open(error: &Error, pool: &Path) -> Failure {
    let place = pool.display();
    let error = match error {
        Error::Open(error) => error,
        Error::Pool { source: FsError::TooSmall { size, .. }, .. } => {
            return too_small(*size, place);
        }
        _ => return from_pool(error, place),
    };
    match error {
        OpenError::InUse { pid: Some(pid), .. } => {
            let what = format!("the pool is in use by process {pid}");
            Failure::new(what, place, "wait until it lets go, or end it")
        }
        OpenError::InUse { pid: None, .. } => {
            Failure::new("the pool is in use by another process", place, "wait until it lets go")
        }
        OpenError::Exists { .. } => {
            Failure::new("exists already", place, "--force overwrites it and all it holds")
        }
        OpenError::NotAMedium { .. } => Failure::new(
            "neither a regular file nor a /dev/dax device",
            place,
            "give the path of a pool",
        ),
        OpenError::System { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Failure::new("no such pool", place, "check the path, or make it: 'limpid mkfs'")
        }
        OpenError::System { source, .. } => from_io(source, place),
        OpenError::TooSmall { size, .. } => too_small(*size, place),
        other => Failure::new(other.to_string(), place, "see 'limpid info --help'"),
    }
}

/// Names the place at which an operation failed.
pub trait At<T> {
    /// The same result, with the error told as a failure at `place`.
    fn at(self, place: impl fmt::Display) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, place: impl fmt::Display) -> Result<T> {
        self.map_err(|error| from_io(&error, place))
    }
}

impl<T> At<T> for limpid::Result<T> {
    fn at(self, place: impl fmt::Display) -> Result<T> {
        self.map_err(|error| from_pool(&error, place))
    }
}

/// The error as one of the standard library, with all it tells, for [`from_io`] to find.
pub fn kept(error: Error) -> io::Error {
    io::Error::other(error)
}

/// A file that holds no pool, or a size that none can have.
fn too_small(size: u64, place: impl fmt::Display) -> Failure {
    let what = match size {
        0 => "not a pool: the file is empty".to_owned(),
        size => format!("not a pool: {size} bytes are too few for one"),
    };
    let advice = format!("make one of {} bytes or more: 'limpid mkfs'", limpid::MIN_POOL_SIZE);
    Failure::new(what, place, &advice)
}

fn of_file_system(error: &FsError, text: String, place: impl fmt::Display) -> Failure {
    let advice = match error {
        FsError::NotAPool => "make one with 'limpid mkfs'",
        FsError::UnsupportedVersion(_) | FsError::UnsupportedFeature { .. } => {
            "use the version of limpid that made the pool"
        }
        FsError::TooSmall { .. } => "give a larger --size",
        FsError::Truncated { .. } => "restore the missing end of the pool from a copy",
        FsError::Corrupt { .. } => "copy out what can be read; restore the rest from a copy",
        FsError::NotPermitted => "use -s, or copy it",
        FsError::Stopped { .. } | FsError::Panicked => {
            "run the command again; the pool recovers when it is opened"
        }
        _ => return Failure::from_errno(error.errno(), text, place),
    };
    Failure::new(text, place, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_behind_an_io_error_is_found() {
        let inner = Error::Path { path: "/x".into(), source: FsError::NoSpace };
        let failure = from_io(&kept(inner), "p:/x");
        assert!(failure.to_string().starts_with("limpid: no space left: p:/x: "), "{failure}");
    }
}
