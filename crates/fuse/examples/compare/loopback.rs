//! The least a FUSE file system can do: every request becomes a call on a folder.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, Session, SessionACL, TimeOrNow,
    WriteFlags,
};

const TTL: Duration = Duration::from_secs(86_400);

/// Serves a folder until it is unmounted.
pub fn serve(folder: &Path, dir: &Path) {
    let loopback = Loopback::new(folder);
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("loopback".to_owned()),
        MountOption::CUSTOM("subtype=limpid".to_owned()),
        MountOption::DefaultPermissions,
    ];
    config.acl = SessionACL::All;
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    config.n_threads = Some(processors.clamp(2, 16));
    config.clone_fd = true;
    let session = Session::new(loopback, dir, &config).expect("the folder can be mounted");
    println!("ready");
    session.run().expect("the mount is served");
}

struct Loopback {
    /// Paths of the inodes the kernel was told of.
    paths: RwLock<HashMap<u64, PathBuf>>,
    open: RwLock<HashMap<u64, Arc<File>>>,
    next: AtomicU64,
}

impl Loopback {
    fn new(folder: &Path) -> Loopback {
        let paths = HashMap::from([(INodeNo::ROOT.0, folder.to_owned())]);
        Loopback { paths: RwLock::new(paths), open: RwLock::default(), next: AtomicU64::new(1) }
    }

    fn path(&self, ino: INodeNo) -> PathBuf {
        self.paths.read().unwrap().get(&ino.0).cloned().unwrap_or_default()
    }

    /// Looks a path up and remembers it.
    fn found(&self, path: PathBuf) -> io::Result<FileAttr> {
        let attr = attr(&fs::symlink_metadata(&path)?);
        self.paths.write().unwrap().insert(attr.ino.0, path);
        Ok(attr)
    }

    fn opened(&self, file: File) -> FileHandle {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.write().unwrap().insert(number, Arc::new(file));
        FileHandle(number)
    }

    fn file(&self, handle: FileHandle) -> Arc<File> {
        self.open.read().unwrap()[&handle.0].clone()
    }
}

fn attr(metadata: &Metadata) -> FileAttr {
    let time = |seconds: i64, nanoseconds: i64| {
        UNIX_EPOCH + Duration::new(seconds as u64, nanoseconds as u32)
    };
    FileAttr {
        ino: INodeNo(metadata.ino()),
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: time(metadata.atime(), metadata.atime_nsec()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: FileType::from_std(metadata.file_type()).unwrap_or(FileType::RegularFile),
        perm: (metadata.mode() & 0o7777) as u16,
        nlink: metadata.nlink() as u32,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: metadata.rdev() as u32,
        blksize: 4096,
        flags: 0,
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_i32(error.raw_os_error().unwrap_or(0))
}

impl Filesystem for Loopback {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in [
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ] {
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(1 << 20);
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.found(self.path(parent).join(name)) {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, _: u64) {
        self.paths.write().unwrap().remove(&ino.0);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match fs::symlink_metadata(self.path(ino)) {
            Ok(metadata) if ino == INodeNo::ROOT => {
                reply.attr(&TTL, &FileAttr { ino, ..attr(&metadata) });
            }
            Ok(metadata) => reply.attr(&TTL, &attr(&metadata)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let path = self.path(ino);
        let changed = match size {
            Some(size) => {
                OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(size))
            }
            None => Ok(()),
        };
        match changed.and_then(|()| fs::symlink_metadata(path)) {
            Ok(metadata) => reply.attr(&TTL, &attr(&metadata)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn mkdir(&self, _: &Request, dir: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let path = self.path(dir).join(name);
        match fs::create_dir(&path).and_then(|()| self.found(path)) {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match fs::remove_file(self.path(parent).join(name)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match fs::remove_dir(self.path(parent).join(name)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let mut options = OpenOptions::new();
        // Truncation is asked for with the open.
        options.read(true).write(flags.acc_mode() != fuser::OpenAccMode::O_RDONLY);
        options.truncate(flags.0 & 0o1000 != 0);
        match options.open(self.path(ino)) {
            Ok(file) => reply.opened(self.opened(file), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let path = self.path(parent).join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(mode);
        match options.open(&path).and_then(|file| Ok((file, self.found(path)?))) {
            Ok((file, attr)) => {
                let flags = FopenFlags::FOPEN_KEEP_CACHE;
                reply.created(&TTL, &attr, Generation(0), self.opened(file), flags);
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(buffer.len().max(size as usize), 0);
            match self.file(fh).read_at(&mut buffer[..size as usize], offset) {
                Ok(len) => reply.data(&buffer[..len]),
                Err(error) => reply.error(errno(error)),
            }
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.file(fh).write_at(data, offset) {
            Ok(len) => reply.written(len as u32),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
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
        self.open.write().unwrap().remove(&fh.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: fuser::ReplyDirectory,
    ) {
        let entries = match fs::read_dir(self.path(ino)) {
            Ok(entries) => entries,
            Err(error) => return reply.error(errno(error)),
        };
        for (index, entry) in entries.flatten().enumerate().skip(offset as usize) {
            let (Ok(metadata), name) = (entry.metadata(), entry.file_name()) else { continue };
            let kind = attr(&metadata).kind;
            if reply.add(INodeNo(metadata.ino()), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
