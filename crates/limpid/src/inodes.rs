//! Files by the number of their inode: what a mount serves the kernel with, which names a file by
//! its number, or by a directory's number and a name.
//!
//! What is done here is the doing of the cache outside ([`crate::OutsideCache`]), if the pool has
//! one: it is not told.

use std::sync::Arc;

use limpid_fs::{Fs, Ino, Inode, NewNode, RenameFlags, SetAttributes, XattrFlags};

use crate::error::Result;
use crate::file::{File, Mode};
use crate::metadata::Metadata;
use crate::node::Node;
use crate::pool::Pool;

/// The files of a pool by number, for who serves them to others (a mount is told of changes made
/// through [`Pool`], not of those made here). Names are bytes without slashes; symbolic links are
/// not followed.
///
/// ```
/// use limpid::{NewInode, NewKind, Opening, Pool};
/// let pool = Pool::memory(16 << 20)?;
/// let inodes = pool.inodes();
/// let new = NewInode { kind: NewKind::File, mode: 0o600, uid: 0, gid: 0 };
/// let made = inodes.create(inodes.root(), b"name", new, Opening::WRITE)?;
/// made.write_at(b"bytes", 0)?;
/// let found = inodes.lookup(inodes.root(), b"name")?;
/// let mut bytes = [0; 5];
/// inodes.open(found.ino(), Opening::READ)?.read_at(&mut bytes, 0)?;
/// assert_eq!(&bytes, b"bytes");
/// # Ok::<(), limpid::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Inodes {
    pool: Pool,
    access_times: AccessTimes,
    directory_access_times: bool,
}

/// When reading changes the time of last access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessTimes {
    /// If it is not newer than the last change, or older than a day.
    #[default]
    Relative,
    /// Each time.
    Always,
    /// Never.
    Never,
}

/// What an inode is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Reading is allowed.
    pub read: bool,
    /// Changing the bytes is allowed.
    pub write: bool,
}

impl Opening {
    /// For reading.
    pub const READ: Opening = Opening { read: true, write: false };
    /// For changes.
    pub const WRITE: Opening = Opening { read: false, write: true };
    /// For both.
    pub const BOTH: Opening = Opening { read: true, write: true };
}

/// A new inode: what it is and whose.
pub type NewInode<'a> = NewNode<'a>;

/// One name in a directory.
pub type InodeEntry<'a> = limpid_fs::DirEntry<'a>;

/// An inode that was looked up. As long as this lives the inode is not freed, even without a name,
/// and its number is not another one's.
#[derive(Debug)]
pub struct Held(limpid_fs::Held);

impl Held {
    /// Number of the inode.
    pub fn ino(&self) -> u64 {
        self.0.ino().0
    }

    /// Attributes.
    pub fn metadata(&self) -> Metadata {
        Metadata::from(self.0.attributes())
    }
}

impl Pool {
    /// The files of the pool by number.
    pub fn inodes(&self) -> Inodes {
        Inodes {
            pool: self.clone(),
            access_times: AccessTimes::Relative,
            directory_access_times: true,
        }
    }
}

impl Inodes {
    /// The same files, with another policy for the times of last access.
    pub fn with_access_times(self, access_times: AccessTimes) -> Inodes {
        Inodes { access_times, ..self }
    }

    /// The same files; reading a directory leaves its time of last access where `changes` is not
    /// set.
    pub fn with_directory_access_times(self, changes: bool) -> Inodes {
        Inodes { directory_access_times: changes, ..self }
    }

    fn note_read(&self, inode: &Inode) {
        match self.access_times {
            AccessTimes::Relative => inode.touch_accessed(),
            AccessTimes::Always => inode.touch_accessed_always(),
            AccessTimes::Never => {}
        }
    }

    fn note_listed(&self, dir: &Inode) {
        if self.directory_access_times {
            self.note_read(dir);
        }
    }

    /// Refuses in a forked child.
    fn fs(&self) -> Result<&Arc<Fs>> {
        self.pool.inner.here()?;
        Ok(&self.pool.inner.fs)
    }

    fn node(&self, ino: u64) -> Result<Arc<Node>> {
        self.pool.inner.here()?;
        Ok(self.pool.inner.nodes.open(Ino(ino))?)
    }

    /// Number of the root directory.
    pub fn root(&self) -> u64 {
        self.pool.inner.fs.root().0
    }

    /// The inode of a number that is in use.
    pub fn hold(&self, ino: u64) -> Result<Held> {
        Ok(Held(self.fs()?.hold(Ino(ino))?))
    }

    /// Attributes.
    pub fn metadata(&self, ino: u64) -> Result<Metadata> {
        Ok(self.hold(ino)?.metadata())
    }

    /// What a name stands for.
    pub fn lookup(&self, dir: u64, name: &[u8]) -> Result<Held> {
        Ok(Held(self.fs()?.lookup(Ino(dir), name)?))
    }

    /// The directory that holds a directory; the root is its own parent. Not found for one that
    /// was removed.
    pub fn parent(&self, dir: u64) -> Result<Held> {
        Ok(Held(self.fs()?.parent(Ino(dir))?))
    }

