//! Goal: what the options of a mount promise is kept, whoever gives them: the command, or mount(8)
//! through its helper.
//!
//! Method: mounts with options, and the table of mounts and the files beside it looked at. The
//! helper gets the words that mount(8) of util-linux 2.38 was seen to pass.

mod common;

use std::fs;
use std::process::{Command, Output};

use common::Sandbox;
use common::mount::{MountPoint, can_mount};
use rustix::fs::XattrFlags;
use rustix::io::Errno;

struct Options {
    sandbox: Sandbox,
    dir: MountPoint,
}

impl Options {
    fn new() -> Option<Options> {
        if !can_mount() {
            return None;
        }
        let sandbox = Sandbox::with_pool();
        let helper = sandbox.path("mount.fuse.limpid");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_limpid"), helper).unwrap();
        let dir = MountPoint::new(&sandbox, "dir");
        Some(Options { sandbox, dir })
    }

    /// Runs the helper as mount(8) does.
    fn helper(&self, options: &str) -> Output {
        let mut command = Command::new(self.sandbox.path("mount.fuse.limpid"));
        let source = self.sandbox.path("p");
        command.arg(source).arg(&self.dir.path).args(["-o", options]).output().unwrap()
    }

    fn helped(&self, options: &str) {
        let output = self.helper(options);
        assert!(output.status.success(), "{options}: {output:?}");
    }

    /// The options that the table of mounts shows.
    fn shown(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/mounts").unwrap();
        let dir = self.dir.path.to_str().unwrap();
        let line = table.lines().find(|line| line.split(' ').nth(1) == Some(dir)).unwrap();
        line.split(' ').nth(3).unwrap().split(',').map(str::to_owned).collect()
    }

    #[track_caller]
    fn shows(&self, with: &[&str], without: &[&str]) {
        let shown = self.shown();
        assert!(with.iter().all(|word| shown.iter().any(|it| it == word)), "{shown:?}");
        assert!(!without.iter().any(|word| shown.iter().any(|it| it == word)), "{shown:?}");
    }
}

#[test]
fn what_mount_does_not_tell_its_helper_is_as_usual() {
    let Some(it) = Options::new() else { return };
    it.helped("rw");
    it.shows(&["rw"], &["nosuid", "nodev", "noexec"]);
    // As `mount -o remount,ro DIR`: with what the table of mounts says, which is not nosuid.
    it.helped("rw,relatime,user_id=0,group_id=0,default_permissions,allow_other,remount,ro");
    it.shows(&["ro"], &["nosuid", "nodev", "noexec"]);
    it.helped("rw,relatime,nosuid,user_id=0,group_id=0,default_permissions,allow_other,remount");
    it.shows(&["rw", "nosuid"], &["nodev", "noexec"]);
    it.sandbox.ok(&["umount", "dir"]);
    // By the command itself they have to be asked for.
    it.sandbox.ok(&["mount", "p", "dir"]);
    it.shows(&["nosuid", "nodev"], &[]);
    it.sandbox.ok(&["umount", "dir"]);
}

#[test]
fn mounting_anew_by_the_command_changes_what_is_given() {
    let Some(it) = Options::new() else { return };
    it.sandbox.ok(&["mount", "p", "dir", "-o", "suid,noexec,dirsync,noatime,nosymfollow"]);
    it.sandbox.ok(&["mount", "p", "dir", "-o", "remount,ro"]);
    it.shows(&["ro", "nodev", "noexec", "dirsync", "noatime", "nosymfollow"], &["nosuid", "sync"]);
    it.sandbox.ok(&["mount", "p", "dir", "-o", "remount,rw,exec,nosuid"]);
    it.shows(&["rw", "nosuid", "dirsync", "noatime"], &["noexec"]);
    fs::write(it.dir.path.join("f"), b"x").unwrap();
    it.sandbox.ok(&["umount", "dir"]);
}

#[test]
fn ordinary_options_are_taken_and_kept() {
    let Some(it) = Options::new() else { return };
    it.helped("rw,dirsync,nodiratime,lazytime,nosymfollow,silent,strictatime,nofail,_netdev");
    it.shows(&["dirsync", "nodiratime", "nosymfollow"], &[]);
    std::os::unix::fs::symlink("f", it.dir.path.join("link")).unwrap();
    let refused = fs::read(it.dir.path.join("link")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    it.sandbox.ok(&["umount", "dir"]);
    it.helped("rw,iversion,noexec,nosuid,nodev,user,x-systemd.automount,noauto,comment=why");
    it.shows(&["noexec", "nosuid", "nodev"], &[]);
    it.sandbox.ok(&["umount", "dir"]);
}

#[test]
fn what_is_open_for_reading_only_cannot_be_made_writable() {
    let Some(it) = Options::new() else { return };
    it.sandbox.ok(&["mount", "p", "dir", "-o", "ro"]);
    it.sandbox.fails(&["mount", "p", "dir", "-o", "remount,rw"], "open for reading only");
    let output = it.helper("ro,nosuid,nodev,user_id=0,group_id=0,remount,rw");
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("open for reading only") && said.lines().count() == 1, "{said}");
    it.shows(&["ro"], &["rw"]);
    it.sandbox.ok(&["mount", "p", "dir", "-o", "remount,ro"]);
    it.sandbox.ok(&["umount", "dir"]);
}

#[test]
fn names_of_attributes_outside_the_known_namespaces_are_refused() {
    let Some(it) = Options::new() else { return };
    it.sandbox.ok(&["mount", "p", "dir"]);
    let path = it.dir.path.join("f");
    fs::write(&path, b"x").unwrap();
    let set = |name: &str| rustix::fs::setxattr(&path, name, b"value", XattrFlags::empty());
    for name in ["user.a", "trusted.a", "security.a"] {
        assert_eq!(set(name), Ok(()), "{name}");
    }
    for name in ["nosuch.a", "a", "userx.a", "system.a", "system.posix_acl_access"] {
        assert_eq!(set(name), Err(Errno::OPNOTSUPP), "{name}");
        let mut value = [0; 8];
        let got = rustix::fs::getxattr(&path, name, &mut value[..]);
        assert_eq!(got, Err(Errno::OPNOTSUPP), "{name}");
        assert_eq!(rustix::fs::removexattr(&path, name), Err(Errno::OPNOTSUPP), "{name}");
    }
    assert_eq!(set("user."), Err(Errno::INVAL), "nothing but a namespace");
    it.sandbox.ok(&["umount", "dir"]);
}
