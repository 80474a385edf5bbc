//! Goal: nobody gets more out of the command than the files' owners gave: a pool's file is its
//! owner's alone, and a copy has set-user-id bits and capabilities only where the owner came with
//! them. Method: modes under several umasks; copies as root and as another user, beside `cp -p`.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::mount::{MountPoint, can_mount};
use common::{Sandbox, is_root};
use limpid::{Metadata, Pool, PoolOptions, SetAttributes};
use rustix::fs::XattrFlags;

/// The user and the group of those who are not root.
const USER: u32 = 65534;
/// Somebody else.
const OTHER: u32 = 1234;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Runs the command under a umask.
fn under_umask(sandbox: &Sandbox, umask: &str, arguments: &str) -> Output {
    let script = format!("umask {umask}; exec '{}' {arguments}", env!("CARGO_BIN_EXE_limpid"));
    let output = Command::new("sh").args(["-c", &script]).current_dir(sandbox.path("")).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

#[test]
fn a_new_pool_is_its_owners_alone() {
    let sandbox = Sandbox::new();
    for umask in ["000", "022", "077", "277"] {
        let name = format!("pool{umask}");
        under_umask(&sandbox, umask, &format!("mkfs {name} --size 8M"));
        assert_eq!(mode(&sandbox.path(&name)), 0o600, "umask {umask}");
    }
    // The mode of a file that was there is its owner's decision.
    let open = sandbox.write("open", vec![0; 8 << 20]);
    fs::set_permissions(&open, Permissions::from_mode(0o640)).unwrap();
    sandbox.ok(&["mkfs", "open", "--force"]);
    assert_eq!(mode(&open), 0o640);
}

#[test]
fn what_a_mount_makes_is_its_owners_alone() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let point = MountPoint::new(&sandbox, "mnt");
    let output = under_umask(&sandbox, "000", "mount p mnt --size 8M --log log");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("chmod"), "{output:?}");
    assert_eq!((mode(&sandbox.path("p")), mode(&sandbox.path("log"))), (0o600, 0o600));
    sandbox.ok(&["umount", "mnt"]);
    drop(point);
}

#[test]
fn a_mount_tells_that_others_may_read_the_pool() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    for (mode, option, is_told) in [
        (0o600, "allow_other", false),
        (0o644, "allow_other", true),
        (0o640, "atime", true),
        (0o620, "atime", true),
        (0o644, "noallow_other", false),
    ] {
        fs::set_permissions(sandbox.path("p"), Permissions::from_mode(mode)).unwrap();
        let name = format!("mnt{mode:o}{option}");
        let point = MountPoint::new(&sandbox, &name);
        let ended = sandbox.run(&["mount", "-o", option, "p", &name]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let lines = usize::from(is_told);
        assert_eq!(ended.stderr.lines().count(), lines, "{mode:o} {option}: {}", ended.stderr);
        assert_eq!(ended.stderr.contains("chmod go= p"), is_told, "{}", ended.stderr);
        sandbox.ok(&["umount", &name]);
        drop(point);
    }
}

/// Owner, group and mode of files, which are named after them.
const FILES: [(u32, u32, u32); 9] = [
    (OTHER, OTHER, 0o4755),
    (OTHER, USER, 0o2755),
    (OTHER, OTHER, 0o1755),
    (OTHER, OTHER, 0o644),
    (USER, USER, 0o4755),
    (USER, USER, 0o6711),
    (USER, OTHER, 0o2755),
    (USER, USER, 0o1644),
    (USER, USER, 0o444),
];

fn name((uid, gid, mode): (u32, u32, u32)) -> String {
    format!("{uid}-{gid}-{mode:o}")
}

fn in_pool(pool: &Pool, path: &str, (uid, gid, mode): (u32, u32, u32)) {
    pool.write(path, b"program").unwrap();
    let set = SetAttributes {
        uid: Some(uid),
        gid: Some(gid),
        mode: Some(mode),
        ..SetAttributes::default()
    };
    pool.set_attributes(path, true, &set).unwrap();
}

/// A folder of `USER`'s with a pool of theirs and the command as `./limpid`; `h` in it and the root
/// of the pool hold [`FILES`].
fn with_files() -> Option<Sandbox> {
    if !is_root() {
        eprintln!("skipped: files of several users can be made by root only");
        return None;
    }
    let sandbox = Sandbox::new();
    fs::copy(env!("CARGO_BIN_EXE_limpid"), sandbox.path("limpid")).unwrap();
    fs::create_dir(sandbox.path("h")).unwrap();
    for name in ["", "h"] {
        fs::set_permissions(sandbox.path(name), Permissions::from_mode(0o777)).unwrap();
    }
    let pool = PoolOptions::new().create(sandbox.path("p"), 16 << 20).unwrap();
    for file in FILES {
        let path = sandbox.write(&format!("h/{}", name(file)), "program");
        chown(&path, Some(file.0), Some(file.1)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(file.2)).unwrap();
        in_pool(&pool, &name(file), file);
    }
    drop(pool);
    chown(sandbox.path("p"), Some(USER), Some(USER)).unwrap();
    Some(sandbox)
}

