//! `limpid rm`: remove files.

use std::ffi::OsString;

use clap::Args;

use crate::failure::{At, Failure, Result};
use crate::pool_path::{self, PoolPath, last_name};
use crate::pools::{Access, Pools};

/// Remove files of a pool
#[derive(Args)]
pub struct Rm {
    /// POOL:/path of each file
    #[arg(required = true)]
    paths: Vec<OsString>,
    /// Remove directories with all that is in them
    #[arg(short, short_alias = 'R', long)]
    recursive: bool,
}

impl Rm {
    pub fn run(self) -> Result<()> {
        let paths = pool_path::required(&self.paths)?;
        // Nothing is removed if a path among them cannot be meant.
        paths.iter().try_for_each(refuse_root)?;
        let mut pools = Pools::default();
        for path in &paths {
            let pool = pools.get(&path.pool, Access::Write)?;
            let metadata = pool.symlink_metadata(&path.path).at(path)?;
            if !metadata.is_dir() {
                pool.remove_file(&path.path).at(path)?;
            } else if self.recursive {
                pool.remove_dir_all(&path.path).at(path)?;
            } else {
                return Err(Failure::new("is a directory", path, "use -r to remove it"));
            }
        }
        Ok(())
    }
}

/// The root has no name to remove; nor have `.` and `..`, which may lead there.
fn refuse_root(path: &PoolPath) -> Result<()> {
    match last_name(&path.path) {
        Some(_) => Ok(()),
        None => {
            Err(Failure::new("refusing to remove the root, '.' or '..'", path, "name a file in it"))
        }
    }
}
