//! Goal: the kernel is told of the inode that a name stands for, never of another one that got its
//! number before the kernel was told.
//! Method: the library makes and removes two names in turn, so that they use one number, while
//! programs look one of them up and list the directory through the mount. What they see of a name
//! is what that name's file can be.

mod common;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use common::Mounted;
use limpid_fuse::MountOptions;

const ROUNDS: u32 = 1000;

/// Ends the other threads, also when the first one panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn names_made_by_the_library_in_turn() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (mounted, done) = (&mounted, &done);
        scope.spawn(move || {
            let _done = Done(done);
            for _ in 0..ROUNDS {
                mounted.pool.create_dir("dir", 0o751).unwrap();
                mounted.pool.remove_dir("dir").unwrap();
                mounted.pool.symlink("nowhere", "link").unwrap();
                mounted.pool.remove_file("link").unwrap();
            }
        });
        scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                match fs::symlink_metadata(mounted.path("dir")) {
                    Ok(found) => assert!(found.is_dir() && found.mode() & 0o777 == 0o751),
                    Err(error) => assert_ne!(error.kind(), ErrorKind::NotADirectory, "{error}"),
                }
                match fs::read_link(mounted.path("link")) {
                    Ok(target) => assert_eq!(target.to_str(), Some("nowhere")),
                    Err(error) => assert_ne!(error.kind(), ErrorKind::InvalidInput, "{error}"),
                }
            }
        });
        scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                for entry in fs::read_dir(mounted.path("")).unwrap() {
                    let entry = entry.unwrap();
                    let kind = entry.file_type().unwrap();
                    assert_eq!(entry.file_name() == "dir", kind.is_dir());
                }
            }
        });
    });
    assert!(fs::read_dir(mounted.path("")).unwrap().next().is_none());
    mounted.finish();
}
