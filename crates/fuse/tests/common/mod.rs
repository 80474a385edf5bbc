//! What the tests share: a pool in memory, mounted in a folder of its own.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;

use limpid::Pool;
use limpid_fuse::{Mount, MountError, MountOptions, mount};
use tempfile::TempDir;

pub mod calls;
pub mod client;
pub mod file_handle;
pub mod kernel_map;
pub mod race;
pub mod records;
pub mod worker;

/// Whether the system is why nothing can be mounted.
pub fn cannot_mount(error: &MountError) -> bool {
    use MountError::{HelperRefused, NoFuse, NoHelper, NotPermitted};
    matches!(error, NoFuse(_) | NotPermitted(_) | NoHelper | HelperRefused(_))
}

/// A mounted pool. It goes away with this, even if a test fails.
pub struct Mounted {
    pub pool: Pool,
    mount: Option<Mount>,
    folder: Option<TempDir>,
}

impl Mounted {
    /// A new pool of 256 MiB, mounted; `None` where the system cannot mount, which is said.
    pub fn new(options: MountOptions) -> Option<Mounted> {
        Mounted::with(Pool::memory(256 << 20).unwrap(), options)
    }

    /// A pool, mounted; as above.
    pub fn with(pool: Pool, options: MountOptions) -> Option<Mounted> {
        let folder = tempfile::tempdir().unwrap();
        match mount(pool.clone(), folder.path(), options) {
            Ok(mount) => Some(Mounted { pool, mount: Some(mount), folder: Some(folder) }),
            Err(error) if cannot_mount(&error) => {
                eprintln!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A path in the mount.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.as_ref().expect("mounted").path().join(name)
    }

    /// Unmounts and mounts again: the kernel knows nothing any more.
    pub fn again(&mut self) {
        if let Err((_, error)) = self.mount.take().expect("mounted").unmount() {
            panic!("{error}");
        }
        let folder = self.folder.as_ref().expect("mounted").path();
        self.mount = Some(mount(self.pool.clone(), folder, MountOptions::default()).unwrap());
    }

    /// Unmounts; what is left of the pool has to be in order.
    pub fn finish(mut self) {
        let mount = self.mount.take().expect("mounted once");
        if let Err((_, error)) = mount.unmount() {
            panic!("{error}");
        }
        assert_eq!(self.pool.check().unwrap(), Vec::<String>::new());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(self.mount.take());
        if let Some(folder) = self.folder.take() {
            // The folder is empty once the mount is gone; were it not, nothing in it may be lost.
            let path = folder.keep();
            let _ = std::fs::remove_dir(path);
        }
    }
}
