//! Goal: `limpid fsck` tells what is wrong and how it ended, by its exit code, its lines and its
//! JSON; without --repair it changes nothing. Method: sound, damaged and foreign pools.

mod common;

use std::fs;

use common::Sandbox;

/// A sandbox with a pool that holds a file and a directory, and was closed.
fn furnished() -> Sandbox {
    let sandbox = Sandbox::with_pool();
    sandbox.write("f", "hello");
    sandbox.ok(&["mkdir", "p:/d"]);
    sandbox.ok(&["cp", "f", "p:/d/f"]);
    sandbox
}

/// Overwrites bytes of the pool.
fn damage(sandbox: &Sandbox, at: usize, bytes: &[u8]) {
    let mut image = sandbox.read("p");
    image[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(sandbox.path("p"), image).unwrap();
}

#[test]
fn a_sound_pool_ends_with_0() {
    let sandbox = furnished();
    let text = sandbox.ok(&["fsck", "p"]);
    assert!(text.text().starts_with("p: sound; 1 file, 2 directories, "), "{}", text.text());
    let before = sandbox.read("p");
    let json = sandbox.ok(&["fsck", "--json", "p"]).json();
    assert_eq!((&json["sound"], &json["files"]), (&true.into(), &1.into()));
    assert!(sandbox.read("p") == before, "a check changed the pool");
    sandbox.ok(&["fsck", "--repair", "p"]);
    assert_eq!(sandbox.ok(&["cat", "p:/d/f"]).stdout, b"hello");
}

#[test]
fn damage_is_left_with_4_and_repaired_with_1() {
    // The root of the inode table, the free inodes, the backup superblock.
    let places =
        [(4096 + 64, "inode-table"), (4096 + 1024, "broken"), ((64 << 20) - 4096, "broken")];
    for (at, kind) in places {
        let sandbox = furnished();
        damage(&sandbox, at, &[0x55; 60]);
        let before = sandbox.read("p");
        let ended = sandbox.run(&["fsck", "--json", "p"]);
        assert_eq!(ended.code, 4, "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        let problems = ended.json()["problems"].clone();
        let kinds: Vec<&str> =
            problems.as_array().unwrap().iter().filter_map(|p| p["kind"].as_str()).collect();
        assert!(kinds.contains(&kind), "{kinds:?}");
        assert!(sandbox.read("p") == before, "a check changed the pool");
        let ended = sandbox.run(&["fsck", "--repair", "p"]);
        assert_eq!((ended.code, ended.stderr.as_str()), (1, ""), "{}", ended.text());
        sandbox.ok(&["fsck", "p"]);
        assert_eq!(sandbox.ok(&["cat", "p:/d/f"]).stdout, b"hello");
    }
}

#[test]
fn what_cannot_be_checked_ends_with_8() {
    let sandbox = furnished();
    sandbox.write("text", "not a pool, but long enough to be looked at. ".repeat(200));
    for (pool, what) in [("text", "not a pool"), ("none", "no such pool"), (".", "neither")] {
        for arguments in [&["fsck", pool][..], &["fsck", "--repair", pool]] {
            assert_eq!(sandbox.fails(arguments, what).code, 8, "{arguments:?}");
        }
    }
    let owner = limpid::Pool::open(sandbox.path("p")).unwrap();
    for arguments in [&["fsck", "p"][..], &["fsck", "--repair", "p"]] {
        assert_eq!(sandbox.fails(arguments, "in use by process").code, 8, "{arguments:?}");
    }
    drop(owner);
    sandbox.ok(&["fsck", "p"]);
    let both = sandbox.read("p").len() - 4096;
    damage(&sandbox, 100, &[0x55; 60]);
    damage(&sandbox, both + 100, &[0x55; 60]);
    for arguments in [&["fsck", "p"][..], &["fsck", "--repair", "p"]] {
        assert_eq!(sandbox.fails(arguments, "Superblock").code, 8, "{arguments:?}");
    }
}
