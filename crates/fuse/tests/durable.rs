//! Goal: with `sync` every change is durable when it returns, with `dirsync` every change of names,
//! also where that is asked for by mounting anew.
//!
//! Method: a pool in a file on a disk; after each change the host counts the pages of that file it
//! has yet to write (cachestat, Linux 6.5). The canary is the same count without the promise.

mod common;

use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use common::calls::unwritten;
use common::cannot_mount;
use limpid::PoolOptions;
use limpid_fuse::{Mount, MountOptions, mount, mounted_options, remount};
use rustix::fs::{CWD, FallocateFlags, FileType, Mode, OFlags, XattrFlags};

type Change = fn(&Path);

/// Changes of names. What loses its last name is held, since its end is another change, later.
const NAMES: [(&str, Change); 8] = [
    ("create", |dir| drop(File::create_new(dir.join("created")).unwrap())),
    ("mkdir", |dir| fs::create_dir(dir.join("d")).unwrap()),
    ("mknod", |dir| {
        rustix::fs::mknodat(CWD, dir.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    }),
    ("symlink", |dir| std::os::unix::fs::symlink("f", dir.join("link")).unwrap()),
    ("link", |dir| fs::hard_link(dir.join("f"), dir.join("second")).unwrap()),
    ("rename", |dir| fs::rename(dir.join("second"), dir.join("third")).unwrap()),
    ("unlink", |dir| fs::remove_file(dir.join("third")).unwrap()),
    ("rmdir", |dir| fs::remove_dir(dir.join("d")).unwrap()),
];

fn open(dir: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(dir.join("f")).unwrap()
}

/// Changes of bytes and attributes.
const OTHERS: [(&str, Change); 10] = [
    ("write", |dir| open(dir).write_all_at(b"bytes", 5000).unwrap()),
    ("truncate", |dir| open(dir).set_len(9000).unwrap()),
    ("allocate", |dir| {
        rustix::fs::fallocate(open(dir), FallocateFlags::empty(), 0, 40_000).unwrap();
    }),
    ("copy_file_range", |dir| {
        let file = open(dir);
        let (mut from, mut to) = (0, 8192);
        rustix::fs::copy_file_range(&file, Some(&mut from), &file, Some(&mut to), 4096).unwrap();
    }),
    ("punch", |dir| {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(open(dir), how, 4096, 4096).unwrap();
    }),
    ("chmod", |dir| {
        fs::set_permissions(dir.join("f"), fs::Permissions::from_mode(0o640)).unwrap();
    }),
    ("chown", |dir| {
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        rustix::fs::chown(dir.join("f"), Some(uid), Some(gid)).unwrap();
    }),
    ("utimes", |dir| open(dir).set_modified(SystemTime::UNIX_EPOCH).unwrap()),
    ("setxattr", |dir| {
        rustix::fs::setxattr(dir.join("f"), "user.a", b"value", XattrFlags::empty()).unwrap();
    }),
    ("removexattr", |dir| rustix::fs::removexattr(dir.join("f"), "user.a").unwrap()),
];

/// A mounted pool in a file.
struct Durable {
    folder: tempfile::TempDir,
    file: File,
    mount: Option<Mount>,
}

impl Durable {
    /// None where it cannot be tested, which is said.
    fn new(options: MountOptions) -> Option<Durable> {
        // The build folder is on a disk where /tmp may be memory, which is never written.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("pool");
        let pool = PoolOptions::new().create(&path, 16 << 20).unwrap();
        let dir = folder.path().join("dir");
        fs::create_dir(&dir).unwrap();
        pool.sync().unwrap();
        let file = File::open(path).unwrap();
        match unwritten(&file) {
            Ok(0) => {}
            Ok(_) => {
                eprintln!("skipped: the build folder lies in memory, which is never clean");
                return None;
            }
            Err(error) => {
                eprintln!("skipped: cachestat: {error}");
                return None;
            }
        }
        match mount(pool, &dir, options) {
            Ok(mount) => Some(Durable { folder, file, mount: Some(mount) }),
            Err(error) if cannot_mount(&error) => {
                eprintln!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn dir(&self) -> std::path::PathBuf {
        self.folder.path().join("dir")
    }

    /// Makes changes; those that leave the host something to write.
    fn left_by(&self, changes: &[(&'static str, Change)]) -> Vec<&'static str> {
        let dir = self.dir();
        let held: Vec<OwnedFd> = ["f", "d"].iter().filter_map(|name| hold(&dir, name)).collect();
        let mut left = Vec::new();
        for (name, change) in changes {
            let before = (*name == "rmdir").then(|| hold(&dir, "d"));
            change(&dir);
            if unwritten(&self.file).unwrap() > 0 {
                left.push(*name);
            }
            drop(before);
        }
        drop(held);
        left
    }

    fn finish(mut self) {
        if let Err((_, error)) = self.mount.take().expect("mounted once").unmount() {
            panic!("{error}");
        }
    }
}

fn hold(dir: &Path, name: &str) -> Option<OwnedFd> {
    rustix::fs::open(dir.join(name), OFlags::PATH, Mode::empty()).ok()
}

#[test]
fn sync_and_dirsync_leave_nothing_to_write() {
    let Some(durable) = Durable::new(MountOptions { sync: true, ..MountOptions::default() }) else {
        return;
    };
    fs::write(durable.dir().join("f"), [7; 20_000]).unwrap();
    assert_eq!(durable.left_by(&OTHERS), Vec::<&str>::new());
    assert_eq!(durable.left_by(&NAMES), Vec::<&str>::new());
    durable.finish();

    let options = MountOptions { dirsync: true, ..MountOptions::default() };
    let Some(durable) = Durable::new(options) else { return };
    fs::write(durable.dir().join("f"), [7; 20_000]).unwrap();
    assert_eq!(durable.left_by(&NAMES), Vec::<&str>::new());
    assert_ne!(durable.left_by(&OTHERS), Vec::<&str>::new(), "nobody asked for these");
    durable.finish();
}

#[test]
fn mounting_anew_changes_what_is_durable() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root mounts anew");
    }
    let Some(durable) = Durable::new(MountOptions::default()) else { return };
    fs::write(durable.dir().join("f"), [7; 20_000]).unwrap();
    assert_ne!(durable.left_by(&NAMES[..1]), Vec::<&str>::new(), "the canary");
    let has = mounted_options(&durable.dir()).unwrap();
    assert!(!has.sync && !has.dirsync && !has.suid && has.exec && !has.read_only);
    remount(&durable.dir(), &MountOptions { dirsync: true, ..has.clone() }).unwrap();
    assert_eq!(durable.left_by(&NAMES[1..4]), Vec::<&str>::new());
    // Read-only in between: what is told of the mount when it can be changed again counts.
    let sync = MountOptions { sync: true, ..has.clone() };
    remount(&durable.dir(), &MountOptions { read_only: true, ..has.clone() }).unwrap();
    remount(&durable.dir(), &sync).unwrap();
    assert!(mounted_options(&durable.dir()).unwrap().sync);
    assert_eq!(durable.left_by(&OTHERS), Vec::<&str>::new());
    remount(&durable.dir(), &has).unwrap();
    assert_ne!(durable.left_by(&NAMES[4..5]), Vec::<&str>::new());
    durable.finish();
}
