//! Failures, each told in one line: what, where, what to do.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use limpid::{Error, FsError, OpenError};
use rustix::io::Errno;

/// Result of everything a command does.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a command ends without having done its work.
#[derive(Debug)]
pub enum Failure {
    /// Something to tell the user.
    Told {
        /// What is wrong.
        what: String,
        /// The file, path or argument it is wrong with.
        place: String,
        /// What the user can do.
        advice: String,
        /// The exit code.
        code: u8,
    },
    /// This signal came; what was half done is gone.
    Interrupted(i32),
    /// Nobody reads the output any more; there is nothing to tell.
    OutputClosed,
    /// All was told already, here or by another process; this one ends with this code.
    Ended(u8),
}

impl Failure {
    /// A failure at a place, with advice.
    pub fn new(what: impl Into<String>, place: impl fmt::Display, advice: &str) -> Failure {
        let (what, place) = (what.into(), place.to_string());
        Failure::Told { what, place, advice: advice.to_owned(), code: 1 }
    }

    /// As [`Failure::new`], for a command line that cannot be understood.
    pub fn usage(what: impl Into<String>, place: impl fmt::Display, advice: &str) -> Failure {
        let (what, place) = (what.into(), place.to_string());
        Failure::Told { what, place, advice: advice.to_owned(), code: 2 }
    }

    /// The same failure with another exit code.
    pub fn with_code(self, code: u8) -> Failure {
        match self {
            Failure::Told { what, place, advice, .. } => {
                Failure::Told { what, place, advice, code }
            }
            other => other,
        }
    }

    /// A command line that clap did not understand. Of its message the first paragraph is kept,
    /// on one line, and what it suggests is the advice.
    pub fn from_clap(error: &clap::Error) -> Failure {
        let text = error.render().to_string();
        let message = text.strip_prefix("error: ").unwrap_or(&text);
        let in_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let first = message.split("\n\n").next().unwrap_or(message);
        let tips = message.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
        let tips: Vec<String> = tips.map(in_line).collect();
        let advice = if tips.is_empty() { "see 'limpid --help'".into() } else { tips.join("; ") };
        Failure::usage(in_line(first), "command line", &advice)
    }

    /// An operation at `place` that failed, in the host's file system or in a pool.
    pub fn from_io(error: &io::Error, place: impl fmt::Display) -> Failure {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match (inner, error.raw_os_error()) {
            (Some(inner), _) => Failure::from_pool(inner, place),
            (None, Some(errno)) if Errno::from_raw_os_error(errno) == Errno::FBIG => {
                let advice = "give a smaller size; 'ulimit -f' shows a limit";
                Failure::new("the host allows no file of this size", place, advice)
            }
            (None, Some(errno)) => by_errno(errno, error.to_string(), place),
            (None, None) => Failure::new(error.to_string(), place, "check the arguments"),
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
            _ if error.host_is_full() => Failure::new(
                text,
                place,
                "make room on that disk, then go on; the pool is in order",
            ),
            Error::Path { source: FsError::InvalidName | FsError::Busy, .. } => {
                let advice = "the root, '.' and '..' cannot be made, moved or removed";
                Failure::new(text, place, advice)
            }
            Error::Path { source, .. } | Error::Pool { source, .. } | Error::Fs(source) => {
                of_file_system(source, text, place)
            }
            _ => by_errno(error.errno(), text, place),
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
            _ => Failure::from_open(error, pool),
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
            _ => return Failure::from_pool(error, place),
        };
        match error {
            OpenError::InUse { pid: Some(pid), .. } => {
                let what = format!("the pool is in use by process {pid}");
                Failure::new(what, place, "wait until it lets go, or end it")
            }
            OpenError::InUse { pid: None, .. } => Failure::new(
                "the pool is in use by another process",
                place,
                "wait until it lets go",
            ),
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
            OpenError::System { source, .. } => Failure::from_io(source, place),
            OpenError::TooSmall { size, .. } => too_small(*size, place),
            other => Failure::new(other.to_string(), place, "see 'limpid info --help'"),
        }
    }

