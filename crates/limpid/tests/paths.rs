//! Goal: the last name of a path (a link, a dangling one, `.` or `..`, a slash behind it) means to
//! every call of the library what it means to the kernel. Method: each call is made with each path
//! in a pool and, by system calls, in a directory of the host that holds the same; the errno and
//! what is there afterwards are compared.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use limpid::{
    Error, FileKind, NodeKind, OpenOptions, Pool, RenameFlags, SetAttributes, XattrFlags,
};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use tempfile::TempDir;

/// What the trees hold: `d` is a directory with an `f`, `e` an empty one; the links are named after
/// what they lead to.
const LINKS: [(&str, &str); 8] = [
    ("lf", "f"),
    ("ld", "d"),
    ("lnone", "none"),
    ("loop", "loop"),
    ("lf-slash", "f/"),
    ("lnew-slash", "none/"),
    ("llf", "lf"),
    ("ldot", "d/."),
];

const PATHS: [&str; 36] = [
    "",
    "/",
    ".",
    "..",
    "f",
    "f/",
    "f/.",
    "f/..",
    "d",
    "d/",
    "d/.",
    "d/..",
    "e",
    "e/",
    "none",
    "none/",
    "none/x",
    "lf",
    "lf/",
    "ld",
    "ld/",
    "ld/f",
    "ld/..",
    "lnone",
    "lnone/",
    "lnone/.",
    "loop",
    "loop/",
    "lf-slash",
    "lnew-slash",
    "llf",
    "ldot",
    "d/f/x",
    "d/f",
    "e/.",
    "e/new",
];

/// Paths for pairs.
const PAIRS: [&str; 24] = [
    "", "/", ".", "..", "f", "f/", "d", "d/", "d/.", "d/..", "e", "e/", "none", "none/", "d/x/",
    "lf", "lf/", "ld", "ld/", "lnone", "lnone/", "loop/", "d/f", "ld/f",
];

/// A directory of the host, named by its descriptor as the kernel's calls want it.
struct Host {
    folder: TempDir,
    fd: OwnedFd,
}

const DIRECTORY: Mode = Mode::from_raw_mode(0o755);
const FILE: Mode = Mode::from_raw_mode(0o644);

impl Host {
    fn new() -> Host {
        let folder = tempfile::tempdir().unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let inner = folder.path().join("root");
        std::fs::create_dir(&inner).unwrap();
        let fd = rustix::fs::open(&inner, flags, Mode::empty()).unwrap();
        let host = Host { folder, fd };
        host.fill();
        host
    }

    fn fill(&self) {
        let root = self.folder.path().join("root");
        for directory in ["d", "e"] {
            std::fs::create_dir(root.join(directory)).unwrap();
        }
        std::fs::write(root.join("f"), "f").unwrap();
        std::fs::write(root.join("d/f"), "d/f").unwrap();
        for (name, target) in LINKS {
            std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        }
    }

    fn refill(&self) {
        let root = self.folder.path().join("root");
        for entry in std::fs::read_dir(&root).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                std::fs::remove_dir_all(entry.path()).unwrap();
            } else {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        self.fill();
    }

    /// Every path with what is there.
    fn picture(&self) -> BTreeMap<String, String> {
        let mut picture = BTreeMap::new();
        let root = self.folder.path().join("root");
        let mut todo = vec![root.clone()];
        while let Some(directory) = todo.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let meta = path.symlink_metadata().unwrap();
                let shown = if meta.is_dir() {
                    todo.push(path.clone());
                    "directory".to_owned()
                } else if meta.is_symlink() {
                    std::fs::read_link(&path).unwrap().display().to_string()
                } else if meta.is_file() {
                    std::fs::read_to_string(&path).unwrap()
                } else {
                    "special".to_owned()
                };
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                picture.insert(name, shown);
            }
        }
        picture
    }
}

fn fill(pool: &Pool) {
    pool.create_dir("d", 0o755).unwrap();
    pool.create_dir("e", 0o755).unwrap();
    pool.write("f", b"f").unwrap();
    pool.write("d/f", b"d/f").unwrap();
    for (name, target) in LINKS {
        pool.symlink(target, name).unwrap();
    }
}

fn refill(pool: &Pool) {
    let entries: Vec<_> = pool.read_dir("/").unwrap().map(Result::unwrap).collect();
    for entry in entries {
        if entry.kind == FileKind::Directory {
            pool.remove_dir_all(&entry.name).unwrap();
        } else {
            pool.remove_file(&entry.name).unwrap();
        }
    }
    fill(pool);
}

