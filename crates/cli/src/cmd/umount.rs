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
    #[arg(short = 'z', long)]
    lazy: bool,
}

impl Umount {
    pub fn run(self) -> Result<()> {
        limpid_fuse::unmount(&self.dir, self.lazy).map_err(|error| failure(&error, &self.dir))
    }
}
