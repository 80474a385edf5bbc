//! `limpid umount`: take a mounted pool away.

use std::path::PathBuf;

use clap::Args;

use super::mount::failure;
use crate::failure::Result;

/// Unmount a pool
#[derive(Args)]
pub struct Umount {
    /// The directory at which it is mounted
    dir: PathBuf,
    /// Unmount for everybody who comes; who has files open keeps them
    #[arg(short = 'z', visible_short_alias = 'l', long)]
    lazy: bool,
    /// Taken from umount(8), which passes them to its helpers.
    #[arg(short = 'n', hide = true)]
    no_table: bool,
    #[arg(short = 'v', hide = true)]
    verbose: bool,
    #[arg(short = 'f', hide = true)]
    force: bool,
    #[arg(short = 't', hide = true)]
    fs_type: Option<String>,
}

impl Umount {
    pub fn run(self) -> Result<()> {
        limpid_fuse::unmount(&self.dir, self.lazy).map_err(|error| failure(&error, &self.dir))
    }
}
