//! `limpid cat`: the bytes of files.

use std::ffi::OsString;

use clap::Args;
use limpid::File;

use crate::failure::{At, Result};
use crate::output::Output;
use crate::pool_path;
use crate::pools::{Access, Pools};

/// Write files of a pool to standard output
#[derive(Args)]
pub struct Cat {
    /// POOL:/path of each file
    #[arg(required = true)]
    paths: Vec<OsString>,
}

const CHUNK: usize = 1 << 20;

impl Cat {
    pub fn run(self) -> Result<()> {
        let mut pools = Pools::default();
        let mut output = Output::stdout();
        let mut buffer = vec![0; CHUNK];
        for path in pool_path::required(&self.paths)? {
            let pool = pools.get(&path.pool, Access::Read)?;
            let kind = pool.metadata(&path.path).at(&path)?.kind;
            super::expect_file(kind, &path)?;
            let file = File::open(&pool, &path.path).at(&path)?;
            let mut offset = 0;
            loop {
                let read = file.read_at(&mut buffer, offset).at(&path)?;
                if read == 0 {
                    break;
                }
                output.bytes(&buffer[..read])?;
                offset += read as u64;
            }
        }
        output.finish()
    }
}
