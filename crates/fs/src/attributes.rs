//! Attributes of files as callers see them.

use rustix::time::{ClockId, clock_gettime};

/// Number of an inode.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl core::fmt::Debug for Ino {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "inode {}", self.0)
    }
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileKind {
    /// A regular file.
    File = 1,
    /// A directory.
    Directory = 2,
    /// A symbolic link.
    Symlink = 3,
    /// A named pipe.
    Fifo = 4,
    /// A socket.
    Socket = 5,
    /// A character device.
    CharDevice = 6,
    /// A block device.
    BlockDevice = 7,
}

impl FileKind {
    pub(crate) fn from_u8(value: u8) -> Option<FileKind> {
        use FileKind::*;
        [File, Directory, Symlink, Fifo, Socket, CharDevice, BlockDevice]
            .into_iter()
            .find(|kind| *kind as u8 == value)
    }
}

/// What to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// An empty regular file.
    File,
    /// An empty directory.
    Directory,
    /// A symbolic link to this target (1 to 4095 bytes).
    Symlink(&'a [u8]),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device with this number.
    CharDevice(u64),
    /// A block device with this number.
    BlockDevice(u64),
}

impl Kind<'_> {
    /// The kind without its details.
    pub fn file_kind(&self) -> FileKind {
        match self {
            Kind::File => FileKind::File,
            Kind::Directory => FileKind::Directory,
            Kind::Symlink(_) => FileKind::Symlink,
            Kind::Fifo => FileKind::Fifo,
            Kind::Socket => FileKind::Socket,
            Kind::CharDevice(_) => FileKind::CharDevice,
            Kind::BlockDevice(_) => FileKind::BlockDevice,
        }
    }
}

/// A new inode: what it is and whose.
#[derive(Clone, Copy, Debug)]
pub struct NewNode<'a> {
    /// What to create.
    pub kind: Kind<'a>,
    /// Permission bits (the low 12 bits are used).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A point in time since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespec {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999 999 999.
    pub nanoseconds: u32,
}

impl Timespec {
    /// The time now, as exact as the system's coarse clock.
    pub fn now() -> Timespec {
        if let Some(now) = crate::control::clock() {
            return now;
        }
        let now = clock_gettime(ClockId::RealtimeCoarse);
        Timespec { seconds: now.tv_sec, nanoseconds: now.tv_nsec as u32 }
    }
}

/// All attributes of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Number of the inode.
    pub ino: Ino,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits (12 bits, without the file type).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names (for a directory 2 plus its subdirectories).
    pub nlink: u32,
    /// Size in bytes.
    pub size: u64,
    /// Blocks of 4 KiB it uses, its metadata included.
    pub blocks: u64,
    /// Device number of a device node.
    pub rdev: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of the data.
    pub mtime: Timespec,
    /// Last change of data or attributes.
    pub ctime: Timespec,
    /// Birth.
    pub btime: Timespec,
    /// Changes each time the inode number is used again.
    pub generation: u32,
    /// It has extended attributes.
    pub has_xattrs: bool,
}

/// Attributes to change; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permission bits (12 bits).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub atime: Option<Timespec>,
    /// Last change of the data.
    pub mtime: Option<Timespec>,
}
