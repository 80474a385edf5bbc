//! Goal: everyday programs work on a mount as anywhere else: git, cargo, tar.
//!
//! Method: each does its work inside a mount; what it made is checked by the program's own check,
//! or compared byte by byte with what it was made from. Where a program is missing, that is said.

mod common;
#[path = "common/programs.rs"]
mod programs;

use std::fs;
use std::path::Path;

use common::Sandbox;
use common::mount::{MountPoint, can_mount};
use common::picture::{self, Tree};
use programs::{has, plant, run};

/// A mount, if the machine lets the test mount and has the program.
fn mounted(program: &str) -> Option<(Sandbox, MountPoint)> {
    if !can_mount() || !has(program) {
        return None;
    }
    let sandbox = Sandbox::new();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mount", "p", "dir", "--size", "512MiB"]);
    Some((sandbox, dir))
}

/// Two trees are the same, their times as well if `times`.
fn assert_same(left: &Path, right: &Path, times: bool) {
    let of = |root: &Path| -> Tree {
        let mut tree = picture::of_host(root);
        if !times {
            tree.values_mut().for_each(|picture| picture.mtime = (0, 0));
        }
        tree
    };
    let (left, right) = (of(left), of(right));
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
    for (path, picture) in &left {
        assert!(*picture == right[path], "{} differs", path.display());
    }
}

#[test]
fn git_clones_and_checks() {
    let Some((sandbox, dir)) = mounted("git") else { return };
    let original = dir.path.join("original");
    plant(&original, 10, 50);
    run(&original, "git", &["init", "--quiet", "--initial-branch=main"]);
    for round in 0..3 {
        fs::write(original.join("round"), format!("{round}")).unwrap();
        run(&original, "git", &["add", "--all"]);
        run(&original, "git", &["commit", "--quiet", "--message=a round"]);
    }
    run(&dir.path, "git", &["clone", "--quiet", "--no-local", "original", "copy"]);
    let copy = dir.path.join("copy");
    run(&copy, "git", &["fsck", "--full", "--strict"]);
    run(&copy, "git", &["gc", "--quiet"]);
    run(&copy, "git", &["fsck", "--full"]);
    assert_eq!(run(&copy, "git", &["status", "--porcelain"]), "");
    for folder in 0..10 {
        let name = format!("folder{folder}");
        assert_same(&original.join(&name), &copy.join(&name), false);
    }
    sandbox.ok(&["umount", "dir"]);
}

#[test]
fn cargo_builds_and_runs() {
    let Some((sandbox, dir)) = mounted("cargo") else { return };
    run(&dir.path, "cargo", &["new", "--quiet", "--vcs=none", "small"]);
    let small = dir.path.join("small");
    let library =
        "pub fn square(x: u64) -> u64 { x * x }\n#[test] fn f() { assert_eq!(square(3), 9) }";
    fs::write(small.join("src/lib.rs"), library).unwrap();
    fs::write(small.join("src/main.rs"), "fn main() { print!(\"{}\", small::square(7)) }").unwrap();
    assert_eq!(run(&small, "cargo", &["run", "--quiet", "--offline"]), "49");
    run(&small, "cargo", &["test", "--quiet", "--offline"]);
    // Another build finds that nothing changed.
    run(&small, "cargo", &["build", "--offline", "--locked"]);
    sandbox.ok(&["umount", "dir"]);
}

#[test]
fn tar_carries_a_large_tree_there_and_back() {
    let Some((sandbox, dir)) = mounted("tar") else { return };
    let original = sandbox.path("original");
    plant(&original, 40, 100);
    let (archive, inside) = (sandbox.path("archive.tar"), dir.path.join("copy"));
    fs::create_dir(&inside).unwrap();
    run(
        &original,
        "tar",
        &["--create", "--format=posix", "--file", archive.to_str().unwrap(), "."],
    );
    run(&inside, "tar", &["--extract", "--file", archive.to_str().unwrap()]);
    run(&inside, "tar", &["--compare", "--file", archive.to_str().unwrap()]);
    assert_same(&original, &inside, true);
    let back = sandbox.path("back.tar");
    run(&inside, "tar", &["--create", "--format=posix", "--file", back.to_str().unwrap(), "."]);
    run(&original, "tar", &["--compare", "--file", back.to_str().unwrap()]);
    sandbox.ok(&["umount", "dir"]);
}
