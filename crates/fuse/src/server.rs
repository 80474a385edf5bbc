//! The requests of the kernel, each handed to the file that knows how to serve it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, Notifier, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use limpid::{Inodes, Metadata, Pool};

use crate::attr::file_attr;
use crate::gates::Gates;
use crate::handles::Handles;
use crate::known::Known;
use crate::metrics::{Metrics, Op};
use crate::names::Listing;
use crate::options::MountOptions;

/// Largest read and write request in bytes.
pub(crate) const MAX_TRANSFER: u32 = 1 << 20;
/// Requests the kernel may have under way in the background, such as readahead.
const MAX_BACKGROUND: u16 = 64;

/// What every request needs. Shared by the threads of a mount.
pub(crate) struct Server {
    pub pool: Pool,
    pub inodes: Inodes,
    pub options: MountOptions,
    pub ttl: Duration,
    pub handles: Handles,
    pub known: Known,
    pub gates: Gates,
    /// The way to the kernel, from when there is one.
    pub notifier: OnceLock<Notifier>,
    pub metrics: Metrics,
}

/// Result of serving a request.
pub(crate) type Served<T> = Result<T, Errno>;

/// The errno of a failed operation.
pub(crate) fn errno(error: limpid::Error) -> Errno {
    Errno::from_i32(error.errno())
}

impl Server {
    pub fn new(pool: Pool, options: MountOptions) -> Server {
        Server {
            inodes: pool.inodes().with_access_times(options.access_times),
            pool,
            ttl: options.ttl(),
            options,
            handles: Handles::new(),
            known: Known::default(),
            gates: Gates::default(),
            notifier: OnceLock::new(),
            metrics: Metrics::default(),
        }
    }

    /// Counts a request and passes its result on.
    pub fn counted<T>(&self, op: Op, result: Served<T>) -> Served<T> {
        self.metrics.count(op, result.is_err());
        result
    }

    fn reply_entry(&self, op: Op, result: Served<Metadata>, reply: ReplyEntry) {
        match self.counted(op, result) {
            Ok(metadata) => {
                self.known.add(metadata.ino);
                let attr = file_attr(&metadata, &self.options);
                reply.entry(&self.ttl, &attr, generation(&metadata));
            }
            Err(error) => reply.error(error),
        }
    }

    fn reply_attr(&self, op: Op, result: Served<Metadata>, reply: ReplyAttr) {
        match self.counted(op, result) {
            Ok(metadata) => reply.attr(&self.ttl, &file_attr(&metadata, &self.options)),
            Err(error) => reply.error(error),
        }
    }

