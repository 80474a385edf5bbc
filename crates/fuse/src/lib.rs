//! The mount: a pool as a directory, for every program.
//!
//! [`mount`] serves an open [`limpid::Pool`] at a directory through FUSE. The program that
//! mounted it may go on using the pool through the library; what it changes there is seen through
//! the mount (see `docs/mount.md` for what exactly is promised).
//!
//! Principles:
//!
//! 1. The kernel's page cache is one more cache of a file's bytes. A change that does not come
//!    through the mount keeps the cache out of its range while it is made (`gates.rs`).
//! 2. No notification is sent to the kernel while a lock is held that serving a request wants:
//!    the kernel waits with it for requests under way.
//! 3. An inode the kernel knows is not freed before the kernel forgets it (`known.rs`).
//! 4. A store through a map is in the kernel's page alone until it is written back. Who asks where
//!    a file has holes has the pages over them written first (`pages.rs`, `holes.rs`).
//! 5. What is stored behind the end of a file is nobody's (`past_end.rs`); what a program writes is
//!    shown, and stays, whenever the kernel's page of it was dropped (`stale.rs`).
//! 6. To wake a thread costs more than most requests, so while they follow closely on each other
//!    one thread serves them and polls for the next (`listeners.rs`).
//! 7. A panic in one request is the error of that request; the mount goes on (`door.rs`).
//!
//! ```no_run
//! use limpid_fuse::{MountOptions, mount};
//! let pool = limpid::Pool::open("pool.limpid")?;
//! let mount = mount(pool, "/mnt/pool".as_ref(), MountOptions::default())?;
//! mount.wait()?; // until somebody unmounts it
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod attr;
mod error;
mod metrics;
mod options;

mod aside;
mod direct;
mod gates;
mod handles;
mod known;
mod listeners;
mod lost;
mod pages;
mod past_end;
mod stale;

mod append;
mod coherence;
mod durability;
mod privileges;

mod data;
mod door;
mod holes;
mod names;
mod requests;
mod server;
mod times;
mod write;
mod writeback;
mod xattr;

mod attach;
mod remount;
mod session;
mod unmount;

pub use error::MountError;
pub use limpid::AccessTimes;
pub use metrics::METRICS_XATTR;
pub use options::{MAX_THREADS, MountOptions};
pub use remount::{mounted_options, remount};
pub use session::{Detach, Mount, check_mount_point, mount};
pub use unmount::{MountState, look, metrics, unmount};
