//! Goal: `limpid mount` serves a pool in the background until it is told to stop, tells what is
//! wrong in one line, and leaves nothing mounted.
//!
//! Method: the built command, in a folder of its own, beside ordinary programs' calls. Each mount
//! goes away with its guard, even if the test fails.

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::Sandbox;
use common::mount::{MountPoint, can_mount, wait_for_end};
use limpid_fuse::{MountState, look};
use rustix::process::{Signal, kill_process};

#[test]
fn a_pool_is_made_mounted_used_and_unmounted() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mount", "p", "dir", "--size", "64MiB"]);
    assert!(dir.mounted());
    fs::write(dir.path.join("f"), b"through the mount").unwrap();
    sandbox.fails(&["ls", "p:/"], "in use by process");
    let metrics = sandbox.ok(&["stat", "dir"]);
    assert!(metrics.text().contains("limpid_requests_total{operation=\"write\"} 1\n"));
    sandbox.ok(&["umount", "dir"]);
    assert!(!dir.mounted());
    assert_eq!(sandbox.ok(&["cat", "p:/f"]).stdout, b"through the mount");
    assert!(sandbox.ok(&["info", "p"]).text().contains("closed properly"));
}

#[test]
fn a_helper_of_mount_takes_its_options() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mkdir", "p:/d"]);
    let helper = sandbox.path("mount.limpid");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_limpid"), &helper).unwrap();
    let options = "rw,nosuid,nofail,umask=022,uid=12,gid=34,fsname=the-pool";
    let mut command = Command::new(helper);
    command.args(["p", "dir", "-n", "-o", options]).current_dir(sandbox.path(""));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    use std::os::unix::fs::MetadataExt;
    let shown = fs::metadata(dir.path.join("d")).unwrap();
    assert_eq!((shown.uid(), shown.gid(), shown.mode() & 0o777), (12, 34, 0o755));
    assert_eq!(look(&dir.path).unwrap(), MountState::Pool { source: "the-pool".into() });
    sandbox.ok(&["umount", "dir"]);
}

#[test]
fn a_mount_is_made_read_only_and_writable_again() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.fails(&["mount", "p", "dir", "-o", "remount,ro"], "no pool is mounted there");
    sandbox.ok(&["mount", "p", "dir"]);
    let path = dir.path.join("f");
    let open = fs::File::create(&path).unwrap();
    sandbox.fails(&["mount", "p", "dir", "-o", "remount,ro"], "in use");
    drop(open);
    // As mount(8) has it: with all that the kernel tells of the mount.
    let told = "nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions,allow_other,remount";
    sandbox.ok(&["mount", "p", "dir", "-o", &format!("rw,{told},ro")]);
    let refused = fs::write(&path, b"x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    for bad in ["uid=7", "noatime"] {
        let options = format!("remount,rw,{bad}");
        sandbox.fails(&["mount", "p", "dir", "-o", &options], "cannot be changed while mounted");
    }
    sandbox.ok(&["mount", "p", "dir", "-o", &format!("ro,{told},rw")]);
    fs::write(&path, b"x").unwrap();
    sandbox.ok(&["umount", "dir"]);
    sandbox.ok(&["mount", "p", "dir", "-o", "noatime"]);
    sandbox.ok(&["mount", "p", "dir", "-o", "noatime,remount,ro,sync"]);
    let table = fs::read_to_string("/proc/mounts").unwrap();
    let line = table.lines().find(|line| line.contains(dir.path.to_str().unwrap())).unwrap();
    assert!(line.contains(" ro,sync,nosuid,nodev,noatime,"), "{line}");
    sandbox.ok(&["umount", "dir"]);
}

#[test]
fn a_signal_unmounts() {
    if !can_mount() {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = Sandbox::with_pool();
        let dir = MountPoint::new(&sandbox, "dir");
        sandbox.ok(&["mount", "p", "dir"]);
        fs::write(dir.path.join("f"), b"x").unwrap();
        let pid = dir.process();
        kill_process(pid, signal).unwrap();
        wait_for_end(pid);
        assert!(!dir.mounted());
        assert!(sandbox.ok(&["info", "p"]).text().contains("closed properly"));
    }
}

#[test]
fn the_foreground_stays_until_it_is_unmounted() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    let mut command = sandbox.command(&["mount", "p", "dir", "--foreground"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // Its first line says that the mount is usable.
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(lines.next().unwrap().unwrap().contains("is mounted at"));
    fs::write(dir.path.join("f"), b"x").unwrap();
    sandbox.ok(&["umount", "dir"]);
    assert!(lines.next().unwrap().unwrap().contains("is unmounted from"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn after_a_kill_the_next_mount_works_and_has_everything() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mount", "p", "dir"]);
    fs::write(dir.path.join("f"), b"acknowledged").unwrap();
    let pid = dir.process();
    // The kernel knows the folder's attributes now, and could go on telling them.
    fs::metadata(&dir.path).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    wait_for_end(pid);
    assert!(fs::metadata(dir.path.join("f")).is_err());
    sandbox.fails(&["mount", "p", "dir"], "limpid umount");
    sandbox.fails(&["stat", "dir"], "limpid umount");
    sandbox.ok(&["umount", "dir"]);
    let again = sandbox.run(&["mount", "p", "dir"]);
    assert_eq!(again.code, 0);
    assert!(again.stderr.contains("not closed properly"), "{}", again.stderr);
    assert_eq!(again.stderr.lines().count(), 1, "{}", again.stderr);
    assert_eq!(fs::read(dir.path.join("f")).unwrap(), b"acknowledged");
    sandbox.ok(&["umount", "dir"]);
}

#[test]
fn what_cannot_be_mounted_is_told_and_nothing_is_left() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.fails(&["mount", "p", "nowhere"], "no such file");
    sandbox.fails(&["mount", "nopool", "dir"], "no such pool");
    sandbox.fails(&["mount", "p", "p"], "not a directory");
    let text = sandbox.write("text", b"no pool at all, but long enough".repeat(1 << 14));
    sandbox.fails(&["mount", text.to_str().unwrap(), "dir"], "not a pool");
    sandbox.fails(&["mount", "p", "dir", "-o", "nosuch"], "unknown mount option");
    sandbox.fails(&["mount", "p", "dir", "-o", "umask=9"], "umask=9");
    sandbox.fails(&["mount", "new", "dir", "--size", "1"], "a pool needs at least");
    assert!(!sandbox.path("new").exists());
    sandbox.fails(&["umount", "dir"], "no pool is mounted there");
    fs::write(dir.path.join("hidden"), b"").unwrap();
    sandbox.fails(&["mount", "p", "dir"], "not empty");
    sandbox.fails(&["mount", "new", "dir", "--size", "16MiB"], "not empty");
    assert!(!sandbox.path("new").exists());
    fs::remove_file(dir.path.join("hidden")).unwrap();
    assert!(!dir.mounted());

    sandbox.ok(&["mount", "p", "dir"]);
    sandbox.fails(&["mount", "p", "dir"], "mounted there already");
    let other = MountPoint::new(&sandbox, "other");
    sandbox.fails(&["mount", "p", "other"], "in use by process");
    assert!(!other.mounted());
    let open = fs::File::create(dir.path.join("f")).unwrap();
    sandbox.fails(&["umount", "dir"], "in use");
    assert!(dir.mounted());
    drop(open);
    sandbox.ok(&["umount", "dir"]);
}
