//! Goal: a copy keeps all that belongs to a file, in every direction. Method: a tree with one of
//! everything goes from the host to a pool, to another pool and back, and is compared each time.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use common::{Sandbox, is_root, odd_name, picture};
use limpid::PoolOptions;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

/// A tree with one of everything.
fn plant(sandbox: &Sandbox) {
    sandbox.write("tree/plain", "hello");
    sandbox.write("tree/empty", "");
    sandbox.write("tree/sub/deep/file", vec![9; 10_000]);
    fs::write(sandbox.path("tree").join(odd_name()), "odd").unwrap();
    let long_name = "n".repeat(255);
    sandbox.write(&format!("tree/{long_name}"), "long");
    fs::hard_link(sandbox.path("tree/plain"), sandbox.path("tree/sub/other")).unwrap();
    symlink("plain", sandbox.path("tree/link")).unwrap();
    symlink("/nowhere/at/all", sandbox.path("tree/dangling")).unwrap();
    symlink("sub", sandbox.path("tree/link to directory")).unwrap();
    let sparse = fs::File::create(sandbox.path("tree/sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.write_all_at(b"middle", 5 << 20).unwrap();
    sparse.set_len(16 << 20).unwrap();
    let fifo = sandbox.path("tree/fifo");
    rustix::fs::mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    if is_root() {
        let device = sandbox.path("tree/null");
        let number = rustix::fs::makedev(1, 3);
        let made = rustix::fs::mknodat(CWD, device, FileType::CharacterDevice, Mode::RUSR, number);
        if made.is_err() {
            eprintln!("skipped: device nodes cannot be made here");
        }
        rustix::fs::chown(sandbox.path("tree/sub"), uid(1234), gid(5678)).unwrap();
    }
    for (name, mode) in [("plain", 0o4751), ("sub/deep", 0o2710), ("empty", 0o000)] {
        let path = sandbox.path("tree").join(name);
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    for (name, time) in [("plain", 1), ("sparse", 1_234_567_890), ("sub", 4_000_000_000)] {
        let stamp = UNIX_EPOCH + Duration::new(time, 987_654_321);
        let file = fs::File::open(sandbox.path("tree").join(name)).unwrap();
        file.set_modified(stamp).unwrap();
    }
}

fn uid(raw: u32) -> Option<rustix::fs::Uid> {
    Some(rustix::fs::Uid::from_raw(raw))
}

fn gid(raw: u32) -> Option<rustix::fs::Gid> {
    Some(rustix::fs::Gid::from_raw(raw))
}

/// Bytes of storage that a file uses.
fn stored(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn everything_is_kept_from_host_to_pool_to_pool_to_host() {
    let sandbox = Sandbox::with_pool();
    sandbox.ok(&["mkfs", "q", "--size", "64MiB"]);
    plant(&sandbox);
    let original = picture::of_host(&sandbox.path("tree"));

    sandbox.ok(&["cp", "-r", "tree", "p:/copy"]);
    {
        let pool = PoolOptions::new().read_only(true).open(sandbox.path("p")).unwrap();
        picture::assert_same(&original, &picture::of_pool(&pool, Path::new("/copy")), "into p");
        let sparse = pool.metadata("/copy/sparse").unwrap();
        assert!(sparse.blocks < 64, "holes were filled: {} blocks", sparse.blocks);
    }

    sandbox.ok(&["cp", "-r", "p:/copy", "q:/"]);
    {
        let pool = PoolOptions::new().read_only(true).open(sandbox.path("q")).unwrap();
        picture::assert_same(&original, &picture::of_pool(&pool, Path::new("/copy")), "p to q");
        assert!(pool.metadata("/copy/sparse").unwrap().blocks < 64);
    }

    sandbox.ok(&["cp", "-r", "q:/copy", "back"]);
    picture::assert_same(&original, &picture::of_host(&sandbox.path("back")), "back from q");
    if stored(&sandbox.path("tree/sparse")) < 1 << 20 {
        assert!(stored(&sandbox.path("back/sparse")) < 1 << 20, "holes were filled");
    } else {
        eprintln!("skipped: the host's file system keeps no holes");
    }

    sandbox.ok(&["cp", "-r", "q:/copy", "q:/again"]);
    let pool = PoolOptions::new().read_only(true).open(sandbox.path("q")).unwrap();
    picture::assert_same(&original, &picture::of_pool(&pool, Path::new("/again")), "in q");
}

#[test]
fn extended_attributes_are_kept() {
    let sandbox = Sandbox::with_pool();
    let file = sandbox.write("tree/f", "x");
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
    };
    if let Err(error) = set(&file, "user.colour", b"blue\0\xff") {
        eprintln!("skipped: the host's file system has no extended attributes: {error}");
        return;
    }
    set(&file, "user.long", &[7; 2000]).unwrap();
    set(&file, "user.empty", b"").unwrap();
    set(&sandbox.path("tree"), "user.of-directory", b"1").unwrap();
    let original = picture::of_host(&sandbox.path("tree"));
    assert_eq!(original[Path::new("f")].xattrs.len(), 3);

    sandbox.ok(&["cp", "-r", "tree", "p:/"]);
    let stat = sandbox.ok(&["stat", "--json", "p:/tree/f"]).json();
    assert_eq!(stat["xattrs"], serde_json::json!(["user.colour", "user.empty", "user.long"]));
    sandbox.ok(&["cp", "-r", "p:/tree", "back"]);
    picture::assert_same(&original, &picture::of_host(&sandbox.path("back")), "back");
}
