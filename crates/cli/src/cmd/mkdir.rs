//! `limpid mkdir`: make directories.

use std::ffi::OsString;

use clap::Args;

use crate::failure::{At, Result};
use crate::pool_path;
use crate::pools::{Access, Pools};

/// Make directories in a pool
#[derive(Args)]
pub struct Mkdir {
    /// POOL:/path of each directory
    #[arg(required = true)]
    paths: Vec<OsString>,
    /// Make those above it too; what exists already is no error
    #[arg(short, long)]
    parents: bool,
}

const MODE: u32 = 0o755;

impl Mkdir {
    pub fn run(self) -> Result<()> {
        let mut pools = Pools::default();
        for path in pool_path::required(&self.paths)? {
            let pool = pools.get(&path.pool, Access::Write)?;
            if self.parents {
                pool.create_dir_all(&path.path, MODE).at(&path)?;
            } else {
                pool.create_dir(&path.path, MODE).at(&path)?;
            }
        }
        Ok(())
    }
}
