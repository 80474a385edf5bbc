//! `limpid truncate`: set the size of files.

use std::ffi::OsString;

use clap::Args;
use limpid::OpenOptions;
use rustix::io::Errno;

use crate::failure::{At, Result};
use crate::pool_path;
use crate::pools::{Access, Pools};
use crate::size;

/// Set the size of files of a pool, and create those that do not exist
#[derive(Args)]
pub struct Truncate {
    /// The size, like 64K or 1.5GiB; what is added is a hole
    #[arg(short, long, value_parser = size::parse, allow_hyphen_values = true)]
    size: u64,
    /// POOL:/path of each file
    #[arg(required = true)]
    paths: Vec<OsString>,
}

impl Truncate {
    pub fn run(self) -> Result<()> {
        let mut pools = Pools::default();
        for path in pool_path::required(&self.paths)? {
            let pool = pools.get(&path.pool, Access::Write)?;
            if let Ok(metadata) = pool.metadata(&path.path) {
                super::expect_file(metadata.kind, &path)?;
            }
            let open = |new| OpenOptions::new().write(true).create(new).open(&pool, &path.path);
            let (file, is_new) = match open(false) {
                Err(error) if error.errno() == Errno::NOENT.raw_os_error() => (open(true), true),
                file => (file, false),
            };
            let sized = file.at(&path)?.set_len(self.size);
            // A size that cannot be given makes no file, but for one behind a dangling link.
            let is_file = || pool.symlink_metadata(&path.path).is_ok_and(|found| found.is_file());
            if sized.is_err() && is_new && is_file() {
                let _ = pool.remove_file(&path.path);
            }
            sized.at(&path)?;
        }
        Ok(())
    }
}
