//! Goal: whoever meets a full disk under a pool is told whose disk is full, can look at all that is
//! in the pool and copy it out, and goes on when there is room.
//!
//! Method: the commands, and a mount, with a sparse pool on a small file system that is filled.

mod common;
#[path = "../../limpid/tests/common/small_disk.rs"]
mod small_disk;

use std::fs;
use std::io::ErrorKind;

use common::Sandbox;
use common::mount::{MountPoint, can_mount};
use small_disk::{KINDS, SmallDisk};

#[test]
fn a_full_host_is_told_and_readers_need_no_room() {
    for kind in KINDS {
        let Some(disk) = SmallDisk::new(kind) else { continue };
        let sandbox = Sandbox::new();
        let pool = disk.path("pool").display().to_string();
        let inside = |name: &str| format!("{pool}:/{name}");
        sandbox.ok(&["mkfs", &pool, "--size", "128MiB"]);
        sandbox.write("small", "small");
        sandbox.write("large", vec![1; 4 << 20]);
        sandbox.ok(&["cp", "small", &inside("small")]);
        disk.fill();

        let told =
            sandbox.fails(&["cp", "large", &inside("large")], "the disk that holds the pool");
        assert!(told.stderr.contains("make room"), "{}", told.stderr);
        assert_eq!(sandbox.ok(&["cat", &inside("small")]).text(), "small");
        sandbox.ok(&["ls", "-l", &inside("")]);
        sandbox.ok(&["df", &pool]);
        sandbox.ok(&["info", &pool]);
        sandbox.ok(&["fsck", &pool]);
        sandbox.ok(&["cp", &inside("small"), "out"]);
        assert_eq!(sandbox.read("out"), b"small");
        if can_mount() {
            through_a_mount(&sandbox, &disk, &pool);
        } else {
            disk.make_room();
        }
        sandbox.ok(&["cp", "large", &inside("large")]);
        sandbox.ok(&["fsck", &pool]);
    }
}

fn through_a_mount(sandbox: &Sandbox, disk: &SmallDisk, pool: &str) {
    let dir = MountPoint::new(sandbox, "dir");
    sandbox.ok(&["mount", pool, "dir", "-o", "ro"]);
    assert_eq!(fs::read(dir.path.join("small")).unwrap(), b"small");
    sandbox.ok(&["umount", "dir"]);
    sandbox.ok(&["mount", pool, "dir"]);
    for _ in 0..2 {
        let error = fs::write(dir.path.join("large"), vec![1; 4 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        assert_eq!(fs::read(dir.path.join("small")).unwrap(), b"small");
    }
    let space = rustix::fs::statvfs(&dir.path).unwrap();
    assert!(space.f_bavail * space.f_frsize < 1 << 20, "df tells what the host has left");
    disk.make_room();
    fs::write(dir.path.join("large"), vec![2; 4 << 20]).unwrap();
    sandbox.ok(&["umount", "dir"]);
}
