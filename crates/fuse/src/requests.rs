//! The requests of the kernel, each handed to the file that knows how to serve it.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, RequestId, TimeOrNow, WriteFlags,
};

use crate::append::Append;
use crate::direct::is_direct;
use crate::listeners::Turn;
use crate::metrics::Op;
use crate::names::Listing;
use crate::privileges::Changer;
use crate::server::{MAX_TRANSFER, Server, errno, generation};
use crate::write::Writing;

/// A read or write of so many bytes takes longer than to wake a thread.
const LARGE: usize = 128 << 10;
/// Requests the kernel may have under way in the background, such as readahead.
const MAX_BACKGROUND: u16 = 64;

/// The threads' handle of the server.
pub(crate) struct Serve(pub Arc<Server>);

impl Serve {
    /// Begins to serve a request, which has to be answered before the turn is dropped.
    fn begin(&self) -> (&Server, Turn<'_>) {
        let device = self.0.device.get().map(AsFd::as_fd);
        (&self.0, self.0.listeners.turn(device))
    }
}

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
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
            // Handles of files survive that the kernel forgets the inode: it asks for ".".
            InitFlags::FUSE_EXPORT_SUPPORT,
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
        if self.0.options.exclusive {
            self.0.pool.leave();
        }
        self.0.lost.clear();
        self.0.handles.clear();
        self.0.known.clear();
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (server, _turn) = self.begin();
        let found = server.lookup(parent.0, name.as_bytes());
        let found = found.map(|held| (held.metadata(), held));
        match found {
            Err(error) if error.code() == Errno::ENOENT.code() => {
                server.metrics.count(Op::Lookup, false);
                // Number 0 tells the kernel that it may remember that there is no such name.
                reply.entry(&server.ttl, &crate::attr::nothing(), Generation(0));
            }
            found => server.reply_entry(Op::Lookup, found, reply),
        }
    }

    fn forget(&self, req: &Request, ino: INodeNo, nlookup: u64) {
        thread_local! {
            static LAST: Cell<Option<RequestId>> = const { Cell::new(None) };
        }
        // Many come as one request. Its end is not told, so the first counts as that.
        let first = LAST.replace(Some(req.unique())) != Some(req.unique());
        let _turn = first.then(|| self.begin());
        let mut gone = false;
        self.0.known.forget(ino.0, nlookup, || {
            self.0.pages.forget(ino.0);
            self.0.past_end.forget(ino.0);
            self.0.stale.forget(ino.0);
            gone = true;
        });
        if gone {
            self.0.lost.forget(ino.0);
            self.0.cached.forget(ino.0);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let (server, _turn) = self.begin();
        let metadata = server.inodes.metadata(ino.0).map_err(errno);
        server.reply_attr(Op::Attributes, metadata, reply);
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
        let (_, _turn) = self.begin();
        let set = limpid::SetAttributes {
            mode,
            uid,
            gid,
            atime: atime.map(crate::attr::timespec),
            mtime: mtime.map(crate::attr::timespec),
        };
        self.0.serve_set_attributes(Changer::of_bytes(req), ino.0, set, size, reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let (server, _turn) = self.begin();
        match server.counted(Op::Lookup, server.inodes.read_link(ino.0).map_err(errno)) {
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
        let (server, _turn) = self.begin();
        let made = server.make_node(req, parent.0, name.as_bytes(), mode, rdev);
        server.reply_entry(Op::Create, made, reply);
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
        let (server, _turn) = self.begin();
        let kind = limpid::NewKind::Directory;
        let made = server.create(req, parent.0, name.as_bytes(), kind, mode);
        server.reply_entry(Op::Create, made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (server, _turn) = self.begin();
        let gone = server.inodes.unlink(parent.0, name.as_bytes()).map(Some);
        server.reply_empty(Op::Remove, server.keep_gone(gone), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (server, _turn) = self.begin();
        let gone = server.inodes.rmdir(parent.0, name.as_bytes()).map(Some);
        server.reply_empty(Op::Remove, server.keep_gone(gone), reply);
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (server, _turn) = self.begin();
        let kind = limpid::NewKind::Symlink(target.as_os_str().as_bytes());
        let made = server.create(req, parent.0, name.as_bytes(), kind, 0o777);
        server.reply_entry(Op::Create, made, reply);
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
        let (server, _turn) = self.begin();
        let (from, to) = ((parent.0, name.as_bytes()), (newparent.0, newname.as_bytes()));
        server.reply_empty(Op::Rename, server.rename(from, to, flags.bits()), reply);
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let (server, _turn) = self.begin();
        let linked = server.inodes.link(ino.0, newparent.0, newname.as_bytes()).map_err(errno);
        let linked = linked.map(|held| (held.metadata(), held));
        server.reply_entry(Op::Link, linked, reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (server, _turn) = self.begin();
        match server.counted(Op::Open, server.open(ino.0, flags.0)) {
            Ok(handle) => reply.opened(FileHandle(handle), server.open_flags(flags.0)),
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
        let (server, _turn) = self.begin();
        let made = server.create_open(req, parent.0, name.as_bytes(), mode, flags);
        match server.counted(Op::Create, made) {
            Ok((metadata, handle)) => {
                server.known.add(metadata.ino);
                let (attr, ttl) = server.told(&metadata);
                let (number, flags) = (FileHandle(handle), server.open_flags(flags));
                reply.created(&ttl, &attr, generation(&metadata), number, flags);
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (server, turn) = self.begin();
        if size as usize >= LARGE {
            turn.takes_long();
        }
        let cached = owner.is_none().then(|| req.unique().0);
        if cached.is_some() {
            server.cached.note(ino.0);
        }
        server.read(fh.0, (offset, size), cached, |result| {
            match server.counted(Op::Read, result) {
                Ok(bytes) => reply.data(bytes),
                Err(error) => reply.error(error),
            }
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
        owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (server, turn) = self.begin();
        if data.len() >= LARGE {
            turn.takes_long();
        }
        let kill = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let from_cache = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        if from_cache {
            let written = self.0.write_from_cache(fh.0, offset, data);
            return server.reply_written(Op::Write, written, reply);
        }
        let changer = Changer::writer(req, kill);
        if let Some(handle) = server.appending(fh.0, flags.0) {
            let server = self.0.clone();
            let data = data.into();
            return Append { server, handle, data, flags: flags.0, changer, reply }.submit();
        }
        let is_direct = is_direct(owner, flags);
        let how = Writing { flags: flags.0, is_direct, changer, request: req.unique().0 };
        self.0.serve_write(fh.0, (offset, data), how, reply);
    }

    fn flush(&self, _: &Request, _: INodeNo, fh: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let (server, _turn) = self.begin();
        match server.flush(fh.0) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
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
        let (server, _turn) = self.begin();
        drop(server.handles.remove(fh.0));
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, fh: FileHandle, data: bool, reply: ReplyEmpty) {
        let (server, turn) = self.begin();
        turn.takes_long();
        server.reply_empty(Op::Sync, server.sync(fh.0, data), reply);
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
        let (server, _turn) = self.begin();
        let listed = server.list(ino.0, offset, &mut Listing::Names(&mut reply));
        match server.counted(Op::List, listed) {
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
        let (server, _turn) = self.begin();
        let listed = server.list(ino.0, offset, &mut Listing::Attributes(&mut reply));
        match server.counted(Op::List, listed) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let (server, turn) = self.begin();
        turn.takes_long();
        server.reply_empty(Op::Sync, server.pool.sync().map_err(errno), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (server, _turn) = self.begin();
        match server.pool.statfs() {
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
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let (server, _turn) = self.begin();
        let set = server.set_xattr(req.uid(), ino.0, name.as_bytes(), value, flags);
        server.reply_empty(Op::Xattr, set, reply);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (server, _turn) = self.begin();
        let value = server.get_xattr(ino.0, name.as_bytes());
        server.reply_xattr(value, size, reply);
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let (server, _turn) = self.begin();
        let names = server.list_xattrs(req.uid(), ino.0);
        server.reply_xattr(names, size, reply);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (server, _turn) = self.begin();
        let removed = server.remove_xattr(ino.0, name.as_bytes());
        server.reply_empty(Op::Xattr, removed, reply);
    }

    fn fallocate(
        &self,
        req: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let (_, turn) = self.begin();
        turn.takes_long();
        self.0.serve_allocate(Changer::of_bytes(req), fh.0, (offset, length), mode, reply);
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
        let (_, _turn) = self.begin();
        self.0.serve_seek(fh.0, offset, whence, reply);
    }

    fn copy_file_range(
        &self,
        req: &Request,
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
        let (_, turn) = self.begin();
        turn.takes_long();
        let (from, to) = ((fh_in.0, offset_in), (fh_out.0, offset_out));
        self.0.serve_copy(Changer::of_bytes(req), from, to, len, reply);
    }
}