    fn reply_empty(&self, op: Op, result: Served<()>, reply: ReplyEmpty) {
        match self.counted(op, result) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn reply_written(&self, op: Op, result: Served<usize>, reply: ReplyWrite) {
        match self.counted(op, result) {
            Ok(len) => reply.written(len as u32),
            Err(error) => reply.error(error),
        }
    }
}

pub(crate) fn generation(metadata: &Metadata) -> Generation {
    Generation(u64::from(metadata.generation))
}

/// The threads' handle of the server.
pub(crate) struct Serve(pub Arc<Server>);

impl Filesystem for Serve {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Not ATOMIC_O_TRUNC: the kernel would ask to empty a file that is being run, and refuse
        // the caller only afterwards. Without it, emptying is a request of its own.
        let wanted = [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ];
        for flag in wanted {
            // A kernel without one of them works, only less well.
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(MAX_TRANSFER);
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn destroy(&mut self) {
        self.0.handles.clear();
        self.0.known.clear();
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.0.inodes.lookup(parent.0, name.as_bytes()).map_err(errno);
        match found {
            Err(error) if error.code() == Errno::ENOENT.code() => {
                self.0.metrics.count(Op::Lookup, false);
                // Number 0 tells the kernel that it may remember that there is no such name.
                reply.entry(&self.0.ttl, &crate::attr::nothing(), Generation(0));
            }
            found => self.0.reply_entry(Op::Lookup, found, reply),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, nlookup: u64) {
        self.0.known.forget(ino.0, nlookup);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let metadata = self.0.inodes.metadata(ino.0).map_err(errno);
        self.0.reply_attr(Op::Attributes, metadata, reply);
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = limpid::SetAttributes {
            mode,
            uid,
            gid,
            atime: atime.map(crate::attr::timespec),
            mtime: mtime.map(crate::attr::timespec),
        };
        let result = self.0.set_attributes(req.uid(), ino.0, set, size);
        self.0.reply_attr(Op::Change, result, reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.0.counted(Op::Lookup, self.0.inodes.read_link(ino.0).map_err(errno)) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let made = self.0.make_node(req, parent.0, name.as_bytes(), mode, rdev);
        self.0.reply_entry(Op::Create, made, reply);
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let kind = limpid::NewKind::Directory;
        let made = self.0.create(req, parent.0, name.as_bytes(), kind, mode);
        self.0.reply_entry(Op::Create, made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let gone = self.0.inodes.unlink(parent.0, name.as_bytes());
        self.0.reply_empty(Op::Remove, self.0.keep_gone(gone), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let gone = self.0.inodes.rmdir(parent.0, name.as_bytes());
        self.0.reply_empty(Op::Remove, self.0.keep_gone(gone), reply);
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let kind = limpid::NewKind::Symlink(target.as_os_str().as_bytes());
        let made = self.0.create(req, parent.0, name.as_bytes(), kind, 0o777);
        self.0.reply_entry(Op::Create, made, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = ((parent.0, name.as_bytes()), (newparent.0, newname.as_bytes()));
        self.0.reply_empty(Op::Rename, self.0.rename(from, to, flags.bits()), reply);
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let linked = self.0.inodes.link(ino.0, newparent.0, newname.as_bytes()).map_err(errno);
        self.0.reply_entry(Op::Link, linked, reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.0.counted(Op::Open, self.0.open(ino.0, flags.0)) {
            Ok(handle) => reply.opened(FileHandle(handle), open_flags()),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.0.create_open(req, parent.0, name.as_bytes(), mode, flags);
        match self.0.counted(Op::Create, made) {
            Ok((metadata, handle)) => {
                self.0.known.add(metadata.ino);
                let attr = file_attr(&metadata, &self.0.options);
                let number = FileHandle(handle);
                reply.created(&self.0.ttl, &attr, generation(&metadata), number, open_flags());
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.0.read(fh.0, offset, size, |result| match self.0.counted(Op::Read, result) {
            Ok(bytes) => reply.data(bytes),
            Err(error) => reply.error(error),
        });
    }

    fn write(
        &self,
        req: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let kill = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let from_cache = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let unprivileged = kill.then(|| req.uid());
        let written = self.0.write(fh.0, offset, data, flags.0, from_cache, unprivileged);
        self.0.reply_written(Op::Write, written, reply);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Nothing is kept back, so the kernel need not ask again.
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        drop(self.0.handles.remove(fh.0));
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, fh: FileHandle, data: bool, reply: ReplyEmpty) {
        self.0.reply_empty(Op::Sync, self.0.sync(fh.0, data), reply);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // A listing needs no state here: the kernel need not ask again, and may keep listings.
        reply.error(Errno::ENOSYS);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.0.list(ino.0, offset, &mut Listing::Names(&mut reply));
        match self.0.counted(Op::List, listed) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.0.list(ino.0, offset, &mut Listing::Attributes(&mut reply));
        match self.0.counted(Op::List, listed) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.0.reply_empty(Op::Sync, self.0.pool.sync().map_err(errno), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.0.pool.statfs() {
            Ok(space) => reply.statfs(
                space.blocks,
                space.free,
                space.available,
                space.files.saturating_add(space.files_free),
                space.files_free,
                space.block_size as u32,
                space.max_name,
                space.block_size as u32,
            ),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let set = self.0.set_xattr(ino.0, name.as_bytes(), value, flags);
        self.0.reply_empty(Op::Xattr, set, reply);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = self.0.get_xattr(ino.0, name.as_bytes());
        self.0.reply_xattr(value, size, reply);
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.0.list_xattrs(req.uid(), ino.0);
        self.0.reply_xattr(names, size, reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.0.remove_xattr(ino.0, name.as_bytes());
        self.0.reply_empty(Op::Xattr, removed, reply);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.0.reply_empty(Op::Allocate, self.0.allocate(fh.0, offset, length, mode), reply);
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match self.0.counted(Op::Attributes, self.0.seek(fh.0, offset, whence)) {
            Ok(found) => reply.offset(found),
            Err(error) => reply.error(error),
        }
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        _: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let copied = self.0.copy((fh_in.0, offset_in), (fh_out.0, offset_out), len);
        self.0.reply_written(Op::Copy, copied, reply);
    }
}

/// The kernel may keep what it has read: whatever changes the file without it tells it so.
fn open_flags() -> FopenFlags {
    FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
}