    /// Opens an inode. Of a directory or special file the handle gives the attributes only.
    pub fn open(&self, ino: u64, opening: Opening) -> Result<File> {
        let node = self.node(ino)?;
        Ok(self.file(node, opening))
    }

    /// As [`open`](Inodes::open), for what is not the doing of the cache outside: it is told of
    /// all that is done with the file.
    pub fn open_inside(&self, ino: u64, opening: Opening) -> Result<File> {
        let mut file = self.open(ino, opening)?;
        file.is_outside = false;
        Ok(file)
    }

    fn file(&self, node: Arc<Node>, opening: Opening) -> File {
        let mode = Mode { read: opening.read, write: opening.write, append: false };
        let mut file = File::new(self.pool.inner.clone(), node, mode);
        file.access_times = self.access_times;
        file.is_outside = true;
        file
    }

    /// Creates an inode with a name, and opens it.
    pub fn create(
        &self,
        dir: u64,
        name: &[u8],
        new: NewInode<'_>,
        opening: Opening,
    ) -> Result<File> {
        let inode = self.fs()?.create(Ino(dir), name, new)?;
        let node = self.pool.inner.nodes.adopt(inode);
        Ok(self.file(node, opening))
    }

    /// Removes a name that is not a directory's. What is returned is what lost the name; without
    /// another name it lives as long as that, and as long as it is open.
    pub fn unlink(&self, dir: u64, name: &[u8]) -> Result<Held> {
        Ok(Held(self.fs()?.unlink_held(Ino(dir), name)?))
    }

    /// Removes an empty directory; as [`unlink`](Inodes::unlink).
    pub fn rmdir(&self, dir: u64, name: &[u8]) -> Result<Held> {
        Ok(Held(self.fs()?.rmdir_held(Ino(dir), name)?))
    }

    /// Renames; what the new name stood for is replaced, and returned as by
    /// [`unlink`](Inodes::unlink).
    pub fn rename(
        &self,
        (from, name): (u64, &[u8]),
        (to, new_name): (u64, &[u8]),
        flags: RenameFlags,
    ) -> Result<Option<Held>> {
        let replaced = self.fs()?.rename_held((Ino(from), name), (Ino(to), new_name), flags)?;
        Ok(replaced.map(Held))
    }

    /// Gives an inode, which is not a directory, another name.
    pub fn link(&self, ino: u64, dir: u64, name: &[u8]) -> Result<Held> {
        let held = self.hold(ino)?;
        self.fs()?.link(Ino(ino), Ino(dir), name)?;
        Ok(held)
    }

    /// Where a symbolic link leads.
    pub fn read_link(&self, ino: u64) -> Result<Vec<u8>> {
        let held = self.hold(ino)?;
        let target = self.fs()?.read_link(Ino(ino))?;
        self.note_read(&held.0);
        Ok(target)
    }

    /// Calls `each` for the entries of a directory behind the one with this cookie (0 for all),
    /// without `.` and `..`, until it returns false. Cookies stay true while names come and go.
    pub fn read_dir(
        &self,
        dir: u64,
        cookie: u64,
        each: &mut dyn FnMut(InodeEntry<'_>) -> bool,
    ) -> Result<()> {
        let held = self.hold(dir)?;
        self.fs()?.read_dir(Ino(dir), cookie, each)?;
        self.note_listed(&held.0);
        Ok(())
    }

    /// As [`read_dir`](Inodes::read_dir), with what each name stands for.
    pub fn read_dir_held(
        &self,
        dir: u64,
        cookie: u64,
        each: &mut dyn FnMut(InodeEntry<'_>, Held) -> bool,
    ) -> Result<()> {
        let held = self.hold(dir)?;
        let mut wrapped = |entry: InodeEntry<'_>, found| each(entry, Held(found));
        self.fs()?.read_dir_held(Ino(dir), cookie, &mut wrapped)?;
        self.note_listed(&held.0);
        Ok(())
    }

    /// Changes attributes.
    pub fn set_attributes(&self, ino: u64, set: &SetAttributes) -> Result<()> {
        Ok(self.fs()?.set_attributes(&self.hold(ino)?.0, set)?)
    }

    /// The value of an extended attribute.
    pub fn get_xattr(&self, ino: u64, name: &[u8]) -> Result<Vec<u8>> {
        Ok(self.fs()?.get_xattr(&self.hold(ino)?.0, name)?)
    }

    /// Sets an extended attribute (values up to 64 KiB).
    pub fn set_xattr(&self, ino: u64, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<()> {
        Ok(self.fs()?.set_xattr(&self.hold(ino)?.0, name, value, flags)?)
    }

    /// The names of all extended attributes.
    pub fn list_xattrs(&self, ino: u64) -> Result<Vec<Vec<u8>>> {
        Ok(self.fs()?.list_xattrs(&self.hold(ino)?.0)?)
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&self, ino: u64, name: &[u8]) -> Result<()> {
        Ok(self.fs()?.remove_xattr(&self.hold(ino)?.0, name)?)
    }
}