    /// Tells the user, and how the process has to end.
    pub fn report(&self) -> ExitCode {
        match self {
            Failure::Told { code, .. } => {
                eprintln!("{self}");
                ExitCode::from(*code)
            }
            Failure::Interrupted(signal) => {
                crate::interrupt::end_by(*signal);
                // Should the signal not end it after all.
                u8::try_from(128 + signal).map_or(ExitCode::FAILURE, ExitCode::from)
            }
            Failure::OutputClosed => ExitCode::SUCCESS,
            Failure::Ended(code) => ExitCode::from(*code),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Told { what, place, advice, .. } => {
                let [what, place, advice] = [what, place, advice].map(|text| one_line(text));
                write!(out, "limpid: {what}: {place}: {advice}")
            }
            Failure::Interrupted(signal) => write!(out, "limpid: ended by signal {signal}"),
            Failure::OutputClosed => write!(out, "limpid: the output was closed"),
            Failure::Ended(code) => write!(out, "limpid: ended with {code}"),
        }
    }
}

/// Names the place at which an operation failed.
pub trait At<T> {
    /// The same result, with the error told as a failure at `place`.
    fn at(self, place: impl fmt::Display) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, place: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure::from_io(&error, place))
    }
}

impl<T> At<T> for limpid::Result<T> {
    fn at(self, place: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure::from_pool(&error, place))
    }
}

/// The error as one of the standard library, with all it tells, for [`Failure::from_io`] to find.
pub fn kept(error: Error) -> io::Error {
    io::Error::other(error)
}

/// The text with control characters escaped, so that a name cannot forge lines or move the
/// terminal's cursor.
pub fn one_line(text: &str) -> String {
    let escaped = |c: char| c.escape_default().collect::<String>();
    let shown = |c: char| if c.is_control() { escaped(c) } else { c.to_string() };
    text.chars().map(shown).collect()
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
        _ => return by_errno(error.errno(), text, place),
    };
    Failure::new(text, place, advice)
}

/// The failures that file systems have in common. Others keep the system's own words.
fn by_errno(errno: i32, text: String, place: impl fmt::Display) -> Failure {
    let (what, advice) = match Errno::from_raw_os_error(errno) {
        Errno::NOENT => ("no such file or directory", "check the path"),
        Errno::EXIST => ("exists already", "choose another name, or remove it first"),
        Errno::NOTDIR => ("not a directory", "check the path"),
        Errno::ISDIR => ("is a directory", "name a file"),
        Errno::NOTEMPTY => ("the directory is not empty", "remove what is in it first"),
        Errno::NOSPC => ("no space left", "remove files there, or give it more space"),
        Errno::DQUOT => ("the quota is used up", "remove files there"),
        Errno::ACCESS | Errno::PERM => ("not permitted", "check the permissions"),
        Errno::ROFS => ("read-only", "choose another place, or make it writable"),
        Errno::NAMETOOLONG => ("the name is too long", "names have up to 255 bytes"),
        Errno::LOOP => ("too many symbolic links", "check where they lead"),
        Errno::MLINK => ("too many links", "copy the file instead"),
        Errno::FBIG => ("the file would be too large", "give a smaller size"),
        Errno::IO => ("the medium failed", "copy out what can be read, and replace it"),
        Errno::NOTCONN | Errno::CONNABORTED => {
            ("the mount there is dead: its process is gone", "clear it with 'limpid umount'")
        }
        Errno::BUSY | Errno::TXTBSY => ("in use", "try again later"),
        Errno::MFILE => ("this process may open no more files", "raise the limit: 'ulimit -n'"),
        Errno::NFILE => ("the system can open no more files", "close some, or raise fs.file-max"),
        Errno::NOMEM => ("there is not enough memory", "see 'ulimit -v', or use a smaller pool"),
        Errno::AGAIN => ("the system has no room for another thread or process", "see 'ulimit -u'"),
        _ => return Failure::new(text, place, "check the arguments"),
    };
    Failure::new(what, place, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line() {
        let failure = Failure::new("no such file", "p:/a\nb\u{1b}[31m", "check");
        assert_eq!(failure.to_string(), "limpid: no such file: p:/a\\nb\\u{1b}[31m: check");
    }

    #[test]
    fn the_reason_behind_an_io_error_is_found() {
        let inner = Error::Path { path: "/x".into(), source: FsError::NoSpace };
        let failure = Failure::from_io(&kept(inner), "p:/x");
        assert!(failure.to_string().starts_with("limpid: no space left: p:/x: "), "{failure}");
        let failure = Failure::from_io(&io::Error::from_raw_os_error(28), "/x");
        assert!(failure.to_string().starts_with("limpid: no space left: /x: "), "{failure}");
    }
}
