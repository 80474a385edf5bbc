//! The host's files as a tree.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use limpid::{FileKind, Timespec};
use rustix::event::PollFlags;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, SeekFrom, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::tree::{HOST, Id, Node, Reader, Tree, Writer};
use crate::interrupt;

/// The host's files.
pub struct HostTree;

impl Tree for HostTree {
    fn number(&self) -> usize {
        HOST
    }

    fn show(&self, path: &Path) -> String {
        path.display().to_string()
    }

    fn node(&self, path: &Path, follow: bool) -> io::Result<Option<Node>> {
        let found = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
        match found {
            Ok(metadata) => Ok(Some(node_of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn medium(&self) -> Option<Id> {
        None
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn open(&self, path: &Path, follow: bool) -> io::Result<Box<dyn Reader>> {
        let flags = if follow { 0 } else { rustix::fs::OFlags::NOFOLLOW.bits() as i32 };
        let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let stream = !file.metadata()?.is_file();
        Ok(Box::new(HostFile { file, stream, unnamed: false }))
    }

    fn open_stream(&self, path: &Path) -> io::Result<Box<dyn Writer>> {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        Ok(Box::new(HostFile { file, stream: true, unnamed: false }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Writer>> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let (file, unnamed) = match rustix::fs::open(folder.unwrap_or(Path::new(".")), flags, mode)
        {
            Ok(fd) => (File::from(fd), true),
            // Not every file system has files without names.
            Err(_) => {
                let mut options = fs::OpenOptions::new();
                (options.write(true).create_new(true).mode(0o600).open(path)?, false)
            }
        };
        Ok(Box::new(HostFile { file, stream: false, unnamed }))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::mkdir(path, Mode::RWXU)?)
    }

    fn make_symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, path)
    }

    fn make_special(&self, node: &Node, path: &Path) -> io::Result<()> {
        let kind = match node.kind {
            FileKind::Fifo => FileType::Fifo,
            FileKind::Socket => FileType::Socket,
            FileKind::CharDevice => FileType::CharacterDevice,
            FileKind::BlockDevice => FileType::BlockDevice,
            FileKind::File | FileKind::Directory | FileKind::Symlink => {
                return Err(Errno::INVAL.into());
            }
        };
        Ok(rustix::fs::mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, node.rdev)?)
    }

    fn hard_link(&self, original: &Path, path: &Path) -> io::Result<()> {
        fs::hard_link(original, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_all(&self, path: &Path) -> io::Result<()> {
        if fs::symlink_metadata(path)?.is_dir() {
            return fs::remove_dir_all(path);
        }
        fs::remove_file(path)
    }

    fn set_owner(&self, path: &Path, node: &Node) -> io::Result<bool> {
        let change = |uid| {
            let group = Some(Gid::from_raw(node.gid));
            rustix::fs::chownat(CWD, path, uid, group, AtFlags::SYMLINK_NOFOLLOW)
        };
        match change(Some(Uid::from_raw(node.uid))) {
            Ok(()) => Ok(true),
            Err(Errno::PERM | Errno::INVAL) if !rustix::process::geteuid().is_root() => {
                // A group that is not this user's is not kept either, which is no failure.
                let _ = change(None);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn set_mode_and_times(&self, path: &Path, node: &Node) -> io::Result<()> {
        if node.kind != FileKind::Symlink {
            rustix::fs::chmod(path, Mode::from_raw_mode(node.mode))?;
        }
        let times = Timestamps {
            last_access: raw_time(node.atime),
            last_modification: raw_time(node.mtime),
        };
        Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn xattrs(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let list = match with_growing_buffer(|buffer| rustix::fs::llistxattr(path, buffer)) {
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
                return Ok(Vec::new());
            }
            list => list?,
        };
        let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| OsString::from_vec(name.to_vec())).collect())
    }

    fn xattr(&self, path: &Path, name: &OsStr) -> io::Result<Vec<u8>> {
        with_growing_buffer(|buffer| rustix::fs::lgetxattr(path, name, buffer))
    }

    fn set_xattr(&self, path: &Path, name: &OsStr, value: &[u8]) -> io::Result<bool> {
        // Which names and sizes a file system takes differs too much for a failure to be one of
        // the copy.
        Ok(rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).is_ok())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        // A link or device cannot be opened to be synced; the folder it is in can.
        let is_plain = fs::symlink_metadata(path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = if is_plain.is_dir() { Some(path) } else { parent };
        Ok(rustix::fs::syncfs(File::open(folder.unwrap_or(Path::new(".")))?)?)
    }
}

/// Calls until the buffer is large enough for what may grow between two calls.
fn with_growing_buffer(
    call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error.into()),
        }
    }
}

fn node_of(metadata: &fs::Metadata) -> Node {
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_dir() => FileKind::Directory,
        () if kind.is_symlink() => FileKind::Symlink,
        () if kind.is_fifo() => FileKind::Fifo,
        () if kind.is_socket() => FileKind::Socket,
        () if kind.is_char_device() => FileKind::CharDevice,
        () if kind.is_block_device() => FileKind::BlockDevice,
        () => FileKind::File,
    };
    let time = |seconds, nanoseconds: i64| Timespec { seconds, nanoseconds: nanoseconds as u32 };
    Node {
        id: Id { tree: HOST, device: metadata.dev(), ino: metadata.ino() },
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        nlink: metadata.nlink(),
        size: metadata.size(),
        rdev: metadata.rdev(),
        atime: time(metadata.atime(), metadata.atime_nsec()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
    }
}

fn raw_time(time: Timespec) -> rustix::fs::Timespec {
    rustix::fs::Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) }
}

/// An open file of the host; a stream has no offsets.
struct HostFile {
    file: File,
    stream: bool,
    /// It has no name yet.
    unnamed: bool,
}

impl Reader for HostFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            if self.stream {
                interrupt::wait_for(&self.file, PollFlags::IN)?;
            }
            let read = match self.stream {
                true => io::Read::read(&mut &self.file, buffer),
                false => self.file.read_at(buffer, offset),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn next_data(&self, from: u64, size: u64) -> io::Result<Option<Range<u64>>> {
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(from)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((from < size).then_some(from..size)),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&self.file, SeekFrom::Hole(start))?;
        Ok((start < size && start < end).then_some(start..end.min(size)))
    }
}

impl Writer for HostFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.stream {
            true => io::Write::write_all(&mut &self.file, bytes),
            false => self.file.write_all_at(bytes, offset),
        }
    }

    fn set_len(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn publish(&self, path: &Path) -> io::Result<()> {
        if !self.unnamed {
            return Ok(());
        }
        // The way that needs no privilege; the other one needs no /proc.
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        match rustix::fs::linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW) {
            Err(Errno::NOENT) => {
                Ok(rustix::fs::linkat(&self.file, "", CWD, path, AtFlags::EMPTY_PATH)?)
            }
            linked => Ok(linked?),
        }
    }
}
