//! Opening and creating media: what the path is, is found out by asking the kernel.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, madvise};

use crate::holder;
use crate::lock::{self, LockError};
use crate::mapping::{self, HUGE_PAGE, Mapping};
use crate::medium::{Kind, Medium, Parts};
use crate::process::Origin;
use crate::{devdax, memory};

/// The mode of a new pool's file, whatever the umask.
const OWNER_ONLY: Mode = Mode::from_raw_mode(0o600);

/// Smallest page, in bytes.
const PAGE: u64 = 4096;

/// How a medium is opened. The default opens for reading and writing and creates nothing.
///
/// ```
/// use limpid_pmem::{Media, Medium, OpenOptions};
/// let options = OpenOptions { populate: true, ..OpenOptions::default() };
/// assert_eq!(Medium::memory(1 << 20, &options)?.len(), 1 << 20);
/// # Ok::<(), limpid_pmem::OpenError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Loads only; shares the medium with other readers.
    pub read_only: bool,
    /// Treats the medium as if it survived power loss: stores leave the caches and fences wait,
    /// at their full price. For tests and measurements on `file` and `memory`.
    pub assume_persistent: bool,
    /// Gives the whole medium storage, and maps it, at once (not when read-only).
    pub populate: bool,
    /// [`Medium::create`] takes an existing file, discarding what it holds.
    pub reuse: bool,
}

/// Why a medium could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another pool object, here or in another process, has the medium open and is not about to
    /// let go (an opening waits for that). The process id is missing if it let go just then.
    #[error("{} is in use{}", path.display(), by(*pid))]
    InUse {
        /// The medium.
        path: PathBuf,
        /// Who has it, as they see their own process id.
        pid: Option<u32>,
    },
    /// The file to be created exists.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The path is no regular file and no DAX device.
    #[error("{} is neither a regular file nor a /dev/dax device", path.display())]
    NotAMedium {
        /// What was given.
        path: PathBuf,
    },
    /// The kernel does not tell size and alignment of a DAX device.
    #[error("the kernel does not tell size and alignment of {}", path.display())]
    NoGeometry {
        /// The device.
        path: PathBuf,
    },
    /// Less than one page.
    #[error("{} has {size} bytes; a medium needs at least {min}", path.display())]
    TooSmall {
        /// The medium.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The least size in bytes.
        min: u64,
    },
    /// The system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    System {
        /// The medium.
        path: PathBuf,
        /// What was tried, as a verb.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn by(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

impl Medium {
    /// Opens a regular file or a /dev/dax device and maps it whole. A regular file counts up to
    /// its last whole page.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Medium, OpenError> {
        let at = Attempt { path: path.as_ref(), options };
        let fd = at.open_file(OFlags::empty())?;
        at.lock(&fd)?;
        at.attach(fd)
    }

    /// Creates a sparse file of `size` bytes, of mode 0600, and opens it. What exists at the path
    /// is an error, unless [`OpenOptions::reuse`] is set: then the file is emptied, once nobody
    /// else has it open, given the size, and keeps its mode; a DAX device is opened as it is.
    pub fn create(
        path: impl AsRef<Path>,
        size: u64,
        options: &OpenOptions,
    ) -> Result<Medium, OpenError> {
        let at =
            Attempt { path: path.as_ref(), options: &OpenOptions { read_only: false, ..*options } };
        at.at_least_a_page(size)?;
        let (fd, fresh) = match at.open_file(OFlags::CREATE | OFlags::EXCL) {
            Err(OpenError::Exists { .. }) if options.reuse => {
                (at.open_file(OFlags::empty())?, false)
            }
            other => (other?, true),
        };
        let private = if fresh { at.make_private(&fd) } else { Ok(()) };
        let made = private
            .and_then(|()| at.lock(&fd))
            .and_then(|()| at.resize(&fd, size))
            .and_then(|()| at.attach(fd));
        if made.is_err() && fresh {
            // Half a creation helps nobody; the file is ours, since EXCL made it. If it cannot
            // be removed, the first error is still the one to tell.
            let _ = std::fs::remove_file(at.path);
        }
        made
    }

    /// Memory without a name, of `size` bytes rounded up to whole pages; gone when dropped.
    pub fn memory(size: u64, options: &OpenOptions) -> Result<Medium, OpenError> {
        let options = OpenOptions { read_only: false, ..*options };
        let at = Attempt { path: Path::new("memory"), options: &options };
        at.at_least_a_page(size.saturating_add(PAGE - 1))?;
        let size = size.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        let fd = memory::anonymous().map_err(at.failed("create"))?;
        rustix::fs::ftruncate(&fd, size).map_err(at.failed("size"))?;
        at.map(fd, Found { kind: Kind::Memory, len: size, granularity: PAGE, flags: SHARED })
    }
}

