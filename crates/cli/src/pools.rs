//! Opening the pools a command line names, each once: a pool in use is refused, and this process
//! is no exception.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use limpid::{Pool, PoolOptions};

use crate::failure::{self, Failure, Result};

/// What a command does with a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It only looks. Other readers may share the pool.
    Read,
    /// It changes files.
    Write,
}

/// The pools that are open.
#[derive(Default)]
pub struct Pools {
    open: Vec<(PathBuf, Pool)>,
}

impl Pools {
    /// The pool at `path`, opened if it is not open yet. A pool that is both written and read has
    /// to be asked for writing first.
    pub fn get(&mut self, path: &Path, access: Access) -> Result<Pool> {
        if let Some(pool) = self.find(path) {
            return Ok(pool.clone());
        }
        let pool = open(path, access)?;
        self.open.push((key(path), pool.clone()));
        Ok(pool)
    }

    /// Whether the pool at `path` is open.
    pub fn is_open(&self, path: &Path) -> bool {
        self.find(path).is_some()
    }

    fn find(&self, path: &Path) -> Option<&Pool> {
        let key = key(path);
        self.open.iter().find(|(open, _)| *open == key).map(|(_, pool)| pool)
    }
}

/// One path for all the ways to write it.
pub fn key(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Opens the pool at `path`, and tells if that took its backup superblock.
pub fn open(path: &Path, access: Access) -> Result<Pool> {
    let options = PoolOptions::new().read_only(access == Access::Read);
    let pool = options.open(path).map_err(|error| failure::from_open(&error, path))?;
    if pool.info().backup_superblock_used {
        let what = "the first superblock is corrupt, the backup is used";
        eprintln!("{}", Failure::new(what, path.display(), "copy the files to a new pool"));
    }
    Ok(pool)
}

/// Tells who mounts a pool for several users that they reach its files past their modes.
pub fn tell_if_shared(path: &Path) {
    let Ok(metadata) = path.metadata() else { return };
    let mode = metadata.mode() & 0o777;
    if mode & 0o066 != 0 {
        let what =
            format!("the pool's file (mode {mode:04o}) gives others what the modes in it deny");
        let advice = format!("end it with 'chmod go= {}'", path.display());
        eprintln!("{}", Failure::new(what, path.display(), &advice));
    }
}
