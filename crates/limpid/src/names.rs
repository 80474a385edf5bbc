//! Names: directories, links, renaming, nodes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use limpid_fs::{FsError, Kind, NewNode};

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
    dir: limpid_fs::Held,
    cookie: u64,
    chunk: std::vec::IntoIter<DirEntry>,
    done: bool,
}

impl ReadDir {
    fn fetch(&mut self) -> Result<()> {
        self.pool.inner.here()?;
        let mut entries = Vec::new();
        let fs = &self.pool.inner.fs;
        fs.read_dir(self.dir.ino(), self.cookie, &mut |entry| {
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
    fn place(&self, path: &Path, last: Last) -> Result<Place> {
        self.inner.here()?;
        walk(&self.inner.fs, path, last).map_err(|error| Error::walk(path, error))
    }

    /// The inode a path leads to.
    pub(crate) fn find(&self, path: &Path, follow: bool) -> Result<limpid_fs::Held> {
        let last = if follow { Last::Follow } else { Last::Stay };
        self.place(path, last)?.into_existing().map_err(Error::at(path))
    }

    fn create_node(&self, path: &Path, kind: Kind<'_>, mode: u32) -> Result<()> {
        let at = Error::at(path);
        let place = self.place(path, Last::New)?;
        let name = place.new_name(kind == Kind::Directory).map_err(&at)?;
        let (uid, gid) = process_ids();
        let new = NewNode { kind, mode, uid, gid };
        let inode = self.inner.fs.create(place.dir, name, new).map_err(&at)?;
        drop(self.inner.nodes.adopt(inode));
        self.inner.tell_name(place.dir.0, name, &[]);
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
        let held = self.find(path, follow)?;
        self.inner.fetch_holes(held.ino().0, 0..u64::MAX);
        Ok(Metadata::from(held.attributes()))
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
        let dir = self.find(path, true)?;
        if dir.kind() != FileKind::Directory {
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
            Ok(found) if found.kind() == FileKind::Directory => return Ok(()),
            Ok(_) => return Err(Error::at(path)(FsError::Exists)),
            Err(_) => {}
        }
        let (above, name) = split(path);
        if !above.as_os_str().is_empty() {
            self.create_dir_all(above, mode).map_err(|error| match error {
                Error::Path { path, source: FsError::Exists } => {
                    Error::Path { path, source: FsError::NotDirectory }
                }
                other => other,
            })?;
        }
        if name == b"." {
            return Ok(());
        }
        match self.create_dir(path, mode) {
            // Somebody else made it, or it is a link that leads nowhere.
            Err(Error::Path { source: FsError::Exists, .. })
                if self.find(path, true).is_ok_and(|found| found.kind() == FileKind::Directory) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Removes a name that is not a directory. The file lives on while it is open.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut place = self.place(path, Last::Name)?;
        place.let_go();
        let name = place.file_name().map_err(Error::at(path))?;
        if self.inner.outside.get().is_some() {
            let gone = self.inodes().unlink(place.dir.0, name).map(Some);
            self.tell_gone(&place, name, path, gone)
        } else {
            self.inner.fs.unlink(place.dir, name).map_err(Error::at(path))?;
            Ok(())
        }
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut place = self.place(path, Last::Name)?;
        place.let_go();
        let name = place.directory_name().map_err(Error::at(path))?;
        if self.inner.outside.get().is_some() {
            let gone = self.inodes().rmdir(place.dir.0, name).map(Some);
            self.tell_gone(&place, name, path, gone)
        } else {
            self.inner.fs.rmdir(place.dir, name).map_err(Error::at(path))?;
            Ok(())
        }
    }

    /// A name is gone, perhaps an inode's last: a cache outside is told, and may hold the inode.
    /// `gone` is what stood there.
    fn tell_gone(
        &self,
        place: &Place,
        name: &[u8],
        path: &Path,
        gone: Result<Option<Held>>,
    ) -> Result<()> {
        let held = gone.map_err(|error| match error {
            Error::Fs(source) => Error::at(path)(source),
            other => other,
        })?;
        let inode = held.as_ref().map(Held::ino);
        if let Some(cache) = self.inner.outside.get()
            && let Some(held) = held
            && held.metadata().nlink == 0
        {
            cache.last_name_gone(held);
        }
        self.inner.tell_name(place.dir.0, name, inode.as_slice());
        Ok(())
    }

    /// Removes a directory and all that is in it; symbolic links are not followed, not even with a
    /// slash behind them. What cannot be removed itself keeps what is in it.
    pub fn remove_dir_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let place = self.place(path, Last::Name)?;
        place.directory_name().and_then(|_| place.existing()).map_err(Error::at(path))?;
        if place.found.is_some_and(|(_, kind)| kind != FileKind::Directory) {
            return Err(Error::at(path)(FsError::NotDirectory));
        }
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
        let (from, to) = (from.as_ref(), to.as_ref());
        let mut source = self.place(from, Last::Name)?;
        let mut target = self.place(to, Last::Name)?;
        source.let_go();
        target.let_go();
        let (name, new_name) = source.renamed(&target, flags).map_err(Error::at(from))?;
        if self.inner.outside.get().is_some() {
            let gone = self.inodes().rename((source.dir.0, name), (target.dir.0, new_name), flags);
            self.tell_gone(&target, new_name, from, gone)?;
            let moved = source.found.map(|(ino, _)| ino.0);
            self.inner.tell_name(source.dir.0, name, moved.as_slice());
            return Ok(());
        }
        let fs = &self.inner.fs;
        fs.rename(source.dir, name, target.dir, new_name, flags).map_err(Error::at(from))
    }

    /// Gives a file another name.
    pub fn hard_link(&self, original: impl AsRef<Path>, link: impl AsRef<Path>) -> Result<()> {
        let (original, link) = (original.as_ref(), link.as_ref());
        let held = self.find(original, false)?;
        let place = self.place(link, Last::Name)?;
        let name = place.new_name(false).map_err(Error::at(link))?;
        if held.kind() == FileKind::Directory {
            return Err(Error::at(original)(FsError::NotPermitted));
        }
        self.inner.fs.link(held.ino(), place.dir, name).map_err(Error::at(link))?;
        self.inner.tell_name(place.dir.0, name, &[held.ino().0]);
        Ok(())
    }

    /// Gives an open file another name, or one that has none its first.
    pub fn link_file(&self, file: &File, link: impl AsRef<Path>) -> Result<()> {
        let link = link.as_ref();
        let place = self.place(link, Last::Name)?;
        let name = place.new_name(false).map_err(Error::at(link))?;
        let ino = file.node.inode().ino();
        if file.node.inode().kind() == FileKind::Directory {
            return Err(Error::at(link)(FsError::NotPermitted));
        }
        self.inner.fs.link(ino, place.dir, name).map_err(Error::at(link))?;
        self.inner.tell_name(place.dir.0, name, &[ino.0]);
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
        let held = self.find(path, false)?;
        Ok(path_of(&self.inner.fs.read_link(held.ino()).map_err(Error::at(path))?))
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

/// The path of the directory above, empty if none is named, and the last name.
fn split(path: &Path) -> (&Path, &[u8]) {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let start = bytes[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    (Path::new(OsStr::from_bytes(&bytes[..start])), &bytes[start..end])
}

/// A name as bytes.
pub(crate) fn name_bytes(name: &OsStr) -> &[u8] {
    name.as_bytes()
}
