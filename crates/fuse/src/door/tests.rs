//! Goal: a panic in one request is an error of that request, and of no other.
//! Method: a file system of a few files, mounted; to look one of its names up panics. Both before
//! and after, and from several threads at once, others are served.

use std::fs;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{Config, Errno, FileAttr, FileType, Generation, spawn_mount};

use super::*;

/// Panics at some requests.
struct Fragile {
    panics: AtomicU32,
}

const TTL: Duration = Duration::ZERO;

fn attr(ino: INodeNo) -> FileAttr {
    let kind = if ino.0 == 1 { FileType::Directory } else { FileType::RegularFile };
    FileAttr {
        ino,
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Fragile {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.to_str() {
            Some("panics") => {
                self.panics.fetch_add(1, Ordering::Relaxed);
                panic!("as it was asked to");
            }
            Some("there") => reply.entry(&TTL, &attr(INodeNo(2)), Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attr(ino));
    }
}

#[test]
fn a_panic_is_the_error_of_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.n_threads = Some(2);
    config.clone_fd = true;
    let door = Door(Fragile { panics: AtomicU32::new(0) });
    let mount = match spawn_mount(door, folder.path(), &config) {
        Ok(mount) => mount,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert!(fs::metadata(folder.path().join("there")).is_ok());
                    let error = fs::metadata(folder.path().join("panics")).unwrap_err();
                    assert_eq!(error.raw_os_error(), Some(5), "{error}");
                    let error = fs::metadata(folder.path().join("nothing")).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::NotFound);
                }
            });
        }
    });
    drop(mount);
}

#[test]
fn a_part_that_ends_well_is_passed_through() {
    assert_eq!(guarded("read", || 7), Some(7));
    assert_eq!(guarded("read", || -> u32 { panic!("as it was asked to") }), None);
}
