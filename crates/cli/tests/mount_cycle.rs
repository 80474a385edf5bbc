//! Goal: who unmounts a pool can mount it, or open it with any command, at once; and the process
//! behind the old mount disturbs nobody on its way out.
//!
//! Method: quick cycles of mounting, writing and unmounting by the system call, which waits for
//! nothing; and the server stopped, killed or left with an open file at the moment in question.
//! `LIMPID_NIGHT=1` runs a thousand cycles.

mod common;

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use common::Sandbox;
use common::mount::{MountPoint, can_mount, wait_for_end};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

#[test]
fn a_pool_is_mounted_again_right_after_it_was_unmounted() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    let rounds = if std::env::var_os("LIMPID_NIGHT").is_some() { 1000 } else { 30 };
    for round in 0..rounds {
        sandbox.ok(&["mount", "p", "dir"]);
        if round > 0 {
            assert_eq!(fs::read(dir.path.join("f")).unwrap(), [(round - 1) as u8; 9999]);
        }
        fs::write(dir.path.join("f"), [round as u8; 9999]).unwrap();
        unmount(&dir.path, UnmountFlags::empty()).expect("nobody uses the mount");
    }
    sandbox.ok(&["fsck", "p"]);
}

/// Whether a program that was started has ended after so many milliseconds at most.
fn has_ended(child: &Child, milliseconds: i64) -> bool {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    ends_within(&pidfd_open(pid, PidfdFlags::empty()).unwrap(), milliseconds)
}

fn ends_within(process: &OwnedFd, milliseconds: i64) -> bool {
    let timeout =
        Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)).unwrap() == 1
}

/// Starts a command while the server of an unmounted pool is stopped; it must wait for the server
/// and then succeed.
fn waits_for_the_server(command: &[&str]) {
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mount", "p", "dir"]);
    fs::write(dir.path.join("f"), b"x").unwrap();
    let server = dir.process();
    kill_process(server, Signal::STOP).unwrap();
    unmount(&dir.path, UnmountFlags::empty()).unwrap();
    let mut child = sandbox.command(command).stderr(Stdio::piped()).spawn().unwrap();
    let early = has_ended(&child, 150);
    kill_process(server, Signal::CONT).unwrap();
    let ended = has_ended(&child, 60_000);
    if !ended {
        child.kill().unwrap();
    }
    let success = child.wait().unwrap().success();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!early && ended && success, "{command:?}: early {early}, ended {ended}: {said}");
    assert_eq!(said, "", "{command:?}");
}

#[test]
fn every_command_waits_for_a_server_that_is_going() {
    if !can_mount() {
        return;
    }
    let commands: [&[&str]; 5] = [
        &["mount", "p", "dir"],
        &["mount", "p", "dir", "-o", "ro"],
        &["cat", "p:/f"],
        &["fsck", "p"],
        &["mkfs", "p", "--size", "64MiB", "--force"],
    ];
    for command in commands {
        waits_for_the_server(command);
    }
}

#[test]
fn a_server_that_was_killed_is_waited_for() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    for round in 0..5 {
        assert_eq!(sandbox.run(&["mount", "p", "dir"]).code, 0);
        fs::write(dir.path.join("f"), format!("{round}")).unwrap();
        kill_process(dir.process(), Signal::KILL).unwrap();
        assert_eq!(sandbox.run(&["cat", "p:/f"]).text(), format!("{round}"));
        sandbox.ok(&["umount", "dir"]);
    }
}

#[test]
fn a_signal_takes_away_the_servers_own_mount_only() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mount", "p", "dir"]);
    let first = dir.process();
    let open = fs::File::create(dir.path.join("open")).unwrap();
    unmount(&dir.path, UnmountFlags::DETACH).unwrap();
    sandbox.ok(&["mount", "q", "dir", "--size", "16MiB"]);
    let second = dir.process();
    kill_process(first, Signal::TERM).unwrap();
    drop(open);
    wait_for_end(first);
    assert_eq!(dir.process(), second);
    sandbox.ok(&["umount", "dir"]);
}

#[test]
fn a_helper_of_umount_waits_until_the_pool_is_closed() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    for (name, arguments) in [("umount.limpid", ["-n", "-v"]), ("umount.fuse.limpid", ["-l", "-f"])]
    {
        let helper = sandbox.path(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_limpid"), &helper).unwrap();
        sandbox.ok(&["mount", "p", "dir"]);
        let server = pidfd_open(dir.process(), PidfdFlags::empty()).unwrap();
        let output = Command::new(helper).arg(&dir.path).args(arguments).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(!dir.mounted());
        if name == "umount.limpid" {
            assert!(ends_within(&server, 0), "the server has ended");
        }
    }
}
