//! `limpid ln`: give a file another name, or make a symbolic link.

use std::ffi::OsString;
use std::path::Path;

use clap::Args;
use limpid::Pool;

use crate::failure::{At, Failure, Result};
use crate::pool_path::{PoolPath, last_name};
use crate::pools::{Access, Pools};

/// Give a file of a pool another name
#[derive(Args)]
pub struct Ln {
    /// POOL:/path of the file; with -s the text of the link
    target: OsString,
    /// POOL:/path of the new name, or of a directory to put it into
    link: OsString,
    /// Make a symbolic link
    #[arg(short, long)]
    symbolic: bool,
}

impl Ln {
    pub fn run(self) -> Result<()> {
        let link = PoolPath::required(&self.link)?;
        let mut pools = Pools::default();
        if self.symbolic {
            let pool = pools.get(&link.pool, Access::Write)?;
            let target = Path::new(&self.target);
            let link = name_in(&pool, link, target)?;
            return pool.symlink(target, &link.path).at(&link);
        }
        let target = PoolPath::required(&self.target)?;
        let pool = pools.get(&link.pool, Access::Write)?;
        if !pools.is_open(&target.pool) {
            let advice = "use -s, or copy it";
            return Err(Failure::new("a link cannot lead to another pool", &link, advice));
        }
        let metadata = pool.symlink_metadata(&target.path).at(&target)?;
        if metadata.is_dir() {
            return Err(Failure::new("a directory has one name only", &target, "use -s"));
        }
        let link = name_in(&pool, link, &target.path)?;
        pool.hard_link(&target.path, &link.path).at(&link)
    }
}

/// The link itself, or if it is a directory, the target's name in it.
fn name_in(pool: &Pool, link: PoolPath, target: &Path) -> Result<PoolPath> {
    let is_directory = pool.metadata(&link.path).is_ok_and(|metadata| metadata.is_dir());
    match last_name(target).filter(|_| is_directory) {
        Some(name) => Ok(PoolPath { path: link.path.join(name), ..link }),
        None => Ok(link),
    }
}
