//! Goal: a file whose bytes or owner change loses what running it would give (the set-user-id and
//! set-group-id bits, and `security.capability`) just when it does on the host's file system, and
//! the kernel knows at once.
//!
//! Method: every way to change a file, by every kind of caller, on files of every kind of
//! privilege, in the mount and beside it in a folder of the host; what comes out is compared. The
//! mount is one whose attributes the kernel may keep as long as it likes. A caller is a thread with
//! the user, groups and capabilities of its own.

mod common;

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use common::Mounted;
use common::kernel_map::KernelMap;
use limpid_fuse::MountOptions;
use rustix::fs::{FallocateFlags, Gid, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use rustix::thread::{self, CapabilitySet};

const LEN: u64 = 16 << 10;
const PAGE: u64 = 4096;
const CAPABILITY: &str = "security.capability";
/// What gives whoever runs the file CAP_NET_RAW.
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Who changes files that belong to user and group 1000.
#[derive(Clone, Copy)]
struct Caller {
    name: &'static str,
    uid: u32,
    gid: u32,
    groups: &'static [u32],
    /// It may keep set-user-id and set-group-id bits of what it writes.
    keeps: bool,
}

const CALLERS: [Caller; 6] = [
    Caller { name: "the owner", uid: 1000, gid: 1000, groups: &[], keeps: false },
    Caller { name: "an owner by groups", uid: 1000, gid: 1, groups: &[7, 1000], keeps: false },
    Caller { name: "an owner not in the group", uid: 1000, gid: 1001, groups: &[], keeps: false },
    Caller { name: "another user", uid: 1002, gid: 1002, groups: &[], keeps: false },
    Caller { name: "root", uid: 0, gid: 0, groups: &[], keeps: true },
    Caller { name: "root without CAP_FSETID", uid: 0, gid: 0, groups: &[], keeps: false },
];

/// Permissions, and whether the file has capabilities besides.
const FILES: [(u32, bool); 7] = [
    (0o4777, false),
    (0o2777, false),
    (0o2767, false),
    (0o6777, false),
    (0o6767, false),
    (0o777, true),
    (0o6777, true),
];

type Way = fn(&Path) -> Result<(), Errno>;

const WAYS: [(&str, Way); 21] = [
    ("write", |path| done(open(path)?.write_all(b"new"))),
    ("write through a second handle", |path| {
        let (_first, second) = (open(path)?, open(path)?);
        done(second.write_all_at(b"new", PAGE))
    }),
    ("append", |path| {
        let file = OpenOptions::new().append(true).open(path);
        done(file.and_then(|mut file| file.write_all(b"new")))
    }),
    ("direct write", direct),
    ("store through a map", |path| {
        let file = open(path)?;
        let map = KernelMap::new(&file, PAGE as usize);
        map.store(64, 7);
        map.sync()
    }),
    ("truncate", |path| rustix::fs::ftruncate(open(path)?, 5)),
    ("grow", |path| rustix::fs::ftruncate(open(path)?, 2 * LEN)),
    ("open to empty", |path| done(File::create(path))),
    ("allocate", |path| allocate(path, FallocateFlags::empty(), LEN)),
    ("allocate behind the end", |path| allocate(path, FallocateFlags::KEEP_SIZE, LEN)),
    ("punch", |path| allocate(path, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0)),
    ("zero", |path| allocate(path, FallocateFlags::ZERO_RANGE, 0)),
    ("collapse", |path| allocate(path, FallocateFlags::COLLAPSE_RANGE, 0)),
    ("insert", |path| allocate(path, FallocateFlags::INSERT_RANGE, 0)),
    ("copy_file_range", |path| {
        let file = open(path)?;
        let (mut from, mut to) = (0, 2 * PAGE);
        rustix::fs::copy_file_range(&file, Some(&mut from), &file, Some(&mut to), 100).map(drop)
    }),
    ("sendfile", |path| {
        let (from, to) = (File::open(path).map_err(errno)?, open(path)?);
        rustix::fs::sendfile(&to, &from, None, 100).map(drop)
    }),
    ("splice", splice),
    ("chown of nothing", |path| chown(path, None, None)),
    ("chown to itself", |path| chown(path, Some(1000), Some(1000))),
    ("chown to a group", |path| chown(path, None, Some(1000))),
    ("chown to others", |path| chown(path, Some(1003), Some(1003))),
];

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).expect("an error of the system")
}

fn done<T>(result: std::io::Result<T>) -> Result<(), Errno> {
    result.map(drop).map_err(errno)
}

fn open(path: &Path) -> Result<File, Errno> {
    OpenOptions::new().read(true).write(true).open(path).map_err(errno)
}

