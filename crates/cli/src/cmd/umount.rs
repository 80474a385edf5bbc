//! `limpid umount`: take a mounted pool away.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use clap::Args;

use super::mount::failure;
use crate::failure::{Failure, Result};

/// How long the process behind a mount may take to answer before the user is told.
const PATIENCE: Duration = Duration::from_secs(10);

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
        let (done, wait) = channel::<()>();
        let place = self.dir.display().to_string();
        let tell = move || {
            if let Err(RecvTimeoutError::Timeout) = wait.recv_timeout(PATIENCE) {
                let what = "the process behind the mount does not answer, or takes long to end";
                let advice = "wait for it, or take the mount away without asking: '--lazy'";
                eprintln!("{}", Failure::new(what, place, advice));
            }
        };
        // Without the thread nobody is told, which is all.
        let _ = std::thread::Builder::new().name("limpid-patience".to_owned()).spawn(tell);
        let unmounted = limpid_fuse::unmount(&self.dir, self.lazy);
        drop(done);
        unmounted.map_err(|error| failure(&error, &self.dir))
    }
}