fn picture(pool: &Pool) -> BTreeMap<String, String> {
    let mut picture = BTreeMap::new();
    let mut todo = vec![String::new()];
    while let Some(directory) = todo.pop() {
        for entry in pool.read_dir(format!("/{directory}")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.name.to_str().unwrap();
            let path =
                if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
            let shown = match entry.kind {
                FileKind::Directory => {
                    todo.push(path.clone());
                    "directory".to_owned()
                }
                FileKind::Symlink => pool.read_link(&path).unwrap().display().to_string(),
                FileKind::File => String::from_utf8(pool.read(&path).unwrap()).unwrap(),
                _ => "special".to_owned(),
            };
            picture.insert(path, shown);
        }
    }
    picture
}

/// One call, in a pool and by the kernel.
type Call = (&'static str, fn(&Pool, &str) -> limpid::Result<()>, fn(&Host, &str) -> Kernel);
type Kernel = rustix::io::Result<()>;

const SET: SetAttributes =
    SetAttributes { mode: Some(0o700), uid: None, gid: None, atime: None, mtime: None };

const CALLS: [Call; 15] = [
    (
        "metadata",
        |pool, path| pool.metadata(path).map(drop),
        |host, path| rustix::fs::statat(&host.fd, path, AtFlags::empty()).map(drop),
    ),
    (
        "symlink_metadata",
        |pool, path| pool.symlink_metadata(path).map(drop),
        |host, path| rustix::fs::statat(&host.fd, path, AtFlags::SYMLINK_NOFOLLOW).map(drop),
    ),
    (
        "open to read",
        |pool, path| open(pool, path, OpenOptions::new().read(true)),
        |host, path| kernel_open(host, path, OFlags::RDONLY),
    ),
    (
        "open to read, no link",
        |pool, path| open(pool, path, OpenOptions::new().read(true).follow(false)),
        |host, path| kernel_open(host, path, OFlags::RDONLY | OFlags::NOFOLLOW),
    ),
    (
        "open to write",
        |pool, path| open(pool, path, OpenOptions::new().write(true)),
        |host, path| kernel_open(host, path, OFlags::WRONLY),
    ),
    (
        "open to create",
        |pool, path| open(pool, path, OpenOptions::new().write(true).create(true)),
        |host, path| kernel_open(host, path, OFlags::WRONLY | OFlags::CREATE),
    ),
    (
        "open to create anew",
        |pool, path| open(pool, path, OpenOptions::new().write(true).create_new(true)),
        |host, path| kernel_open(host, path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL),
    ),
    (
        "create_dir",
        |pool, path| pool.create_dir(path, 0o755),
        |host, path| rustix::fs::mkdirat(&host.fd, path, DIRECTORY),
    ),
    (
        "symlink",
        |pool, path| pool.symlink("to", path),
        |host, path| rustix::fs::symlinkat("to", &host.fd, path),
    ),
    (
        "make_node",
        |pool, path| pool.make_node(path, NodeKind::Fifo, 0o600),
        |host, path| rustix::fs::mknodat(&host.fd, path, FileType::Fifo, FILE, 0),
    ),
    (
        "remove_file",
        |pool, path| pool.remove_file(path),
        |host, path| rustix::fs::unlinkat(&host.fd, path, AtFlags::empty()),
    ),
    (
        "remove_dir",
        |pool, path| pool.remove_dir(path),
        |host, path| {
            // The root of the host cannot be tried without danger.
            if path == "/" {
                Err(Errno::BUSY)
            } else {
                rustix::fs::unlinkat(&host.fd, path, AtFlags::REMOVEDIR)
            }
        },
    ),
    (
        "read_link",
        |pool, path| pool.read_link(path).map(drop),
        |host, path| rustix::fs::readlinkat(&host.fd, path, Vec::new()).map(drop),
    ),
    (
        "read_dir",
        |pool, path| pool.read_dir(path).map(drop),
        |host, path| kernel_open(host, path, OFlags::RDONLY | OFlags::DIRECTORY),
    ),
    (
        "set_attributes",
        |pool, path| pool.set_attributes(path, true, &SET),
        |host, path| {
            if path == "/" || path == ".." {
                return Ok(());
            }
            rustix::fs::chmodat(&host.fd, path, DIRECTORY, AtFlags::empty())
        },
    ),
];

fn open(pool: &Pool, path: &str, options: &OpenOptions) -> limpid::Result<()> {
    options.open(pool, path).map(drop)
}

fn kernel_open(host: &Host, path: &str, flags: OFlags) -> Kernel {
    rustix::fs::openat(&host.fd, path, flags, FILE).map(drop)
}

/// The errno, 0 for none.
fn code(ours: &limpid::Result<()>) -> i32 {
    ours.as_ref().err().map_or(0, Error::errno)
}

fn kernel_code(theirs: Kernel) -> i32 {
    theirs.err().map_or(0, Errno::raw_os_error)
}

#[test]
fn a_path_means_what_it_means_to_the_kernel() {
    let pool = Pool::memory(16 << 20).unwrap();
    let host = Host::new();
    fill(&pool);
    let mut wrong = Vec::new();
    for (name, ours, theirs) in CALLS {
        for path in PATHS {
            let (ours, theirs) = (ours(&pool, path), kernel_code(theirs(&host, path)));
            if code(&ours) != theirs {
                wrong.push(format!("{name} {path:?}: {ours:?}, the kernel {theirs}"));
            }
            if code(&ours) == 0 || theirs == 0 {
                if picture(&pool) != host.picture() {
                    wrong.push(format!("{name} {path:?}: other trees"));
                }
                refill(&pool);
                host.refill();
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One call with two paths.
type Pair<'a> = (
    &'a str,
    &'a dyn Fn(&Pool, &str, &str) -> limpid::Result<()>,
    &'a dyn Fn(&Host, &str, &str) -> Kernel,
);

#[test]
fn a_pair_of_paths_means_what_it_means_to_the_kernel() {
    let kernel_flags = rustix::fs::RenameFlags::from_bits_retain;
    let rename = |flags: RenameFlags| {
        move |pool: &Pool, from: &str, to: &str| pool.rename_with(from, to, flags)
    };
    let renameat = |flags: u32| {
        move |host: &Host, from: &str, to: &str| {
            rustix::fs::renameat_with(&host.fd, from, &host.fd, to, kernel_flags(flags))
        }
    };
    let calls: [Pair<'_>; 4] = [
        ("rename", &rename(RenameFlags::empty()), &renameat(0)),
        ("rename, no replace", &rename(RenameFlags::NOREPLACE), &renameat(1)),
        ("exchange", &rename(RenameFlags::EXCHANGE), &renameat(2)),
        ("link", &|pool, from, to| pool.hard_link(from, to), &|host, from, to| {
            rustix::fs::linkat(&host.fd, from, &host.fd, to, AtFlags::empty())
        }),
    ];
    let pool = Pool::memory(16 << 20).unwrap();
    let host = Host::new();
    fill(&pool);
    let mut wrong = Vec::new();
    for (name, ours, theirs) in calls {
        for from in PAIRS {
            for to in PAIRS {
                // The host's root is another file system, which has an answer of its own.
                if (from == "/" || to == "/") && from != to {
                    continue;
                }
                let (ours, theirs) = (ours(&pool, from, to), kernel_code(theirs(&host, from, to)));
                if code(&ours) != theirs {
                    wrong.push(format!("{name} {from:?} {to:?}: {ours:?}, the kernel {theirs}"));
                }
                if code(&ours) == 0 || theirs == 0 {
                    if picture(&pool) != host.picture() {
                        wrong.push(format!("{name} {from:?} {to:?}: other trees"));
                    }
                    refill(&pool);
                    host.refill();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn directories_are_made_all_the_way() {
    let pool = Pool::memory(16 << 20).unwrap();
    fill(&pool);
    for path in ["new/a/b", "new/a/b", "n/.", "m/../o/", "ld/k", "ld", "/", ".", "d/../e"] {
        pool.create_dir_all(path, 0o755).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    for path in ["new/a/b", "n", "m", "o", "d/k"] {
        assert!(pool.metadata(path).is_ok_and(|found| found.is_dir()), "{path}");
    }
    for path in ["f", "lf", "lnone", "lnone/k", "f/x", "loop/x"] {
        assert!(pool.create_dir_all(path, 0o755).is_err(), "{path}");
    }
    assert!(pool.symlink_metadata("none").is_err());
}

#[test]
fn what_lies_behind_a_link_is_not_removed() {
    let pool = Pool::memory(16 << 20).unwrap();
    fill(&pool);
    for path in ["ld", "ld/", "f", "f/", ".", "d/.", "d/..", "/", "loop/"] {
        assert!(pool.remove_dir_all(path).is_err(), "{path}");
    }
    assert_eq!(pool.read("d/f").unwrap(), b"d/f");
    pool.set_xattr("ld", true, "user.x", b"1", XattrFlags::empty()).unwrap();
    pool.remove_dir_all("d/").unwrap();
    assert!(!pool.exists("d"));
}
