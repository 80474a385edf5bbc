//! The door of a mount: every request comes in here, and a panic in one is that one's error.
//!
//! A request that panics is answered with EIO: its reply, which the panic drops, says so (fuser
//! answers what nobody has answered). The thread goes on with the next request. What the request
//! held is let go on the way out; if it was inside a commit the journal takes no more changes
//! (limpid-fs, `tx.rs`). The panic's own message, with its place, goes where panics go; one line
//! after it tells which request it was.
//!
//! All requests that there are stand here, whether the mount serves them or not, so that none
//! goes by. (Many inodes that are forgotten at once come as one by one.)

use std::ffi::OsStr;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, Filesystem, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};

/// Serves what another file system serves, and outlives its panics.
pub(crate) struct Door<F>(pub F);

/// Runs a part of a request; tells of a panic in it, and of which request it was. None then.
pub(crate) fn guarded<T>(request: &str, part: impl FnOnce() -> T) -> Option<T> {
    // What a panic leaves half done is the file system's to guard: see the module's documentation.
    let done = catch_unwind(AssertUnwindSafe(part)).ok();
    if done.is_none() {
        eprintln!("limpid: a request ({request}) failed by an internal error: EIO");
    }
    done
}

macro_rules! requests {
    ($($name:ident($($arg:ident: $type:ty),* $(,)?);)*) => {
        impl<F: Filesystem> Filesystem for Door<F> {
            fn init(&mut self, request: &Request, config: &mut KernelConfig) -> io::Result<()> {
                let failed = || Err(io::Error::other("an internal error"));
                guarded("init", || self.0.init(request, config)).unwrap_or_else(failed)
            }

            fn destroy(&mut self) {
                guarded("destroy", || self.0.destroy());
            }

            $(fn $name(&self, request: &Request, $($arg: $type),*) {
                guarded(stringify!($name), || self.0.$name(request, $($arg),*));
            })*
        }
    };
}

requests! {
    lookup(parent: INodeNo, name: &OsStr, reply: ReplyEntry);
    forget(ino: INodeNo, lookups: u64);
    getattr(ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr);
    setattr(
        ino: INodeNo, mode: Option<u32>, uid: Option<u32>, gid: Option<u32>,
        size: Option<u64>, atime: Option<TimeOrNow>, mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>, fh: Option<FileHandle>, crtime: Option<SystemTime>,
        chgtime: Option<SystemTime>, bkuptime: Option<SystemTime>,
        flags: Option<BsdFileFlags>, reply: ReplyAttr,
    );
    readlink(ino: INodeNo, reply: ReplyData);
    mknod(parent: INodeNo, name: &OsStr, mode: u32, umask: u32, rdev: u32, reply: ReplyEntry);
    mkdir(parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry);
    unlink(parent: INodeNo, name: &OsStr, reply: ReplyEmpty);
    rmdir(parent: INodeNo, name: &OsStr, reply: ReplyEmpty);
    symlink(parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry);
    rename(
        parent: INodeNo, name: &OsStr, to: INodeNo, new: &OsStr, flags: RenameFlags,
        reply: ReplyEmpty,
    );
    link(ino: INodeNo, to: INodeNo, name: &OsStr, reply: ReplyEntry);
    open(ino: INodeNo, flags: OpenFlags, reply: ReplyOpen);
    create(
        parent: INodeNo, name: &OsStr, mode: u32, umask: u32, flags: i32, reply: ReplyCreate,
    );
    read(
        ino: INodeNo, fh: FileHandle, offset: u64, size: u32, flags: OpenFlags,
        owner: Option<LockOwner>, reply: ReplyData,
    );
    write(
        ino: INodeNo, fh: FileHandle, offset: u64, data: &[u8], how: WriteFlags,
        flags: OpenFlags, owner: Option<LockOwner>, reply: ReplyWrite,
    );
    flush(ino: INodeNo, fh: FileHandle, owner: LockOwner, reply: ReplyEmpty);
    release(
        ino: INodeNo, fh: FileHandle, flags: OpenFlags, owner: Option<LockOwner>,
        flush: bool, reply: ReplyEmpty,
    );
    fsync(ino: INodeNo, fh: FileHandle, data: bool, reply: ReplyEmpty);
    opendir(ino: INodeNo, flags: OpenFlags, reply: ReplyOpen);
    readdir(ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectory);
    readdirplus(ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectoryPlus);
    releasedir(ino: INodeNo, fh: FileHandle, flags: OpenFlags, reply: ReplyEmpty);
    fsyncdir(ino: INodeNo, fh: FileHandle, data: bool, reply: ReplyEmpty);
    statfs(ino: INodeNo, reply: ReplyStatfs);
    setxattr(
        ino: INodeNo, name: &OsStr, value: &[u8], flags: i32, position: u32,
        reply: ReplyEmpty,
    );
    getxattr(ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr);
    listxattr(ino: INodeNo, size: u32, reply: ReplyXattr);
    removexattr(ino: INodeNo, name: &OsStr, reply: ReplyEmpty);
    access(ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty);
    getlk(
        ino: INodeNo, fh: FileHandle, owner: LockOwner, start: u64, end: u64, kind: i32,
        pid: u32, reply: ReplyLock,
    );
    setlk(
        ino: INodeNo, fh: FileHandle, owner: LockOwner, start: u64, end: u64, kind: i32,
        pid: u32, sleep: bool, reply: ReplyEmpty,
    );
    bmap(ino: INodeNo, blocksize: u32, index: u64, reply: ReplyBmap);
    ioctl(
        ino: INodeNo, fh: FileHandle, flags: IoctlFlags, cmd: u32, data: &[u8], out: u32,
        reply: ReplyIoctl,
    );
    poll(
        ino: INodeNo, fh: FileHandle, ph: PollNotifier, events: PollEvents, flags: PollFlags,
        reply: ReplyPoll,
    );
    fallocate(
        ino: INodeNo, fh: FileHandle, offset: u64, length: u64, mode: i32, reply: ReplyEmpty,
    );
    lseek(ino: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek);
    copy_file_range(
        from: INodeNo, fh: FileHandle, at: u64, to: INodeNo, to_fh: FileHandle, to_at: u64,
        len: u64, flags: CopyFileRangeFlags, reply: ReplyWrite,
    );
}

#[cfg(test)]
mod tests;
