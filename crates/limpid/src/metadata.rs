//! Attributes as callers see them.

use std::time::{Duration, SystemTime};

pub use limpid_fs::FileKind;
use limpid_fs::{Attributes, Timespec};

/// Attributes of a file, directory or other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Number of the inode.
    pub ino: u64,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits (12 bits).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names.
    pub nlink: u32,
    /// Size in bytes.
    pub size: u64,
    /// Blocks of 4 KiB it uses.
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

impl From<Attributes> for Metadata {
    fn from(from: Attributes) -> Metadata {
        Metadata {
            ino: from.ino.0,
            kind: from.kind,
            mode: from.mode,
            uid: from.uid,
            gid: from.gid,
            nlink: from.nlink,
            size: from.size,
            blocks: from.blocks,
            rdev: from.rdev,
            atime: from.atime,
            mtime: from.mtime,
            ctime: from.ctime,
            btime: from.btime,
            generation: from.generation,
            has_xattrs: from.has_xattrs,
        }
    }
}

impl Metadata {
    /// True for a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// True for a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// True for a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind == FileKind::Symlink
    }

    /// Last change of the data as a `SystemTime`.
    pub fn modified(&self) -> SystemTime {
        let nanos = Duration::from_nanos(u64::from(self.mtime.nanoseconds));
        let seconds = Duration::from_secs(self.mtime.seconds.unsigned_abs());
        let whole = if self.mtime.seconds < 0 {
            SystemTime::UNIX_EPOCH - seconds
        } else {
            SystemTime::UNIX_EPOCH + seconds
        };
        whole + nanos
    }
}
