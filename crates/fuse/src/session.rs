//! Mounting a pool, and the mount as its owner sees it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use fuser::{Config, Session, SessionACL};
use limpid::{OutsideCache, Pool};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::mount::MountFlags;

use crate::attach::{self, Attached, Wanted};
use crate::door::Door;
use crate::error::MountError;
use crate::options::{MAX_THREADS, MountOptions};
use crate::requests::Serve;
use crate::server::{MAX_TRANSFER, Server};
use crate::unmount::{self, MountState};

/// A mounted pool. When it is dropped the mount goes away, lazily: programs that have files open
/// there keep them until they close them.
///
/// A program must not hand memory that it mapped from its own mount to the library as a buffer:
/// a page that has to be read first would wait for the operation that waits for the page.
#[derive(Debug)]
pub struct Mount {
    attached: Arc<Attached>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Takes a mount away from its directory, whoever waits for its end.
#[derive(Clone, Debug)]
pub struct Detach(Arc<Attached>);

impl Detach {
    /// Unmounts: at once if nobody uses the mount, else for everybody who comes, while those who
    /// have files open keep them. What else may be mounted there by now stays.
    pub fn detach(&self) -> Result<(), MountError> {
        self.0.detach()
    }
}

/// Mounts a pool at a directory, which must be empty. On return the mount is usable.
pub fn mount(pool: Pool, dir: &Path, options: MountOptions) -> Result<Mount, MountError> {
    let dir = check_mount_point(dir)?;
    try_threads(options.thread_count())?;
    let (wanted, config) = (wanted(&pool, &options), config(&options));
    let server = Arc::new(Server::new(pool, options).map_err(MountError::Refused)?);
    if !server.pool.set_outside_cache(Arc::downgrade(&server) as Weak<dyn OutsideCache>) {
        return Err(MountError::Twice);
    }
    let (attached, device) = attach::attach(&dir, &wanted)?;
    let attached = Arc::new(attached);
    let served = serve(server, device, &attached, config);
    let thread = served.inspect_err(|_| attached.end()).map_err(MountError::NotServed)?;
    let mut mount = Mount { attached, thread: Some(thread) };
    // It is usable when a request has come through.
    if let Err(error) = statx(CWD, &dir, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS) {
        mount.attached.end();
        return Err(MountError::NotServed(mount.join().err().unwrap_or(error.into())));
    }
    widen_readahead(&mount.attached);
    Ok(mount)
}

/// Finds out whether so many threads can be had, each with a device of its own, before anything is
/// mounted: when a mount is being served it is late to find that out.
fn try_threads(threads: usize) -> Result<(), MountError> {
    let at = |source| MountError::Threads { threads, source };
    if threads > MAX_THREADS {
        return Err(at(io::ErrorKind::InvalidInput.into()));
    }
    // The first tells whether there is a device at all.
    let mut devices = vec![attach::open_device()?];
    while devices.len() < threads {
        devices.push(attach::open_device().map_err(|error| match error {
            MountError::NoFuse(source) => at(source),
            error => error,
        })?);
    }
    let begun = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut all = Vec::with_capacity(threads);
        let wait = || {
            // None ends before all have begun.
            while !begun.load(Ordering::Acquire) {
                std::thread::park();
            }
        };
        let result = (0..threads).try_for_each(|_| {
            all.push(std::thread::Builder::new().spawn_scoped(scope, wait)?);
            Ok(())
        });
        begun.store(true, Ordering::Release);
        all.iter().for_each(|thread| thread.thread().unpark());
        result.map_err(at)
    })
}

/// Greets the kernel, and serves it in a thread of its own until the mount is gone.
fn serve(
    server: Arc<Server>,
    device: OwnedFd,
    attached: &Arc<Attached>,
    config: Config,
) -> io::Result<JoinHandle<io::Result<()>>> {
    // Before the first request is served, so before the kernel has anything to be told of.
    let _ = server.device.set(device.try_clone()?);
    let session = Session::from_fd(Door(Serve(server.clone())), device, config.acl, config)?;
    let _ = server.notifier.set(session.notifier());
    if server.options.exclusive {
        server.pool.hold_for_mount(attached.number());
    }
    drop(server);
    let attached = attached.clone();
    let thread = std::thread::Builder::new().name("limpid-mount".to_owned());
    thread.spawn(move || {
        let result = session.run();
        attached.end();
        result.or_else(|error| if is_end(&error) { Ok(()) } else { Err(error) })
    })
}

/// Whether this is how reading the device tells that the mount is gone. Where a request is just
/// being read then, it is this error; fuser knows the other one only, ENODEV.
fn is_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionAborted
}

/// Whether a pool can be mounted at a directory, as far as the directory is concerned: it exists,
/// nothing is mounted there and nothing is in it. Its path without symbolic links.
pub fn check_mount_point(dir: &Path) -> Result<PathBuf, MountError> {
    let at = |source| MountError::MountPoint { dir: dir.into(), source };
    match unmount::look(dir).map_err(at)? {
        MountState::Nothing => {}
        MountState::Dead { .. } => return Err(MountError::Dead { dir: dir.into() }),
        MountState::Pool { .. } | MountState::Other => {
            return Err(MountError::Mounted { dir: dir.into() });
        }
    }
    if !unmount::is_empty(dir).map_err(at)? {
        return Err(MountError::NotEmpty { dir: dir.into() });
    }
    unmount::resolve(dir).map_err(at)
}

fn for_all(options: &MountOptions) -> bool {
    options.allow_other.unwrap_or(rustix::process::geteuid().is_root())
}

/// What the kernel is told of a mount.
fn wanted(pool: &Pool, options: &MountOptions) -> Wanted {
    let source = options.source.clone();
    let source = source.unwrap_or_else(|| unmount::option_text(pool.info().path.as_os_str()));
    let mut flags = options.flags();
    flags.set(MountFlags::RDONLY, options.read_only || pool.info().read_only);
    Wanted { source, flags, all: for_all(options) }
}

fn config(options: &MountOptions) -> Config {
    let mut config = Config::default();
    config.acl = if for_all(options) { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(options.thread_count());
    config.clone_fd = true;
    config
}

/// Lets the kernel read ahead two requests, so that one is served while the other is used; it
/// would stop at 128 KiB. Only root may; without it reading is slower, that is all.
fn widen_readahead(attached: &Attached) {
    let knob = format!("/sys/class/bdi/{}/read_ahead_kb", attached.number());
    let _ = std::fs::write(knob, (2 * (MAX_TRANSFER >> 10)).to_string());
}

impl Mount {
    /// The directory, without symbolic links.
    pub fn dir(&self) -> &Path {
        self.attached.dir()
    }

    /// A handle that takes the mount away while somebody [waits](Mount::wait).
    pub fn detacher(&self) -> Detach {
        Detach(self.attached.clone())
    }

    /// Waits until somebody unmounts it and the last open file is closed.
    pub fn wait(mut self) -> io::Result<()> {
        self.join()
    }

    /// Unmounts. If the mount is in use it stays, and comes back with the error.
    pub fn unmount(mut self) -> Result<(), (Mount, MountError)> {
        if let Err(error) = self.attached.unmount() {
            return Err((self, error));
        }
        self.join().map_err(|error| {
            let gone = Mount { attached: self.attached.clone(), thread: None };
            (gone, MountError::Refused(error))
        })
    }

    fn join(&mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("a thread of the mount panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let Some(thread) = &self.thread else { return };
        if !thread.is_finished() {
            // Others may still use it, so nobody is waited for.
            let _ = self.attached.detach();
        }
    }
}
