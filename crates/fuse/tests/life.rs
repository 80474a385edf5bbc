//! Goal: a mount ends as itself. In whatever way the first mount at a directory ends, another that
//! has taken its place stays.
//!
//! Method: the first mount is taken away from the directory by the system call while a file is
//! open there, so that it is served further; a second pool is mounted in its place; and then the
//! first ends in each way there is.

mod common;

use std::fs::{self, File};
use std::sync::mpsc;
use std::time::Duration;

use common::Mounted;
use limpid::Pool;
use limpid_fuse::{Mount, MountError, MountOptions, MountState, look, mount};
use rustix::mount::{UnmountFlags, unmount};

/// What ends is waited for so long.
const LONG: Duration = Duration::from_secs(60);

/// Lets `end` end a mount whose place was taken, given a file that is open on it.
fn replaced(end: impl FnOnce(Mount, File)) {
    // Finds out whether this machine can mount, and says so.
    let Some(possible) = Mounted::new(MountOptions::default()) else { return };
    drop(possible);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let first = mount(Pool::memory(32 << 20).unwrap(), dir, MountOptions::default()).unwrap();
    let file = File::create(dir.join("first")).unwrap();
    if unmount(dir, UnmountFlags::DETACH).is_err() {
        eprintln!("skipped: only root takes mounts away by the system call");
        return;
    }
    let pool = Pool::memory(32 << 20).unwrap();
    let second = mount(pool.clone(), dir, MountOptions::default()).unwrap();
    end(first, file);
    assert!(matches!(look(dir).unwrap(), MountState::Pool { .. }), "the second mount stays");
    fs::write(dir.join("second"), b"here").unwrap();
    assert_eq!(pool.read("/second").unwrap(), b"here");
    second.unmount().map_err(|(_, error)| error).unwrap();
}

/// Waits for the end of a mount, which has to come.
fn wait(mount: Mount) {
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || ended.send(mount.wait()));
    end.recv_timeout(LONG).expect("the first mount ends").unwrap();
}

#[test]
fn its_last_file_is_closed() {
    replaced(|first, file| {
        drop(file);
        wait(first);
    });
}

/// The end meets threads that are just reading a request, which is told by another error than when
/// they sleep: one round of hundreds failed with it.
#[test]
fn it_ends_while_requests_are_read() {
    let Some(possible) = Mounted::new(MountOptions::default()) else { return };
    drop(possible);
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..200 {
        let pool = Pool::memory(32 << 20).unwrap();
        let mount = mount(pool, folder.path(), MountOptions::default()).unwrap();
        let files: Vec<File> = (0..8)
            .map(|number| File::create(folder.path().join(number.to_string())).unwrap())
            .collect();
        mount.detacher().detach().unwrap();
        // The last of them takes the mount with it, while the others' releases are on their way.
        drop(files);
        wait(mount);
    }
}

#[test]
fn it_is_dropped() {
    replaced(|first, file| {
        drop(first);
        drop(file);
    });
}

#[test]
fn it_is_told_to_go() {
    replaced(|first, file| {
        first.detacher().detach().unwrap();
        drop(file);
        wait(first);
    });
}

#[test]
fn it_is_unmounted_though_it_is_not_there() {
    replaced(|first, file| {
        let (first, error) = first.unmount().unwrap_err();
        assert!(matches!(error, MountError::NotMounted { .. }), "{error}");
        drop(file);
        wait(first);
    });
}

#[test]
fn one_that_is_gone_is_unmounted() {
    replaced(|first, file| {
        let detacher = first.detacher();
        drop(file);
        wait(first);
        detacher.detach().unwrap();
    });
}
