//! A picture of a tree: everything a copy has to keep, in a form that compares.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use limpid::{FileKind, Pool};

/// One file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub kind: &'static str,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, u32),
    /// Bytes of a file, target of a link, number of a device.
    pub content: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path, in order, that is the same file.
    pub first_name: PathBuf,
}

/// All files of a tree by their paths from its root, which is the empty path.
pub type Tree = BTreeMap<PathBuf, Picture>;

/// The picture of a tree on the host.
pub fn of_host(root: &Path) -> Tree {
    let mut tree = Tree::new();
    host_below(root, Path::new(""), &mut tree, &mut HashMap::new());
    tree
}

fn host_below(root: &Path, path: &Path, tree: &mut Tree, first: &mut HashMap<u64, PathBuf>) {
    let full = root.join(path);
    let full = if path.as_os_str().is_empty() { root } else { &full };
    let metadata = fs::symlink_metadata(full).unwrap();
    let file_type = metadata.file_type();
    let (kind, content) = if file_type.is_dir() {
        ("directory", Vec::new())
    } else if file_type.is_file() {
        ("file", fs::read(full).unwrap())
    } else if file_type.is_symlink() {
        ("symlink", fs::read_link(full).unwrap().into_os_string().into_encoded_bytes())
    } else if file_type.is_fifo() {
        ("fifo", Vec::new())
    } else if file_type.is_socket() {
        ("socket", Vec::new())
    } else {
        ("device", metadata.rdev().to_ne_bytes().to_vec())
    };
    let picture = Picture {
        kind,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec() as u32),
        content,
        xattrs: host_xattrs(full),
        first_name: first.entry(metadata.ino()).or_insert_with(|| path.to_owned()).clone(),
    };
    tree.insert(path.to_owned(), picture);
    if file_type.is_dir() {
        let names = fs::read_dir(full).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        for name in names {
            host_below(root, &path.join(name), tree, first);
        }
    }
}

fn host_xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut buffer = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut buffer).unwrap_or(0);
    let names = buffer[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value_of = |name: &[u8]| {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        value.truncate(length);
        value
    };
    names.map(|name| (name.to_vec(), value_of(name))).collect()
}

/// The picture of a tree in a pool.
pub fn of_pool(pool: &Pool, root: &Path) -> Tree {
    let mut tree = Tree::new();
    pool_below(pool, root, Path::new(""), &mut tree, &mut HashMap::new());
    tree
}

fn pool_below(
    pool: &Pool,
    root: &Path,
    path: &Path,
    tree: &mut Tree,
    first: &mut HashMap<u64, PathBuf>,
) {
    let full = root.join(path);
    let metadata = pool.symlink_metadata(&full).unwrap();
    let (kind, content) = match metadata.kind {
        FileKind::Directory => ("directory", Vec::new()),
        FileKind::File => ("file", read_pool(pool, &full, metadata.size)),
        FileKind::Symlink => {
            ("symlink", pool.read_link(&full).unwrap().into_os_string().into_encoded_bytes())
        }
        FileKind::Fifo => ("fifo", Vec::new()),
        FileKind::Socket => ("socket", Vec::new()),
        FileKind::CharDevice | FileKind::BlockDevice => {
            ("device", metadata.rdev.to_ne_bytes().to_vec())
        }
    };
    let names = pool.list_xattrs(&full, false).unwrap().into_iter();
    let xattr = |name: std::ffi::OsString| {
        let value = pool.get_xattr(&full, false, &name).unwrap();
        (name.into_encoded_bytes(), value)
    };
    let picture = Picture {
        kind,
        mode: metadata.mode,
        owner: (metadata.uid, metadata.gid),
        mtime: (metadata.mtime.seconds, metadata.mtime.nanoseconds),
        content,
        xattrs: names.map(xattr).collect(),
        first_name: first.entry(metadata.ino).or_insert_with(|| path.to_owned()).clone(),
    };
    tree.insert(path.to_owned(), picture);
    if metadata.is_dir() {
        let names = pool.read_dir(&full).unwrap().map(|entry| entry.unwrap().name);
        let mut names: Vec<_> = names.collect();
        names.sort();
        for name in names {
            pool_below(pool, root, &path.join(name), tree, first);
        }
    }
}

fn read_pool(pool: &Pool, path: &Path, size: u64) -> Vec<u8> {
    let file = limpid::File::open(pool, path).unwrap();
    let mut bytes = vec![0xaa; size as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

/// Fails at the first difference, with its path and without all the bytes.
pub fn assert_same(left: &Tree, right: &Tree, context: &str) {
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(left), names(right), "{context}: names");
    for (path, picture) in left {
        let other = &right[path];
        let same = picture.content == other.content;
        assert!(same, "{context}: {}: contents differ", path.display());
        let bare = |picture: &Picture| Picture { content: Vec::new(), ..picture.clone() };
        assert_eq!(bare(picture), bare(other), "{context}: {}", path.display());
    }
}
