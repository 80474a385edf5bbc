//! Goal: what programs expect of a file system holds through the mount, where the conformance
//! suites do not look.
//!
//! Method: one test per property, by the calls a program would make.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::process::Stdio;

use common::Mounted;
use limpid_fuse::MountOptions;
use rustix::fs::{CWD, FallocateFlags, Mode, OFlags, RenameFlags, SeekFrom, XattrFlags};
use rustix::io::Errno;

fn mounted() -> Option<Mounted> {
    Mounted::new(MountOptions::default())
}

fn open(mounted: &Mounted, name: &str) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(mounted.path(name)).unwrap()
}

#[test]
fn an_unlinked_file_lives_while_it_is_open() {
    let Some(mounted) = mounted() else { return };
    let file = open(&mounted, "f");
    file.write_all_at(b"still here", 0).unwrap();
    fs::remove_file(mounted.path("f")).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    let mut bytes = [0; 10];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"still here");
    file.write_all_at(b"more", 1 << 20).unwrap();
    file.set_len(3).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 3);
    drop(file);
    mounted.finish();
}

#[test]
fn a_removed_folder_one_stands_in_can_be_looked_at() {
    let Some(mounted) = mounted() else { return };
    fs::create_dir(mounted.path("d")).unwrap();
    let handle = File::open(mounted.path("d")).unwrap();
    fs::remove_dir(mounted.path("d")).unwrap();
    assert_eq!(handle.metadata().unwrap().nlink(), 0);
    let made = rustix::fs::mkdirat(&handle, "x", 0o755.into());
    assert_eq!(made, Err(Errno::NOENT));
    drop(handle);
    mounted.finish();
}

#[test]
fn a_number_is_not_used_again_while_a_path_handle_holds_it() {
    let Some(mounted) = mounted() else { return };
    fs::write(mounted.path("old"), b"old").unwrap();
    let flags = rustix::fs::OFlags::PATH;
    let old = rustix::fs::open(mounted.path("old"), flags, 0.into()).unwrap();
    let ino = rustix::fs::fstat(&old).unwrap().st_ino;
    fs::remove_file(mounted.path("old")).unwrap();
    for index in 0..200 {
        let path = mounted.path(&format!("new{index}"));
        fs::write(&path, b"newer").unwrap();
        assert_ne!(fs::metadata(&path).unwrap().ino(), ino);
    }
    let now = rustix::fs::fstat(&old).unwrap();
    assert_eq!((now.st_ino, now.st_size, now.st_nlink), (ino, 3, 0));
    drop(old);
    mounted.finish();
}

#[test]
fn renames_keep_to_their_flags() {
    let Some(mounted) = mounted() else { return };
    let (a, b) = (mounted.path("a"), mounted.path("b"));
    fs::write(&a, b"a").unwrap();
    fs::write(&b, b"b").unwrap();
    let rename = |flags| rustix::fs::renameat_with(CWD, &a, CWD, &b, flags);
    assert_eq!(rename(RenameFlags::NOREPLACE), Err(Errno::EXIST));
    assert_eq!(rename(RenameFlags::WHITEOUT), Err(Errno::INVAL));
    rename(RenameFlags::EXCHANGE).unwrap();
    assert_eq!((fs::read(&a).unwrap(), fs::read(&b).unwrap()), (b"b".to_vec(), b"a".to_vec()));
    let replaced = File::open(&b).unwrap();
    rename(RenameFlags::empty()).unwrap();
    assert_eq!(fs::read(&b).unwrap(), b"b");
    let mut bytes = Vec::new();
    (&replaced).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"a");
    drop(replaced);
    mounted.finish();
}

#[test]
fn space_is_given_taken_and_found() {
    let Some(mounted) = mounted() else { return };
    let file = open(&mounted, "f");
    let allocate = |flags, offset, len| rustix::fs::fallocate(&file, flags, offset, len);
    allocate(FallocateFlags::empty(), 0, 1 << 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 1 << 20);
    assert!(file.metadata().unwrap().blocks() * 512 >= 1 << 20);
    allocate(FallocateFlags::KEEP_SIZE, 1 << 20, 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 1 << 20);
    file.write_all_at(&[7; 65_536], 0).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    allocate(punch, 4096, 8192).unwrap();
    let zero = FallocateFlags::ZERO_RANGE;
    allocate(zero, 20_000, 100).unwrap();
    let mut bytes = vec![0; 65_536];
    file.read_exact_at(&mut bytes, 0).unwrap();
    for (at, byte) in bytes.iter().enumerate() {
        let zero = (4096..12_288).contains(&at) || (20_000..20_100).contains(&at);
        assert_eq!(*byte, if zero { 0 } else { 7 }, "byte {at}");
    }
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Hole(0)).unwrap(), 4096);
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Data(5000)).unwrap(), 12_288);
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Data(2 << 20)), Err(Errno::NXIO));
    drop(file);
    mounted.finish();
}

#[test]
fn attributes_of_users_own_are_kept_and_lists_are_refused() {
    let Some(mounted) = mounted() else { return };
    let path = mounted.path("f");
    fs::write(&path, b"").unwrap();
    let set = |name, value, flags| rustix::fs::setxattr(&path, name, value, flags);
    set("user.key", b"value", XattrFlags::CREATE).unwrap();
    assert_eq!(set("user.key", b"value", XattrFlags::CREATE), Err(Errno::EXIST));
    let mut value = [0; 64];
    assert_eq!(rustix::fs::getxattr(&path, "user.key", &mut value), Ok(5));
    assert_eq!(rustix::fs::getxattr(&path, "user.key", &mut value[..3]), Err(Errno::RANGE));
    assert_eq!(rustix::fs::getxattr(&path, "user.other", &mut value), Err(Errno::NODATA));
    assert_eq!(rustix::fs::listxattr(&path, &mut value), Ok(9));
    assert_eq!(&value[..9], b"user.key\0");
    let list = set("system.posix_acl_access", b"\x02\0\0\0", XattrFlags::empty());
    assert_eq!(list, Err(Errno::OPNOTSUPP));
    rustix::fs::removexattr(&path, "user.key").unwrap();
    assert_eq!(rustix::fs::listxattr(&path, &mut value), Ok(0));
    mounted.finish();
}

