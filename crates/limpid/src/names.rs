//! Names: directories, links, renaming, nodes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use limpid_fs::{FsError, Ino, Kind, NewNode};

use crate::error::{Error, Result};
use crate::file::File;
use crate::inodes::Held;
use crate::metadata::{FileKind, Metadata};
use crate::open::process_ids;
use crate::path::{Last, Place, path_of, walk};
use crate::pool::Pool;

pub use limpid_fs::RenameFlags;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name.
    pub name: OsString,
    /// Number of the inode.
    pub ino: u64,
    /// What it is.
    pub kind: FileKind,
    /// Where [`Pool::read_dir_from`] goes on behind this entry.
    pub cookie: u64,
}

/// Entries fetched from the file system at a time.
const CHUNK: usize = 256;

/// Iterator over a directory. Names that exist all the while come exactly once; names that come
/// or go meanwhile may or may not.
pub struct ReadDir {
    pool: Pool,
    path: PathBuf,
    dir: Ino,
    cookie: u64,
    chunk: std::vec::IntoIter<DirEntry>,
    done: bool,
}

impl ReadDir {
    fn fetch(&mut self) -> Result<()> {
        let mut entries = Vec::new();
        let fs = &self.pool.inner.fs;
        fs.read_dir(self.dir, self.cookie, &mut |entry| {
            entries.push(DirEntry {
                name: OsString::from_vec(entry.name.to_vec()),
                ino: entry.ino.0,
                kind: entry.kind,
                cookie: entry.cookie,
            });
            entries.len() < CHUNK
        })
        .map_err(Error::at(&self.path))?;
        match entries.last() {
            Some(last) => self.cookie = last.cookie,
            None => self.done = true,
        }
        self.chunk = entries.into_iter();
        Ok(())
    }
}

impl Iterator for ReadDir {
    type Item = Result<DirEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.chunk.next() {
                return Some(Ok(entry));
            }
            if self.done {
                return None;
            }
            if let Err(error) = self.fetch() {
                self.done = true;
                return Some(Err(error));
            }
        }
    }
}

/// What a new node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device with this number.
    CharDevice(u64),
    /// A block device with this number.
    BlockDevice(u64),
}

impl Pool {
    pub(crate) fn place(&self, path: &Path, follow: bool) -> Result<Place> {
        let last = if follow { Last::Follow } else { Last::Stay };
        walk(&self.inner.fs, path, last).map_err(|error| Error::walk(path, error))
    }

    /// The inode a path leads to.
    pub(crate) fn find(&self, path: &Path, follow: bool) -> Result<(Ino, FileKind)> {
        self.place(path, follow)?.found.ok_or_else(|| Error::at(path)(FsError::NotFound))
    }

    /// Where the last name of a path is; a path without one (the root) cannot be used.
    fn named(&self, path: &Path) -> Result<Place> {
        let place = self.place(path, false)?;
        if place.name.is_empty() {
            return Err(Error::at(path)(FsError::InvalidName));
        }
        Ok(place)
    }

    fn create_node(&self, path: &Path, kind: Kind<'_>, mode: u32) -> Result<()> {
        let place = self.place(path, false)?;
        if place.found.is_some() {
            return Err(Error::at(path)(FsError::Exists));
        }
        let (uid, gid) = process_ids();
        let new = NewNode { kind, mode, uid, gid };
        let inode = self.inner.fs.create(place.dir, &place.name, new).map_err(Error::at(path))?;
        drop(self.inner.nodes.adopt(inode));
        self.inner.tell_name(place.dir.0, &place.name, &[]);
        Ok(())
    }