const SHARED: MapFlags = MapFlags::SHARED;
const SYNC: MapFlags = MapFlags::SHARED_VALIDATE.union(MapFlags::SYNC);

/// What the kernel told about a path.
struct Found {
    kind: Kind,
    len: u64,
    granularity: u64,
    flags: MapFlags,
}

/// One attempt to open; carries what its errors tell.
struct Attempt<'a> {
    path: &'a Path,
    options: &'a OpenOptions,
}

impl Attempt<'_> {
    fn failed(&self, doing: &'static str) -> impl Fn(Errno) -> OpenError {
        let path = self.path.to_owned();
        move |errno| OpenError::System { path: path.clone(), doing, source: errno.into() }
    }

    fn at_least_a_page(&self, size: u64) -> Result<(), OpenError> {
        if size < PAGE {
            return Err(OpenError::TooSmall { path: self.path.to_owned(), size, min: PAGE });
        }
        Ok(())
    }

    /// open: without waiting, should the path be a FIFO. Who may read a pool's file may read every
    /// file in it, so that a new one is its owner's alone.
    fn open_file(&self, extra: OFlags) -> Result<OwnedFd, OpenError> {
        let access = if self.options.read_only { OFlags::RDONLY } else { OFlags::RDWR };
        let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | extra;
        match rustix::fs::open(self.path, flags, OWNER_ONLY) {
            Err(Errno::EXIST) => Err(OpenError::Exists { path: self.path.to_owned() }),
            Err(Errno::ISDIR) => Err(OpenError::NotAMedium { path: self.path.to_owned() }),
            other => other.map_err(self.failed("open")),
        }
    }

    /// fchmod: the umask may have taken rights of the owner away.
    fn make_private(&self, fd: &OwnedFd) -> Result<(), OpenError> {
        rustix::fs::fchmod(fd, OWNER_ONLY).map_err(self.failed("set the mode of"))
    }

    /// Takes the lock, and waits for who has it if that is going (see `holder.rs`).
    fn lock(&self, fd: &OwnedFd) -> Result<(), OpenError> {
        let begin = Instant::now();
        loop {
            match lock::lock(fd.as_fd(), !self.options.read_only) {
                Ok(()) => return Ok(()),
                Err(LockError::Held(pid))
                    if begin.elapsed() < holder::patience(fd.as_fd(), pid) =>
                {
                    // Nobody tells when the lock is free; the longer it takes, the less it matters.
                    let longest = Duration::from_millis(20);
                    let pause = begin.elapsed().clamp(Duration::from_micros(100), longest);
                    std::thread::sleep(pause);
                }
                Err(LockError::Held(pid)) => {
                    return Err(OpenError::InUse { path: self.path.to_owned(), pid });
                }
                Err(LockError::System(source)) => {
                    let path = self.path.to_owned();
                    return Err(OpenError::System { path, doing: "lock", source });
                }
            }
        }
    }

    /// ftruncate: empties a regular file and gives it its size, and makes both, and the file's
    /// name, survive power loss.
    fn resize(&self, fd: &OwnedFd, size: u64) -> Result<(), OpenError> {
        if self.file_type(fd)?.0 != FileType::RegularFile {
            return Ok(());
        }
        // The size first: if the host refuses it, what the file holds is still there.
        rustix::fs::ftruncate(fd, size).map_err(self.failed("size"))?;
        rustix::fs::ftruncate(fd, 0).map_err(self.failed("empty"))?;
        rustix::fs::ftruncate(fd, size).map_err(self.failed("size"))?;
        rustix::fs::fsync(fd).map_err(self.failed("sync"))?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(
            |source| OpenError::System {
                path: self.path.to_owned(),
                doing: "sync the folder of",
                source,
            },
        )
    }

    fn file_type(&self, fd: &OwnedFd) -> Result<(FileType, Stat), OpenError> {
        let stat = rustix::fs::fstat(fd).map_err(self.failed("examine"))?;
        Ok((FileType::from_raw_mode(stat.st_mode), stat))
    }

    fn attach(&self, fd: OwnedFd) -> Result<Medium, OpenError> {
        let found = self.find_out(&fd)?;
        self.map(fd, found)
    }

    /// Asks the kernel what the file is: its type, its DAX geometry, whether MAP_SYNC works.
    fn find_out(&self, fd: &OwnedFd) -> Result<Found, OpenError> {
        let (file_type, stat) = self.file_type(fd)?;
        let (kind, len, granularity) = match file_type {
            FileType::RegularFile => (Kind::Fsdax, stat.st_size as u64 & !(PAGE - 1), PAGE),
            FileType::CharacterDevice => {
                let folder = devdax::sysfs_folder(stat.st_rdev);
                if !devdax::is_dax(&folder) {
                    return Err(OpenError::NotAMedium { path: self.path.to_owned() });
                }
                let device = devdax::read(&folder)
                    .ok_or_else(|| OpenError::NoGeometry { path: self.path.to_owned() })?;
                (Kind::Devdax, device.size, device.align)
            }
            _ => return Err(OpenError::NotAMedium { path: self.path.to_owned() }),
        };
        // Told by its own size, not by that of its whole pages.
        self.at_least_a_page(if kind == Kind::Fsdax { stat.st_size as u64 } else { len })?;
        let writable = !self.options.read_only;
        match mapping::can_map(fd.as_fd(), granularity as usize, writable, SYNC) {
            Ok(()) => Ok(Found { kind, len, granularity, flags: SYNC }),
            // Kernels that do not know the flags say EINVAL, file systems without DAX EOPNOTSUPP.
            Err(Errno::OPNOTSUPP | Errno::INVAL) => {
                let kind = if kind == Kind::Fsdax { Kind::File } else { kind };
                Ok(Found { kind, len, granularity, flags: SHARED })
            }
            Err(errno) => Err(self.failed("map")(errno)),
        }
    }

    fn map(&self, fd: OwnedFd, found: Found) -> Result<Medium, OpenError> {
        let writable = !self.options.read_only;
        let Found { kind, len, granularity, flags } = found;
        if self.options.populate && writable && kind != Kind::Devdax {
            rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, len)
                .map_err(self.failed("allocate"))?;
        }
        let align = granularity.max(HUGE_PAGE);
        let mapping =
            Mapping::new(fd.as_fd(), len, align, writable, flags).map_err(self.failed("map"))?;
        let advise = |advice| {
            // SAFETY: the advice used here keeps the contents of the range, which is ours.
            unsafe { madvise(mapping.base().cast(), len as usize, advice) }
        };
        let (_, stat) = self.file_type(&fd)?;
        let huge = match kind {
            Kind::Devdax => granularity >= HUGE_PAGE,
            Kind::Fsdax => true,
            // tmpfs tells by its block size whether it uses huge pages.
            Kind::File | Kind::Memory => stat.st_blksize as u64 >= HUGE_PAGE,
        };
        // Advice only helps, so a kernel that refuses loses nothing else. Huge pages are asked
        // for in memory only: a page cache that has them gives storage to 2 MiB at each store
        // into a hole, and writes 2 MiB back for each byte.
        if kind == Kind::Memory {
            let _ = advise(Advice::LinuxHugepage);
        }
        let _ = advise(Advice::LinuxDontDump);
        if self.options.populate && writable {
            match advise(Advice::LinuxPopulateWrite) {
                // Kernels before 5.14 do not know it; the pages then come as they are touched.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(errno) => return Err(self.failed("populate")(errno)),
            }
        }
        let path = (kind != Kind::Memory).then(|| self.path.to_owned());
        let assume_persistent = self.options.assume_persistent;
        Ok(Medium::assemble(
            Parts {
                kind,
                granularity,
                flags,
                huge,
                path,
                assume_persistent,
                writable,
                len,
                origin: Origin::here(),
            },
            fd,
            mapping,
        ))
    }
}