#[test]
fn new_files_in_a_group_folder_belong_to_its_group() {
    let Some(mounted) = mounted() else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may give files away");
        return;
    }
    let dir = mounted.path("shared");
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, None, Some(77)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o2775)).unwrap();
    fs::write(dir.join("f"), b"").unwrap();
    fs::create_dir(dir.join("d")).unwrap();
    assert_eq!(fs::metadata(dir.join("f")).unwrap().gid(), 77);
    let inner = fs::metadata(dir.join("d")).unwrap();
    assert_eq!((inner.gid(), inner.mode() & 0o2000), (77, 0o2000));
    mounted.finish();
}

#[test]
fn giving_a_program_away_takes_its_privileges() {
    let Some(mounted) = mounted() else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may give files away");
        return;
    }
    let path = mounted.path("program");
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o755).open(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
    std::os::unix::fs::chown(&path, Some(1), None).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755);
    mounted.finish();
}

#[test]
fn a_listing_goes_on_where_it_was_while_names_come_and_go() {
    let Some(mounted) = mounted() else { return };
    let dir = mounted.path("many");
    fs::create_dir(&dir).unwrap();
    for index in 0..3000 {
        File::create(dir.join(format!("stays{index}"))).unwrap();
        File::create(dir.join(format!("goes{index}"))).unwrap();
    }
    let mut seen = vec![0; 3000];
    for (step, entry) in fs::read_dir(&dir).unwrap().enumerate() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(index) = name.strip_prefix("stays") {
            seen[index.parse::<usize>().unwrap()] += 1;
        }
        if step < 3000 {
            fs::remove_file(dir.join(format!("goes{step}"))).unwrap();
            File::create(dir.join(format!("comes{step}"))).unwrap();
        }
    }
    assert!(seen.iter().all(|times| *times == 1), "each name that stays is listed once");
    mounted.finish();
}

#[test]
fn a_program_can_be_run_from_the_mount() {
    let Some(mounted) = mounted() else { return };
    let path = mounted.path("hello");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).mode(0o755).open(&path).unwrap();
    file.write_all(b"#!/bin/sh\necho ran\n").unwrap();
    drop(file);
    let output = std::process::Command::new(&path).output().unwrap();
    assert_eq!(output.stdout, b"ran\n");
    mounted.finish();
}

/// The kernel refuses to write to a running program only after it has opened the file.
#[test]
fn a_running_program_is_not_emptied_by_who_is_refused() {
    let Some(mounted) = mounted() else { return };
    let path = mounted.path("cat");
    fs::copy("/bin/cat", &path).unwrap();
    let mut command = std::process::Command::new(&path);
    let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let flags = OFlags::RDONLY | OFlags::TRUNC;
    let refused = rustix::fs::open(&path, flags, Mode::empty()).unwrap_err();
    assert_eq!(refused, Errno::TXTBSY);
    assert!(fs::read(&path).unwrap() == fs::read("/bin/cat").unwrap(), "it is whole");
    running.stdin.take().unwrap().write_all(b"still here").unwrap();
    assert_eq!(running.wait_with_output().unwrap().stdout, b"still here");
    mounted.finish();
}

#[test]
fn a_read_only_mount_takes_no_change() {
    let options = MountOptions::default();
    let Some(mounted) = Mounted::new(MountOptions { read_only: true, ..options }) else { return };
    let made = fs::write(mounted.path("f"), b"x").unwrap_err();
    assert_eq!(made.raw_os_error(), Some(Errno::ROFS.raw_os_error()));
    mounted.finish();
}

#[test]
fn reading_changes_the_time_of_access_as_the_mount_says() {
    use limpid_fuse::AccessTimes::{Always, Never, Relative};
    for (policy, first, second) in
        [(Relative, true, false), (Always, true, true), (Never, false, false)]
    {
        let options = MountOptions { access_times: policy, ..MountOptions::default() };
        let Some(mounted) = Mounted::new(options) else { return };
        let path = mounted.path("f");
        let file = open(&mounted, "f");
        file.write_all_at(b"bytes", 0).unwrap();
        let accessed = || {
            let metadata = fs::metadata(&path).unwrap();
            (metadata.atime(), metadata.atime_nsec())
        };
        // The clock of files moves on every few milliseconds; another file's change shows it.
        let tick = || {
            let time = || {
                fs::write(mounted.path("clock"), b"x").unwrap();
                let metadata = fs::metadata(mounted.path("clock")).unwrap();
                (metadata.mtime(), metadata.mtime_nsec())
            };
            let start = time();
            while time() == start {}
        };
        let read = || {
            let before = accessed();
            tick();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            file.read_exact_at(&mut [0; 5], 0).unwrap();
            accessed() != before
        };
        // The file is as old as its last change: that is no newer access.
        let changed = read();
        assert_eq!(changed, first, "{policy:?}, after a change");
        assert_eq!(read(), second, "{policy:?}, after a read");
        drop(file);
        mounted.finish();
    }
}
