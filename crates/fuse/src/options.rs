//! How a pool is mounted.

use std::time::Duration;

use limpid::AccessTimes;
use rustix::mount::MountFlags;

use crate::listeners::Listeners;

/// Most threads that a mount can have.
pub const MAX_THREADS: usize = 256;

/// How a pool is mounted.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Nothing may be changed through the mount.
    pub read_only: bool,
    /// Users other than the one who mounts may use it. Root's mounts are for everybody unless
    /// this is `Some(false)`; without privileges `fusermount3` decides.
    pub allow_other: Option<bool>,
    /// Set-user-id and set-group-id bits count when a program is run.
    pub suid: bool,
    /// Device nodes work.
    pub dev: bool,
    /// Programs can be run.
    pub exec: bool,
    /// Changes are durable when they return, as with `sync`.
    pub sync: bool,
    /// Changes of names are durable when they return, as with `dirsync`.
    pub dirsync: bool,
    /// Symbolic links are followed.
    pub follow_symlinks: bool,
    /// When reading changes the time of last access.
    pub access_times: AccessTimes,
    /// Reading a directory may change its time of last access.
    pub directory_access_times: bool,
    /// All files seem to belong to this user.
    pub uid: Option<u32>,
    /// All files seem to belong to this group.
    pub gid: Option<u32>,
    /// These permission bits seem to be missing everywhere.
    pub umask: Option<u32>,
    /// What the table of mounts shows as the source; the default is the pool's path.
    pub source: Option<String>,
    /// Threads that serve requests, up to [`MAX_THREADS`]; the default follows the number of
    /// processors. There are always two at least.
    pub threads: Option<usize>,
    /// How long a thread looks for the next request before it sleeps, while requests follow
    /// closely on each other; zero: it sleeps at once.
    pub busy_poll: Duration,
    /// Nobody but the kernel uses the pool while it is mounted: the kernel may then keep names
    /// and attributes as long as it likes. Where it is not set, changes made through the library
    /// are told to the kernel, and names and attributes are asked for again after a second.
    pub exclusive: bool,
    /// Called with the number of an inode when a program has written to it through the kernel's
    /// cache, and the write is about to be served.
    #[cfg(feature = "control")]
    pub before_write: Option<fn(u64)>,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            read_only: false,
            allow_other: None,
            suid: false,
            dev: false,
            exec: true,
            sync: false,
            dirsync: false,
            follow_symlinks: true,
            access_times: AccessTimes::Relative,
            directory_access_times: true,
            uid: None,
            gid: None,
            umask: None,
            source: None,
            threads: None,
            busy_poll: Duration::from_micros(100),
            exclusive: false,
            #[cfg(feature = "control")]
            before_write: None,
        }
    }
}

impl MountOptions {
    /// What the kernel sees to, as mount(2) wants it.
    pub(crate) fn flags(&self) -> MountFlags {
        let flags = [
            (self.read_only, MountFlags::RDONLY),
            (!self.suid, MountFlags::NOSUID),
            (!self.dev, MountFlags::NODEV),
            (!self.exec, MountFlags::NOEXEC),
            (self.sync, MountFlags::SYNCHRONOUS),
            (self.dirsync, MountFlags::DIRSYNC),
            (!self.follow_symlinks, MountFlags::NOSYMFOLLOW),
            (self.access_times == AccessTimes::Never, MountFlags::NOATIME),
            (!self.directory_access_times, MountFlags::NODIRATIME),
        ];
        flags.into_iter().filter_map(|(is_set, flag)| is_set.then_some(flag)).collect()
    }

    /// How long the kernel may keep names and attributes without asking.
    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_secs(if self.exclusive { 86_400 } else { 1 })
    }

    /// Threads that serve requests: some at least, so that those that wait for a disk or for a
    /// change of their file do not stop the rest.
    pub(crate) fn thread_count(&self) -> usize {
        self.threads.unwrap_or(processors().clamp(4, 16)).max(2)
    }

    /// Who listens. More threads than processors only get in each other's way; and nobody polls
    /// where that would keep the only processor from the program that is to make the next request.
    pub(crate) fn listeners(&self) -> Listeners {
        let poll = if processors() > 1 { self.busy_poll } else { Duration::ZERO };
        Listeners::new(self.thread_count(), processors(), poll)
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
