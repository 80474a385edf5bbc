//! What a tree of files has to offer to be copied from and into.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use limpid::{FileKind, Timespec};

/// Which file of which tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    /// The tree's number: [`HOST`], or that of an open pool.
    pub tree: usize,
    /// The device, on the host.
    pub device: u64,
    /// The inode.
    pub ino: u64,
}

/// Number of the host's tree.
pub const HOST: usize = 0;

/// What is known of a file, without its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Which it is.
    pub id: Id,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits (12 bits).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names.
    pub nlink: u64,
    /// Size in bytes.
    pub size: u64,
    /// Device number of a device node.
    pub rdev: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of the data.
    pub mtime: Timespec,
}

/// A file open for reading.
pub trait Reader {
    /// Reads from byte `offset` on; 0 at the end. A stream reads on from where it is.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The next bytes at or after `from` and below `size` that are not in a hole.
    fn next_data(&self, from: u64, size: u64) -> io::Result<Option<Range<u64>>>;
}

/// A file open for writing.
pub trait Writer {
    /// Writes all bytes at byte `offset`. A stream writes on from where it is.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Sets the size; growing adds a hole.
    fn set_len(&self, size: u64) -> io::Result<()>;

    /// Gives a file that [`Tree::create`] made this name, if it has none yet.
    fn publish(&self, path: &Path) -> io::Result<()>;
}

/// A tree of files. Except where said otherwise a symbolic link at the end of a path is not
/// followed, and creating something that exists is an error.
pub trait Tree {
    /// [`HOST`], or the number of the pool.
    fn number(&self) -> usize;

    /// What a path is called to the user.
    fn show(&self, path: &Path) -> String;

    /// What is at a path, if anything.
    fn node(&self, path: &Path, follow: bool) -> io::Result<Option<Node>>;

    /// The file on the host that holds this tree.
    fn medium(&self) -> Option<Id>;

    /// The names in a directory.
    fn names(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Where a symbolic link leads.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;

    /// Opens for reading.
    fn open(&self, path: &Path, follow: bool) -> io::Result<Box<dyn Reader>>;

    /// Opens what is no regular file for writing, links followed.
    fn open_stream(&self, path: &Path) -> io::Result<Box<dyn Writer>>;

    /// Creates a regular file that only its owner can use. Where that can be, it has no name until
    /// [`Writer::publish`]: however the process ends, nothing of it is left.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Writer>>;

    /// Creates a directory that only its owner can use.
    fn make_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates a symbolic link.
    fn make_symlink(&self, target: &Path, path: &Path) -> io::Result<()>;

    /// Creates a pipe, socket or device like `node`, which only its owner can use.
    fn make_special(&self, node: &Node, path: &Path) -> io::Result<()>;

    /// Gives a file another name.
    fn hard_link(&self, original: &Path, path: &Path) -> io::Result<()>;

    /// Renames; what is at the target is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name that is no directory.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a file, or a directory with all that is in it.
    fn remove_all(&self, path: &Path) -> io::Result<()>;

    /// Gives a file the owner and group of `node`. False if this process may not; then it has the
    /// group, where that may be.
    fn set_owner(&self, path: &Path, node: &Node) -> io::Result<bool>;

    /// Gives a file the mode and times of `node`.
    fn set_mode_and_times(&self, path: &Path, node: &Node) -> io::Result<()>;

    /// The names of the extended attributes.
    fn xattrs(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// The value of an extended attribute.
    fn xattr(&self, path: &Path, name: &OsStr) -> io::Result<Vec<u8>>;

    /// Sets an extended attribute; false if this tree does not take it.
    fn set_xattr(&self, path: &Path, name: &OsStr, value: &[u8]) -> io::Result<bool>;

    /// Makes all changes at and below the path durable.
    fn sync(&self, path: &Path) -> io::Result<()>;
}
