//! Mounting a pool, and the mount as its owner sees it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use fuser::{Config, MountOption, Session, SessionACL};
use limpid::{AccessTimes, OutsideCache, Pool};

use crate::error::MountError;
use crate::options::MountOptions;
use crate::requests::Serve;
use crate::server::{MAX_TRANSFER, Server};
use crate::unmount::{self, MountState};

const DEVICE: &str = "/dev/fuse";

/// A mounted pool. When it is dropped the mount goes away, lazily: programs that have files open
/// there keep them until they close them.
///
/// A program must not hand memory that it mapped from its own mount to the library as a buffer:
/// a page that has to be read first would wait for the operation that waits for the page.
#[derive(Debug)]
pub struct Mount {
    dir: PathBuf,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Mounts a pool at a directory, which must be empty. On return the mount is usable.
pub fn mount(pool: Pool, dir: &Path, options: MountOptions) -> Result<Mount, MountError> {
    let dir = check_mount_point(dir)?;
    if let Err(error) = OpenOptions::new().read(true).write(true).open(DEVICE) {
        return Err(match error.kind() {
            io::ErrorKind::PermissionDenied => MountError::NotPermitted(error),
            _ => MountError::NoFuse(error),
        });
    }
    let config = config(&pool, &options);
    let server = Arc::new(Server::new(pool, options).map_err(MountError::Refused)?);
    if !server.pool.set_outside_cache(Arc::downgrade(&server) as Weak<dyn OutsideCache>) {
        return Err(MountError::Twice);
    }
    let session = Session::new(Serve(server.clone()), &dir, &config);
    let session = session.map_err(|error| refused(&dir, error))?;
    // Before the first request is served, so before the kernel has anything to be told of.
    let _ = server.notifier.set(session.notifier());
    let device = session.as_fd().try_clone_to_owned().map_err(MountError::Refused)?;
    let _ = server.device.set(device);
    drop(server);
    let thread = std::thread::Builder::new().name("limpid-mount".to_owned());
    let thread = thread.spawn(move || session.run()).map_err(MountError::Refused)?;
    let mount = Mount { dir, thread: Some(thread) };
    widen_readahead(&mount.dir);
    Ok(mount)
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

fn refused(dir: &Path, error: io::Error) -> MountError {
    let text = error.to_string();
    if unmount::look(dir).is_ok_and(|state| state != MountState::Nothing) {
        return MountError::Mounted { dir: dir.into() };
    }
    match error.kind() {
        // The helper could not be started.
        io::ErrorKind::NotFound => MountError::NoHelper,
        io::ErrorKind::PermissionDenied => MountError::HelperRefused(text.trim().to_owned()),
        io::ErrorKind::Other if text.contains("fusermount") => {
            MountError::HelperRefused(text.trim().to_owned())
        }
        _ => MountError::Refused(error),
    }
}

fn config(pool: &Pool, options: &MountOptions) -> Config {
    let root = rustix::process::geteuid().is_root();
    let source = options.source.clone();
    let source = source.unwrap_or_else(|| unmount::option_text(pool.info().path.as_os_str()));
    let source = if root { source } else { source.replace('\\', "\\\\").replace(',', "\\,") };
    let either = |yes: bool, on: MountOption, off: MountOption| if yes { on } else { off };
    let read_only = options.read_only || pool.info().read_only;
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(source),
        MountOption::CUSTOM("subtype=limpid".to_owned()),
        MountOption::DefaultPermissions,
        either(read_only, MountOption::RO, MountOption::RW),
        either(options.suid, MountOption::Suid, MountOption::NoSuid),
        either(options.dev, MountOption::Dev, MountOption::NoDev),
        either(options.exec, MountOption::Exec, MountOption::NoExec),
        either(options.sync, MountOption::Sync, MountOption::Async),
    ];
    if options.access_times == AccessTimes::Never {
        config.mount_options.push(MountOption::NoAtime);
    }
    let all = options.allow_other.unwrap_or(root);
    config.acl = if all { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(options.thread_count());
    config.clone_fd = true;
    config
}

/// Lets the kernel read ahead two requests, so that one is served while the other is used; it
/// would stop at 128 KiB. Only root may; without it reading is slower, that is all.
fn widen_readahead(dir: &Path) {
    if let Ok(Some(entry)) = unmount::find(dir) {
        let knob = format!("/sys/class/bdi/{}/read_ahead_kb", entry.device);
        let _ = std::fs::write(knob, (2 * (MAX_TRANSFER >> 10)).to_string());
    }
}

impl Mount {
    /// The directory, without symbolic links.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until somebody unmounts it and the last open file is closed.
    pub fn wait(mut self) -> io::Result<()> {
        self.join()
    }

    /// Unmounts. If the mount is in use it stays, and comes back with the error.
    pub fn unmount(mut self) -> Result<(), (Mount, MountError)> {
        if let Err(error) = unmount::detach(&self.dir, false) {
            return Err((self, error));
        }
        self.join().map_err(|error| {
            let gone = Mount { dir: self.dir.clone(), thread: None };
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
            let _ = unmount::detach(&self.dir, true);
        }
    }
}
