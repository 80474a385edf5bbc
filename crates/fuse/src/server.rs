//! What serves a mount: the pool, and what is remembered of the kernel's use of it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::mpsc::Sender;
use std::time::Duration;

use fuser::{Errno, Generation, Notifier, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyWrite};
use limpid::{Inodes, Metadata, Pool};

use crate::append::{self, Append};
use crate::aside::Aside;
use crate::direct::Cached;
use crate::durability::{Durability, Level};
use crate::gates::Gates;
use crate::handles::Handles;
use crate::known::Known;
use crate::listeners::Listeners;
use crate::lost::Lost;
use crate::metrics::{Metrics, Op};
use crate::options::MountOptions;
use crate::pages::Pages;
use crate::past_end::PastEnd;
use crate::stale::Stale;

/// Largest read and write request in bytes.
pub(crate) const MAX_TRANSFER: u32 = 1 << 20;

/// What every request needs. Shared by the threads of a mount.
pub(crate) struct Server {
    pub pool: Pool,
    pub inodes: Inodes,
    pub options: MountOptions,
    pub ttl: Duration,
    pub handles: Handles,
    pub known: Known,
    pub gates: Gates,
    pub pages: Pages,
    pub past_end: PastEnd,
    pub stale: Stale,
    pub lost: Lost,
    pub aside: Aside,
    /// The files of which the kernel may have pages.
    pub cached: Cached,
    /// The way to the kernel, from when there is one.
    pub notifier: OnceLock<Notifier>,
    pub metrics: Metrics,
    pub durability: Durability,
    pub listeners: Listeners,
    /// Where appends go if the library may append, too.
    pub appends: Option<Sender<Append>>,
    /// Where the kernel's requests come from.
    pub device: OnceLock<OwnedFd>,
}

/// Result of serving a request.
pub(crate) type Served<T> = Result<T, Errno>;

/// The errno of a failed operation.
pub(crate) fn errno(error: limpid::Error) -> Errno {
    Errno::from_i32(error.errno())
}

impl Server {
    pub fn new(pool: Pool, options: MountOptions) -> io::Result<Server> {
        Ok(Server {
            inodes: pool
                .inodes()
                .with_access_times(options.access_times)
                .with_directory_access_times(options.directory_access_times),
            durability: Durability::new(Level::of(options.flags())),
            pool,
            ttl: options.ttl(),
            listeners: options.listeners(),
            appends: if options.exclusive { None } else { Some(append::start()?) },
            device: OnceLock::new(),
            options,
            handles: Handles::new(),
            known: Known::default(),
            gates: Gates::default(),
            pages: Pages::default(),
            past_end: PastEnd::default(),
            stale: Stale::default(),
            lost: Lost::default(),
            aside: Aside::default(),
            cached: Cached::default(),
            notifier: OnceLock::new(),
            metrics: Metrics::default(),
        })
    }

    /// What each request goes through before it is answered: makes durable what it has changed if
    /// the mount promises that, counts it, and passes its result on.
    pub fn counted<T>(&self, op: Op, result: Served<T>) -> Served<T> {
        let result = result.and_then(|done| self.done_durably(op).map(|()| done));
        self.metrics.count(op, result.is_err());
        result
    }

    /// Tells the kernel of an inode. What comes with its attributes keeps the inode until the
    /// kernel counts as knowing it: in between its number could become another one's.
    pub fn reply_entry<T>(&self, op: Op, result: Served<(Metadata, T)>, reply: ReplyEntry) {
        match self.counted(op, result) {
            Ok((metadata, _kept)) => {
                self.known.add(metadata.ino);
                let (attr, ttl) = self.told(&metadata);
                reply.entry_with_ttls(&ttl, &self.ttl, &attr, generation(&metadata));
            }
            Err(error) => reply.error(error),
        }
    }

    pub fn reply_attr(&self, op: Op, result: Served<Metadata>, reply: ReplyAttr) {
        match self.counted(op, result) {
            Ok(metadata) => {
                let (attr, ttl) = self.told(&metadata);
                reply.attr(&ttl, &attr);
            }
            Err(error) => reply.error(error),
        }
    }

    pub fn reply_empty(&self, op: Op, result: Served<()>, reply: ReplyEmpty) {
        match self.counted(op, result) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    pub fn reply_written(&self, op: Op, result: Served<usize>, reply: ReplyWrite) {
        match self.counted(op, result) {
            Ok(len) => reply.written(len as u32),
            Err(error) => reply.error(error),
        }
    }
}

pub(crate) fn generation(metadata: &Metadata) -> Generation {
    Generation(u64::from(metadata.generation))
}
