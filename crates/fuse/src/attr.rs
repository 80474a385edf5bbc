//! Attributes, from the pool's form to the kernel's and back.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use limpid::{FileKind, Metadata, Timespec};

use crate::options::MountOptions;

/// Size of the blocks `st_blocks` counts, in units of which a pool's block has eight.
pub(crate) const SECTORS_PER_BLOCK: u64 = 8;
/// What `st_blksize` says: the block of a pool in bytes.
const BLOCK_SIZE: u32 = 4096;

/// Attributes as the kernel gets them.
pub(crate) fn file_attr(metadata: &Metadata, options: &MountOptions) -> FileAttr {
    FileAttr {
        ino: INodeNo(metadata.ino),
        size: metadata.size,
        blocks: metadata.blocks * SECTORS_PER_BLOCK,
        atime: system_time(metadata.atime),
        mtime: system_time(metadata.mtime),
        ctime: system_time(metadata.ctime),
        crtime: system_time(metadata.btime),
        kind: file_type(metadata.kind),
        perm: (metadata.mode & 0o7777 & !options.umask.unwrap_or(0)) as u16,
        nlink: metadata.nlink,
        uid: options.uid.unwrap_or(metadata.uid),
        gid: options.gid.unwrap_or(metadata.gid),
        rdev: metadata.rdev as u32,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// The attributes of a name that does not exist: number 0.
pub(crate) fn nothing() -> FileAttr {
    let epoch = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
        crtime: epoch,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// Kind of a file.
pub(crate) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

fn system_time(time: Timespec) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    let exact = whole.and_then(|at| at.checked_add(Duration::new(0, time.nanoseconds)));
    exact.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A time the kernel wants to set.
pub(crate) fn timespec(time: TimeOrNow) -> Timespec {
    match time {
        TimeOrNow::Now => Timespec::now(),
        TimeOrNow::SpecificTime(time) => from_kernel(time),
    }
}

/// `fuser` hands a time before 1970 over as 1970 minus its seconds minus its nanoseconds, though
/// nanoseconds always count forward.
fn from_kernel(time: SystemTime) -> Timespec {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => Timespec {
            seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: after.subsec_nanos(),
        },
        Err(error) => {
            let before = error.duration();
            Timespec {
                seconds: 0i64.checked_sub_unsigned(before.as_secs()).unwrap_or(i64::MIN),
                nanoseconds: before.subsec_nanos(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let wanted = Timespec { seconds: -2, nanoseconds: 800_000_000 };
        let told = SystemTime::UNIX_EPOCH - Duration::new(2, 800_000_000);
        assert_eq!(from_kernel(told), wanted);
        let shown = SystemTime::UNIX_EPOCH - Duration::new(1, 200_000_000);
        assert_eq!(system_time(wanted), shown);
    }

    #[test]
    fn impossible_times_do_not_end_the_server() {
        for seconds in [i64::MIN, i64::MIN + 1, i64::MAX] {
            let _ = system_time(Timespec { seconds, nanoseconds: 999_999_999 });
        }
    }
}
