//! Small file systems of the host, to be filled. Tests of other crates take this file, too.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// What such a file system may be.
pub const KINDS: [&str; 2] = ["tmpfs", "ext4"];
/// Its size in MiB.
const MIB: u64 = 32;

/// A file system of [`MIB`], mounted in a folder of its own; it goes away with this.
pub struct SmallDisk {
    folder: TempDir,
    mounted: PathBuf,
}

impl SmallDisk {
    /// A fresh one of a kind; `None` where this machine does not let the test mount it, which is
    /// said.
    pub fn new(kind: &str) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let (image, mounted) = (folder.path().join("image"), folder.path().join("disk"));
        fs::create_dir(&mounted).unwrap();
        let made = match kind {
            "tmpfs" => {
                run("mount", &["-t", "tmpfs", "-o", &format!("size={MIB}m"), "none"], &mounted)
            }
            _ => {
                File::create(&image).unwrap().set_len(MIB << 20).unwrap();
                let image = image.to_str().unwrap();
                run("mkfs.ext4", &["-q", "-m", "0"], Path::new(image))
                    && run("mount", &["-o", "loop", image], &mounted)
            }
        };
        if !made {
            eprintln!("skipped: this machine lets the test mount no {kind}");
            return None;
        }
        Some(SmallDisk { folder, mounted })
    }

    /// A path on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.mounted.join(name)
    }

    fn ballast(&self) -> PathBuf {
        self.path("ballast")
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        // What others have stored there takes its place now rather than later.
        rustix::fs::sync();
        let mut file = File::options().create(true).append(true).open(self.ballast()).unwrap();
        for len in [1 << 20, 4096] {
            let error = loop {
                if let Err(error) = file.write_all(&vec![0xba; len]) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
        file.sync_all().unwrap();
    }

    /// Makes room again.
    pub fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
        rustix::fs::sync();
    }
}

fn run(program: &str, arguments: &[&str], last: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).arg(last).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if !run("umount", &["-l"], &self.mounted) {
            eprintln!("left mounted: {}", self.mounted.display());
            self.folder.disable_cleanup(true);
        }
    }
}