    /// Attributes; a symbolic link at the end is followed.
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        self.attributes(path.as_ref(), true)
    }

    /// Attributes; a symbolic link at the end is not followed.
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        self.attributes(path.as_ref(), false)
    }

    fn attributes(&self, path: &Path, follow: bool) -> Result<Metadata> {
        let (ino, _) = self.find(path, follow)?;
        let node = self.inner.nodes.open(ino).map_err(Error::at(path))?;
        self.inner.fetch_holes(node.inode().ino().0, 0..u64::MAX);
        Ok(Metadata::from(node.inode().attributes()))
    }

    /// True if the path leads somewhere.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.find(path.as_ref(), true).is_ok()
    }

    /// The entries of a directory, without `.` and `..`.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<ReadDir> {
        self.read_dir_from(path, 0)
    }

    /// The entries of a directory behind the one with this cookie; 0 is the beginning.
    pub fn read_dir_from(&self, path: impl AsRef<Path>, cookie: u64) -> Result<ReadDir> {
        let path = path.as_ref();
        let (dir, kind) = self.find(path, true)?;
        if kind != FileKind::Directory {
            return Err(Error::at(path)(FsError::NotDirectory));
        }
        Ok(ReadDir {
            pool: self.clone(),
            path: path.to_owned(),
            dir,
            cookie,
            chunk: Vec::new().into_iter(),
            done: false,
        })
    }

    /// Creates a directory with these permission bits.
    pub fn create_dir(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        self.create_node(path.as_ref(), Kind::Directory, mode)
    }

    /// Creates a directory and those above it, where they do not exist.
    pub fn create_dir_all(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        match self.find(path, true) {
            Ok((_, FileKind::Directory)) => return Ok(()),
            Ok(_) => return Err(Error::at(path)(FsError::NotDirectory)),
            Err(_) => {}
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.create_dir_all(parent, mode)?;
        }
        match self.create_dir(path, mode) {
            Err(Error::Path { source: FsError::Exists, .. }) => Ok(()),
            other => other,
        }
    }

    /// Removes a name that is not a directory. The file lives on while it is open.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let place = self.named(path)?;
        if self.inner.outside.get().is_some() {
            let gone = self.inodes().unlink(place.dir.0, &place.name);
            self.tell_gone(&place, path, gone)
        } else {
            self.inner.fs.unlink(place.dir, &place.name).map_err(Error::at(path))?;
            Ok(())
        }
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let place = self.named(path)?;
        if self.inner.outside.get().is_some() {
            let gone = self.inodes().rmdir(place.dir.0, &place.name);
            self.tell_gone(&place, path, gone)
        } else {
            self.inner.fs.rmdir(place.dir, &place.name).map_err(Error::at(path))?;
            Ok(())
        }
    }

    /// A name is gone, perhaps an inode's last: a cache outside is told, and may hold the inode.
    fn tell_gone(&self, place: &Place, path: &Path, gone: Result<Option<Held>>) -> Result<()> {
        let held = gone.map_err(|error| match error {
            Error::Fs(source) => Error::at(path)(source),
            other => other,
        })?;
        if let Some(cache) = self.inner.outside.get()
            && let Some(held) = held
        {
            cache.last_name_gone(held);
        }
        let inode = place.found.map(|(ino, _)| ino.0);
        self.inner.tell_name(place.dir.0, &place.name, inode.as_slice());
        Ok(())
    }

    /// Removes a directory and all that is in it; symbolic links are not followed.
    pub fn remove_dir_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        loop {
            let mut empty = true;
            for entry in self.read_dir(path)? {
                let entry = entry?;
                empty = false;
                let child = path.join(&entry.name);
                if entry.kind == FileKind::Directory {
                    self.remove_dir_all(&child)?;
                } else {
                    self.remove_file(&child)?;
                }
            }
            if empty {
                return self.remove_dir(path);
            }
        }
    }

    /// Renames; what is at the target is replaced.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.rename_with(from, to, RenameFlags::empty())
    }

    /// Renames with flags: fail if the target exists, or exchange the two.
    pub fn rename_with(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        flags: RenameFlags,
    ) -> Result<()> {
        let source = self.named(from.as_ref())?;
        let target = self.named(to.as_ref())?;
        let from = from.as_ref();
        if self.inner.outside.get().is_some() {
            let (old, new) = ((source.dir.0, &*source.name), (target.dir.0, &*target.name));
            let gone = self.inodes().rename(old, new, flags);
            self.tell_gone(&target, from, gone)?;
            let moved = source.found.map(|(ino, _)| ino.0);
            self.inner.tell_name(source.dir.0, &source.name, moved.as_slice());
            return Ok(());
        }
        let fs = &self.inner.fs;
        fs.rename(source.dir, &source.name, target.dir, &target.name, flags)
            .map_err(Error::at(from))
    }

    /// Gives a file another name.
    pub fn hard_link(&self, original: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
        let (ino, _) = self.find(original.as_ref(), false)?;
        let place = self.named(link.as_ref())?;
        let fs = &self.inner.fs;
        fs.link(ino, place.dir, &place.name).map_err(Error::at(link.as_ref()))?;
        self.inner.tell_name(place.dir.0, &place.name, &[ino.0]);
        Ok(())
    }

    /// Creates a symbolic link at `link` that leads to `target`.
    pub fn symlink(&self, target: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
        let target = target.as_ref().as_os_str().as_bytes();
        self.create_node(link.as_ref(), Kind::Symlink(target), 0o777)
    }

    /// Where a symbolic link leads.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let (ino, _) = self.find(path, false)?;
        Ok(path_of(&self.inner.fs.read_link(ino).map_err(Error::at(path))?))
    }

    /// Creates a pipe, socket or device node.
    pub fn make_node(&self, path: impl AsRef<Path>, kind: NodeKind, mode: u32) -> Result<()> {
        let kind = match kind {
            NodeKind::Fifo => Kind::Fifo,
            NodeKind::Socket => Kind::Socket,
            NodeKind::CharDevice(number) => Kind::CharDevice(number),
            NodeKind::BlockDevice(number) => Kind::BlockDevice(number),
        };
        self.create_node(path.as_ref(), kind, mode)
    }

    /// The whole contents of a file.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let file = File::open(self, path)?;
        let mut bytes = vec![0; file.len() as usize];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Makes a file hold exactly these bytes.
    pub fn write(&self, path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        File::create(self, path)?.write_all_at(bytes, 0)
    }
}

/// A name as bytes.
pub(crate) fn name_bytes(name: &OsStr) -> &[u8] {
    name.as_bytes()
}
