//! Paths on the command line: in a pool (`POOL:/path`) or on the host.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// A path in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolPath {
    /// The pool's file or device.
    pub pool: PathBuf,
    /// The path in it, from its root.
    pub path: PathBuf,
}

impl PoolPath {
    /// Reads `POOL:/path`, or `POOL:` for the root; the first `:/` ends the pool's name.
    pub fn parse(argument: &OsStr) -> Option<PoolPath> {
        let bytes = argument.as_bytes();
        let end = match bytes.windows(2).position(|pair| pair == b":/") {
            Some(end) => end,
            None => bytes.strip_suffix(b":")?.len(),
        };
        let path = if end + 1 < bytes.len() { &bytes[end + 1..] } else { b"/" };
        let path_of = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        Some(PoolPath { pool: path_of(&bytes[..end]), path: path_of(path) })
    }

    /// As it is written on the command line.
    pub fn written(&self) -> OsString {
        let mut text = self.pool.clone().into_os_string();
        text.push(":");
        text.push(&self.path);
        text
    }

    /// An argument that has to be a path in a pool.
    pub fn required(argument: &OsStr) -> Result<PoolPath> {
        match PoolPath::parse(argument) {
            Some(path) if !path.pool.as_os_str().is_empty() => Ok(path),
            Some(_) => {
                let advice = "write POOL:/path";
                Err(Failure::usage("no pool is named before the colon", shown(argument), advice))
            }
            None => {
                Err(Failure::usage("not a path in a pool", shown(argument), "write POOL:/path"))
            }
        }
    }
}

impl fmt::Display for PoolPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.pool.display(), self.path.display())
    }
}

/// A path in a pool or on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// On the host.
    Host(PathBuf),
    /// In a pool.
    Pool(PoolPath),
}

impl Location {
    /// Reads an argument: `POOL:/path`, or else a path on the host.
    pub fn parse(argument: &OsStr) -> Result<Location> {
        if argument.is_empty() {
            return Err(Failure::usage("an empty path", "''", "name a file"));
        }
        match PoolPath::parse(argument) {
            Some(_) => PoolPath::required(argument).map(Location::Pool),
            None => Ok(Location::Host(PathBuf::from(argument))),
        }
    }
}

/// The arguments as paths in pools.
pub fn required(arguments: &[OsString]) -> Result<Vec<PoolPath>> {
    arguments.iter().map(|argument| PoolPath::required(argument)).collect()
}

/// The last name of a path as it was written, if it has one: not the root, `.` or `..`.
pub fn last_name(path: &Path) -> Option<&OsStr> {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/')? + 1;
    let start = bytes[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let name = &bytes[start..end];
    (name != b"." && name != b"..").then(|| OsStr::from_bytes(name))
}

fn shown(argument: &OsStr) -> impl fmt::Display + '_ {
    Path::new(argument).display()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_paths_are_told_from_host_paths() {
        for (argument, pool, path) in [
            ("p.img:/a/b", "p.img", "/a/b"),
            ("p.img:", "p.img", "/"),
            ("p.img:/", "p.img", "/"),
            ("/dev/dax0.0:/a", "/dev/dax0.0", "/a"),
            ("a:b:/c:/d", "a:b", "/c:/d"),
            ("p:/a:", "p", "/a:"),
        ] {
            let expected = PoolPath { pool: pool.into(), path: path.into() };
            assert_eq!(PoolPath::parse(argument.as_ref()), Some(expected), "{argument}");
        }
        for argument in ["a", "a/b", "a:b", "/x/y:z", ""] {
            assert_eq!(PoolPath::parse(argument.as_ref()), None, "{argument}");
        }
    }

    #[test]
    fn a_pool_is_required() {
        for (argument, what) in [(":/a", "no pool"), (":", "no pool"), ("/etc", "not a path in")] {
            let failure = PoolPath::required(argument.as_ref()).unwrap_err().to_string();
            assert!(failure.contains(what), "{failure}");
        }
        assert!(Location::parse(":/a".as_ref()).is_err());
        assert!(Location::parse("".as_ref()).is_err());
    }

    #[test]
    fn last_names() {
        for (path, name) in [
            ("/a/b", Some("b")),
            ("/a/b/", Some("b")),
            ("b", Some("b")),
            ("/", None),
            ("", None),
            ("a/.", None),
            ("..", None),
            ("a/..b", Some("..b")),
        ] {
            assert_eq!(last_name(Path::new(path)), name.map(OsStr::new), "{path}");
        }
    }
}
