//! A pool's files as a tree.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use limpid::{
    Error, File, FileKind, FsError, Metadata, NodeKind, OpenOptions, Pool, SetAttributes,
    XattrFlags,
};

use super::tree::{HOST, Id, Node, Reader, Tree, Writer};
use crate::failure::kept;

/// The files of a pool.
pub struct PoolTree {
    pool: Pool,
    shown: PathBuf,
    number: usize,
    medium: Option<Id>,
}

impl PoolTree {
    /// The tree of the pool that was opened at `path`.
    pub fn new(pool: Pool, path: &Path, number: usize) -> PoolTree {
        let medium = fs::metadata(path).ok();
        let id = |medium: fs::Metadata| Id { tree: HOST, device: medium.dev(), ino: medium.ino() };
        PoolTree { pool, shown: path.to_owned(), number, medium: medium.map(id) }
    }

    fn node_of(&self, metadata: &Metadata) -> Node {
        Node {
            id: Id { tree: self.number, device: 0, ino: metadata.ino },
            kind: metadata.kind,
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            nlink: u64::from(metadata.nlink),
            size: metadata.size,
            rdev: metadata.rdev,
            atime: metadata.atime,
            mtime: metadata.mtime,
        }
    }
}

impl Tree for PoolTree {
    fn number(&self) -> usize {
        self.number
    }

    fn show(&self, path: &Path) -> String {
        format!("{}:{}", self.shown.display(), path.display())
    }

    fn node(&self, path: &Path, follow: bool) -> io::Result<Option<Node>> {
        let pool = &self.pool;
        let found = if follow { pool.metadata(path) } else { pool.symlink_metadata(path) };
        match found {
            Ok(metadata) => Ok(Some(self.node_of(&metadata))),
            Err(Error::Path { source: FsError::NotFound, .. }) => Ok(None),
            Err(error) => Err(kept(error)),
        }
    }

    fn medium(&self) -> Option<Id> {
        self.medium
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let entries = self.pool.read_dir(path).map_err(kept)?;
        entries.map(|entry| Ok(entry.map_err(kept)?.name)).collect()
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.pool.read_link(path).map_err(kept)
    }

    fn open(&self, path: &Path, follow: bool) -> io::Result<Box<dyn Reader>> {
        let file =
            OpenOptions::new().read(true).follow(follow).open(&self.pool, path).map_err(kept)?;
        Ok(Box::new(PoolFile(file)))
    }

    fn open_stream(&self, path: &Path) -> io::Result<Box<dyn Writer>> {
        // The pipes and devices of a pool are names only: nothing is behind them.
        Err(kept(Error::Path { path: path.to_owned(), source: FsError::Invalid }))
    }

    fn create(&self, _path: &Path) -> io::Result<Box<dyn Writer>> {
        let mut options = OpenOptions::new();
        let file = options.write(true).mode(0o600).open_unnamed(&self.pool).map_err(kept)?;
        Ok(Box::new(NewPoolFile { pool: self.pool.clone(), file }))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.pool.create_dir(path, 0o700).map_err(kept)
    }

    fn make_symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.pool.symlink(target, path).map_err(kept)
    }

    fn make_special(&self, node: &Node, path: &Path) -> io::Result<()> {
        let kind = match node.kind {
            FileKind::Fifo => NodeKind::Fifo,
            FileKind::Socket => NodeKind::Socket,
            FileKind::CharDevice => NodeKind::CharDevice(node.rdev),
            FileKind::BlockDevice => NodeKind::BlockDevice(node.rdev),
            FileKind::File | FileKind::Directory | FileKind::Symlink => {
                return Err(kept(Error::Path { path: path.to_owned(), source: FsError::Invalid }));
            }
        };
        self.pool.make_node(path, kind, 0o600).map_err(kept)
    }

    fn hard_link(&self, original: &Path, path: &Path) -> io::Result<()> {
        self.pool.hard_link(original, path).map_err(kept)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pool.rename(from, to).map_err(kept)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.pool.remove_file(path).map_err(kept)
    }

    fn remove_all(&self, path: &Path) -> io::Result<()> {
        if self.pool.symlink_metadata(path).map_err(kept)?.is_dir() {
            return self.pool.remove_dir_all(path).map_err(kept);
        }
        self.pool.remove_file(path).map_err(kept)
    }

    fn set_owner(&self, path: &Path, node: &Node) -> io::Result<bool> {
        // Who may write the pool could set any owner; the rules of the host hold all the same, or
        // its owner's set-user-id programs would come with the copy.
        let (root, user) = (rustix::process::geteuid().is_root(), rustix::process::geteuid());
        let group_is_ours = root || may_give(node.gid)?;
        let same = root || (user.as_raw() == node.uid && group_is_ours);
        let set = SetAttributes {
            uid: same.then_some(node.uid),
            gid: group_is_ours.then_some(node.gid),
            ..SetAttributes::default()
        };
        self.pool.set_attributes(path, false, &set).map_err(kept)?;
        Ok(same)
    }

    fn set_mode_and_times(&self, path: &Path, node: &Node) -> io::Result<()> {
        let set = SetAttributes {
            mode: (node.kind != FileKind::Symlink).then_some(node.mode),
            atime: Some(node.atime),
            mtime: Some(node.mtime),
            ..SetAttributes::default()
        };
        self.pool.set_attributes(path, false, &set).map_err(kept)
    }

    fn xattrs(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.pool.list_xattrs(path, false).map_err(kept)
    }

    fn xattr(&self, path: &Path, name: &OsStr) -> io::Result<Vec<u8>> {
        self.pool.get_xattr(path, false, name).map_err(kept)
    }

    fn set_xattr(&self, path: &Path, name: &OsStr, value: &[u8]) -> io::Result<bool> {
        if name == "security.capability" && !rustix::process::geteuid().is_root() {
            return Ok(false);
        }
        self.pool.set_xattr(path, false, name, value, XattrFlags::empty()).map_err(kept)?;
        Ok(true)
    }

    fn sync(&self, _path: &Path) -> io::Result<()> {
        self.pool.sync().map_err(kept)
    }
}

/// Whether this process may give its files to a group.
fn may_give(gid: u32) -> io::Result<bool> {
    let own = rustix::process::getegid().as_raw();
    let others = rustix::process::getgroups().map_err(io::Error::from)?;
    Ok(own == gid || others.iter().any(|group| group.as_raw() == gid))
}

struct PoolFile(File);

impl Reader for PoolFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset).map_err(kept)
    }

    fn next_data(&self, from: u64, size: u64) -> io::Result<Option<Range<u64>>> {
        let Some(start) = self.0.seek_data(from).map_err(kept)?.filter(|start| *start < size)
        else {
            return Ok(None);
        };
        let end = self.0.seek_hole(start).map_err(kept)?.unwrap_or(size).min(size);
        Ok((start < end).then_some(start..end))
    }
}

/// A file without a name yet.
struct NewPoolFile {
    pool: Pool,
    file: File,
}

impl Writer for NewPoolFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset).map_err(kept)
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size).map_err(kept)
    }

    fn publish(&self, path: &Path) -> io::Result<()> {
        self.pool.link_file(&self.file, path).map_err(kept)
    }
}