fn direct(path: &Path) -> Result<(), Errno> {
    let flags = OFlags::DIRECT.bits() as i32;
    let file = OpenOptions::new().write(true).custom_flags(flags).open(path).map_err(errno)?;
    let buffer = vec![7; 2 * PAGE as usize];
    let start = buffer.as_ptr().align_offset(PAGE as usize);
    done(file.write_all_at(&buffer[start..start + PAGE as usize], 0))
}

fn allocate(path: &Path, how: FallocateFlags, at: u64) -> Result<(), Errno> {
    rustix::fs::fallocate(open(path)?, how, at, PAGE)
}

fn splice(path: &Path) -> Result<(), Errno> {
    let (from, into) = rustix::pipe::pipe()?;
    rustix::io::write(&into, b"new")?;
    let file = open(path)?;
    let flags = rustix::pipe::SpliceFlags::empty();
    rustix::pipe::splice(&from, None, &file, Some(&mut 0), 3, flags).map(drop)
}

fn chown(path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    rustix::fs::chown(path, uid.map(Uid::from_raw), gid.map(Gid::from_raw))
}

impl Caller {
    /// Does something as this caller.
    fn run(self, way: Way, path: &Path) -> Result<(), Errno> {
        let as_caller = || {
            let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            thread::set_thread_groups(&groups).unwrap();
            thread::set_thread_res_gid(gid, gid, gid).unwrap();
            thread::set_thread_res_uid(uid, uid, uid).unwrap();
            if self.uid == 0 && !self.keeps {
                let mut sets = thread::capabilities(None).unwrap();
                sets.effective -= CapabilitySet::FSETID;
                thread::set_capabilities(None, sets).unwrap();
            }
            way(path)
        };
        std::thread::scope(|scope| scope.spawn(as_caller).join().unwrap())
    }
}

/// What came out: the call's result, the permissions, whether there are capabilities.
#[derive(PartialEq)]
struct Outcome {
    result: Result<(), Errno>,
    mode: u32,
    capabilities: bool,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let capabilities = if self.capabilities { " with capabilities" } else { "" };
        write!(f, "{:?} {:o}{capabilities}", self.result, self.mode)
    }
}

fn outcome(path: &Path, (mode, capabilities): (u32, bool), caller: Caller, way: Way) -> Outcome {
    let file = File::create(path).unwrap();
    file.write_all_at(&[1; LEN as usize], 0).unwrap();
    drop(file);
    std::os::unix::fs::chown(path, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    if capabilities {
        rustix::fs::setxattr(path, CAPABILITY, &NET_RAW, XattrFlags::empty()).unwrap();
    }
    // Now the kernel knows the permissions.
    assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, mode);
    let result = caller.run(way, path);
    let mode = fs::metadata(path).unwrap().mode() & 0o7777;
    let mut value = [0; 64];
    let capabilities = rustix::fs::getxattr(path, CAPABILITY, &mut value[..]).is_ok();
    Outcome { result, mode, capabilities }
}

#[test]
fn privileges_go_when_they_go_on_the_host() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can be several users");
    }
    let options = MountOptions { exclusive: true, suid: true, ..MountOptions::default() };
    let Some(mounted) = Mounted::new(options) else { return };
    let host = tempfile::tempdir().unwrap();
    fs::set_permissions(host.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (mut wrong, mut compared) = (String::new(), 0);
    for (file, (name, way)) in FILES.iter().flat_map(|file| WAYS.map(|way| (*file, way))) {
        for caller in CALLERS {
            let theirs = outcome(&host.path().join("f"), file, caller, way);
            let ours = outcome(&mounted.path("f"), file, caller, way);
            let inside = mounted.pool.metadata("/f").unwrap().mode;
            let what = format!("{name}, {:o} {}, by {}", file.0, file.1, caller.name);
            if inside != ours.mode {
                writeln!(wrong, "{what}: the kernel has {ours}, the pool {inside:o}").unwrap();
            }
            fs::remove_file(host.path().join("f")).unwrap();
            fs::remove_file(mounted.path("f")).unwrap();
            // Not all that the host can do is carried by FUSE, nor can every host do all.
            let unknown = [&theirs, &ours].map(|it| it.result == Err(Errno::OPNOTSUPP));
            compared += usize::from(unknown == [false; 2]);
            // Whether capabilities alone are to go or the bits as well is not told where the
            // caller may keep the bits: then both go.
            let both = caller.keeps && file.1 && ours.mode == theirs.mode & 0o777;
            // Nobody is asked whether those may chown who are neither root nor the owner.
            let unasked = theirs.result == Err(Errno::PERM) && ours.mode == theirs.mode;
            let same = ours == theirs
                || (both && ours.capabilities == theirs.capabilities)
                || (unasked && name == "chown of nothing");
            if !same && unknown == [false; 2] {
                writeln!(wrong, "{what}: {ours}, not {theirs}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "differs from the host:\n{wrong}");
    assert!(compared > 500, "few ways work on the host: {compared}");
    mounted.finish();
}