/// Runs a command in the sandbox, as root or as `USER`, and wants it to succeed.
fn run(sandbox: &Sandbox, as_user: bool, words: &[&str]) {
    let ids = [format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()];
    let mut command = Command::new(if as_user { "setpriv" } else { words[0] });
    if as_user {
        command.args(ids).arg(words[0]);
    }
    let output = command.args(&words[1..]).current_dir(sandbox.path("")).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
}

fn of_host(path: PathBuf) -> (u32, u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
}

fn of_pool(metadata: &Metadata) -> (u32, u32, u32) {
    (metadata.uid, metadata.gid, metadata.mode)
}

#[test]
fn a_copy_has_the_bits_that_cp_gives_it() {
    for as_user in [false, true] {
        let Some(sandbox) = with_files() else { return };
        let user = as_user.then_some(USER);
        for folder in ["theirs", "ours", "moved"] {
            fs::create_dir(sandbox.path(folder)).unwrap();
            chown(sandbox.path(folder), user, user).unwrap();
        }
        for file in FILES {
            let name = name(file);
            let [source, theirs, ours, moved] =
                ["h", "theirs", "ours", "moved"].map(|folder| format!("{folder}/{name}"));
            run(&sandbox, as_user, &["cp", "-p", &source, &theirs]);
            run(&sandbox, as_user, &["./limpid", "cp", &format!("p:/{name}"), &ours]);
            run(&sandbox, as_user, &["./limpid", "cp", &source, &format!("p:/copy-{name}")]);
            run(
                &sandbox,
                as_user,
                &["./limpid", "cp", &format!("p:/{name}"), &format!("p:/2-{name}")],
            );
            run(&sandbox, as_user, &["./limpid", "mv", &format!("p:/2-{name}"), &moved]);
            let wanted = of_host(sandbox.path(&theirs));
            assert_eq!(of_host(sandbox.path(&ours)), wanted, "{name} out of the pool");
            assert_eq!(of_host(sandbox.path(&moved)), wanted, "{name} moved out of the pool");
            let pool = PoolOptions::new().read_only(true).open(sandbox.path("p")).unwrap();
            let copy = pool.metadata(format!("copy-{name}")).unwrap();
            assert_eq!(of_pool(&copy), wanted, "{name} into the pool");
        }
    }
}

#[test]
fn a_file_that_cannot_be_written_keeps_its_extended_attributes() {
    let Some(sandbox) = with_files() else { return };
    let name = name((USER, USER, 0o444));
    let file = sandbox.path(format!("h/{name}"));
    if rustix::fs::lsetxattr(&file, "user.x", b"1", XattrFlags::empty()).is_err() {
        eprintln!("skipped: the host's file system has no extended attributes");
        return;
    }
    run(&sandbox, true, &["./limpid", "cp", &format!("h/{name}"), "p:/copy"]);
    run(&sandbox, true, &["./limpid", "cp", "p:/copy", "copy"]);
    assert_eq!(mode(&sandbox.path("copy")), 0o444);
    let mut value = [0; 8];
    let length = rustix::fs::lgetxattr(sandbox.path("copy"), "user.x", &mut value).unwrap();
    assert_eq!(&value[..length], b"1");
}

/// `cap_net_raw=ep`, as the kernel stores it (`struct vfs_cap_data`, revision 2).
const CAPABILITY: [u8; 20] = {
    let mut bytes = [0; 20];
    (bytes[0], bytes[3], bytes[5]) = (1, 2, 0x20);
    bytes
};

#[test]
fn a_capability_goes_with_root_and_not_with_others() {
    let Some(sandbox) = with_files() else { return };
    let name = name((OTHER, OTHER, 0o4755));
    let file = sandbox.path(format!("h/{name}"));
    let flags = XattrFlags::empty();
    if rustix::fs::lsetxattr(&file, "security.capability", &CAPABILITY, flags).is_err() {
        eprintln!("skipped: capabilities cannot be given to files here");
        return;
    }
    let has = |path: &str| {
        let mut value = [0; 64];
        let found = rustix::fs::lgetxattr(sandbox.path(path), "security.capability", &mut value);
        found.is_ok_and(|length| value[..length] == CAPABILITY)
    };
    run(&sandbox, false, &["./limpid", "cp", &format!("h/{name}"), "p:/copy"]);
    run(&sandbox, false, &["./limpid", "cp", "p:/copy", "root"]);
    assert!(has("root"));
    assert_eq!(of_host(sandbox.path("root")), (OTHER, OTHER, 0o4755));
    let words = ["./limpid", "cp", "p:/copy", "user"];
    let output = Command::new("setpriv")
        .args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"])
        .args(words)
        .current_dir(sandbox.path(""))
        .output()
        .unwrap();
    // What is lost is told.
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("extended attributes"), "{told}");
    assert!(!has("user"));
    assert_eq!(of_host(sandbox.path("user")), (USER, USER, 0o755));
}
