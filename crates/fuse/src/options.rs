//! How a pool is mounted.

use std::time::Duration;

use limpid::AccessTimes;

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
    /// When reading changes the time of last access.
    pub access_times: AccessTimes,
    /// All files seem to belong to this user.
    pub uid: Option<u32>,
    /// All files seem to belong to this group.
    pub gid: Option<u32>,
    /// These permission bits seem to be missing everywhere.
    pub umask: Option<u32>,
    /// What the table of mounts shows as the source; the default is the pool's path.
    pub source: Option<String>,
    /// Threads that serve requests; the default follows the number of processors.
    pub threads: Option<usize>,
    /// Nobody but the kernel uses the pool while it is mounted: the kernel may then keep names
    /// and attributes as long as it likes. Where it is not set, changes made through the library
    /// are told to the kernel, and names and attributes are asked for again after a second.
    pub exclusive: bool,
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
            access_times: AccessTimes::Relative,
            uid: None,
            gid: None,
            umask: None,
            source: None,
            threads: None,
            exclusive: false,
        }
    }
}

impl MountOptions {
    /// How long the kernel may keep names and attributes without asking.
    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_secs(if self.exclusive { 86_400 } else { 1 })
    }

    /// Threads that serve requests: one per processor, since the kernel wakes one after the other
    /// and more only get in each other's way; but two at least, so that one that waits for a
    /// change of its file does not stop the rest.
    pub(crate) fn thread_count(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        self.threads.unwrap_or(processors.min(16)).max(2)
    }
}
