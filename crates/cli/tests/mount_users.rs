//! Goal: users who are not root mount their pools through fusermount3, and where that cannot be,
//! the reason is told in one line and nothing is mounted.
//!
//! Method: a shell in a mount namespace of its own, where /dev/fuse can be given to everybody, or
//! taken away, without anybody else seeing it; what a user does there is done without privileges.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use common::Sandbox;
use common::mount::can_mount;

/// Makes /dev/fuse everybody's, and `user` a command that gives privileges up.
const USER: &str = "
    mknod fuse c 10 229 && chmod 666 fuse && mount --bind fuse /dev/fuse || exit 77
    user() { setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"; }
";
/// What of the folder is mounted.
const MOUNTED: &str =
    "grep --fixed-strings \" $PWD/\" /proc/self/mountinfo | grep --count fuse.limpid";

/// Runs a script in a folder that everybody may write, with the command as `./limpid`. `None`
/// where the machine has not what it takes, which is said.
fn in_namespace(script: &str) -> Option<(Sandbox, Output)> {
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_limpid"), sandbox.path("limpid")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).current_dir(sandbox.path(""));
    let output = command.output().ok().filter(|output| output.status.code() != Some(77));
    if output.is_none() {
        eprintln!("skipped: a mount namespace with a /dev/fuse of its own cannot be had");
    }
    output.map(|output| (sandbox, output))
}

/// As [`in_namespace`], with everybody's /dev/fuse and the command `user`.
fn as_user(script: &str) -> Option<(Sandbox, Output)> {
    if !can_mount() {
        return None;
    }
    in_namespace(&[USER, script].concat())
}

/// Whether users can mount at all; where they cannot, that is said.
fn has_helper() -> bool {
    let found = Command::new("fusermount3").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: fusermount3 is not installed (package fuse3)");
    }
    found
}

/// The script has failed with these words in its only line, and mounted nothing.
fn assert_refused(output: &Output, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n0\n", "exit code, number of mounts");
}

fn refused_as_user(commands: &str, words: &[&str]) {
    if let Some((_, output)) = as_user(&format!("{commands}; echo $?; {MOUNTED}")) {
        assert_refused(&output, words);
    }
}

#[test]
fn a_user_mounts_a_new_pool_and_uses_it() {
    let script = "set -e
        user mkdir dir
        user ./limpid mount p dir --size 16MiB
        user sh -c 'echo mine > dir/file; cat dir/file'
        ls dir 2>/dev/null || echo closed to others
        user ./limpid stat dir | grep --count 'operation=\"write\"} 1'
        user ./limpid umount dir
        user ./limpid cat p:/file";
    if !has_helper() {
        return;
    }
    let Some((sandbox, output)) = as_user(script) else { return };
    assert!(output.status.success(), "{output:?}");
    let expected = "mine\nclosed to others\n1\nmine\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
    assert!(sandbox.ok(&["info", "p"]).text().contains("closed properly"));
}

#[test]
fn a_mount_of_a_user_that_was_killed_is_cleared_by_the_user() {
    let script = "set -e
        user mkdir dir
        user ./limpid mount p dir --size 16MiB
        user sh -c 'echo mine > dir/file'
        pid=$(user ./limpid stat dir | sed -n 's/^limpid_process_id //p')
        kill -9 $pid
        while kill -0 $pid 2>/dev/null; do :; done
        user ./limpid mount p dir 2>&1 || user ./limpid umount dir
        user ./limpid mount p dir 2>/dev/null
        user cat dir/file
        user ./limpid umount dir";
    if !has_helper() {
        return;
    }
    let Some((_, output)) = as_user(script) else { return };
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].contains("clear it with 'limpid umount dir'"), "{stdout}");
    assert_eq!(lines[1..], ["mine"]);
}

#[test]
fn others_are_let_in_only_where_the_system_allows_it() {
    let allowed = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    if allowed.lines().any(|line| line.trim() == "user_allow_other") {
        eprintln!("skipped: /etc/fuse.conf allows it here");
        return;
    }
    let commands = "user mkdir dir; user ./limpid mkfs p --size 16MiB >/dev/null
        user ./limpid mount p dir -o allow_other";
    if has_helper() {
        refused_as_user(commands, &["user_allow_other", "run as root"]);
    }
}

#[test]
fn a_mount_point_of_another_is_refused() {
    let commands = "mkdir dir; user ./limpid mkfs p --size 16MiB >/dev/null
        user ./limpid mount p dir";
    if has_helper() {
        refused_as_user(commands, &["no write access", "dir"]);
    }
}

#[test]
fn without_the_helper_it_is_named() {
    let commands = "user mkdir dir; user ./limpid mkfs p --size 16MiB >/dev/null
        FUSERMOUNT_PATH=/nowhere/fusermount3 user ./limpid mount p dir";
    refused_as_user(commands, &["only root may", "install fusermount3"]);
}

#[test]
fn a_device_that_is_not_for_the_user_is_named() {
    let commands = "user mkdir dir; user ./limpid mkfs p --size 16MiB >/dev/null
        chmod 600 /dev/fuse; user ./limpid mount p dir";
    refused_as_user(commands, &["not permitted", "/dev/fuse", "right to read and write"]);
}

#[test]
fn a_system_without_fuse_is_told() {
    let script = "
        mkdir dir; ./limpid mkfs p --size 16MiB >/dev/null
        mount -t tmpfs none /dev && mknod /dev/null c 1 3 && chmod 666 /dev/null || exit 77
        ./limpid mount p dir; echo $?; ";
    if !can_mount() {
        return;
    }
    if let Some((_, output)) = in_namespace(&[script, MOUNTED].concat()) {
        assert_refused(&output, &["this system has no FUSE", "modprobe fuse"]);
    }
}
