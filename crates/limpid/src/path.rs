//! Paths inside a pool: `/`-separated names from the root, with symbolic links followed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use limpid_fs::{FileKind, Fs, FsError, Ino};

/// Symbolic links followed in one walk before it is given up (as Linux).
const MAX_LINKS: u32 = 40;
/// Longest path in bytes (as Linux).
const MAX_PATH: usize = 4096;

/// Where a path leads.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The directory that holds the last name.
    pub dir: Ino,
    /// The last name; empty for the root, `.` and `..` at the end.
    pub name: Vec<u8>,
    /// What is there, if anything.
    pub found: Option<(Ino, FileKind)>,
}

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WalkError {
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error("too many symbolic links")]
    Loop,
}

/// What is done with the last name of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// Looked up; a symbolic link is followed.
    Follow,
    /// Looked up, but a symbolic link is not followed unless the path ends in a slash.
    Stay,
    /// Not looked up: it is about to be created, which finds out whether it exists.
    Create,
}

/// Walks `path`; the last name need not exist.
pub(crate) fn walk(fs: &Fs, path: &Path, last_name: Last) -> Result<Place, WalkError> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= MAX_PATH {
        return Err(FsError::NameTooLong.into());
    }
    if bytes.is_empty() {
        return Err(FsError::NotFound.into());
    }
    let wants_directory = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    let mut todo: Vec<Vec<u8>> = components(bytes);
    let mut dir = fs.root();
    let mut links = 0;
    let root = (fs.root(), FileKind::Directory);
    let mut place = Place { dir, name: Vec::new(), found: Some(root) };
    while let Some(name) = todo.pop() {
        let here = place.found.ok_or(FsError::NotFound)?;
        if here.1 != FileKind::Directory {
            return Err(FsError::NotDirectory.into());
        }
        dir = here.0;
        if name == b".." {
            let up = fs.parent(dir)?;
            let found = Some((up, FileKind::Directory));
            place = Place { dir: up, name: Vec::new(), found };
            continue;
        }
        let last = todo.is_empty();
        if last && last_name == Last::Create && !wants_directory {
            return Ok(Place { dir, name, found: None });
        }
        let found = match fs.lookup(dir, &name) {
            Ok(found) => Some(found),
            Err(FsError::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        let follow = !last || last_name == Last::Follow || wants_directory;
        match found {
            Some((ino, FileKind::Symlink)) if follow => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(WalkError::Loop);
                }
                let target = fs.read_link(ino)?;
                let start = if target.starts_with(b"/") { fs.root() } else { dir };
                todo.extend(components(&target));
                let found = Some((start, FileKind::Directory));
                place = Place { dir: start, name: Vec::new(), found };
            }
            _ => place = Place { dir, name, found },
        }
    }
    match place.found {
        Some((_, kind)) if wants_directory && kind != FileKind::Directory => {
            Err(FsError::NotDirectory.into())
        }
        _ => Ok(place),
    }
}

/// The names of a path, last first; `.` and empty names are left out.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}

/// Bytes of a name or link target as a path.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
