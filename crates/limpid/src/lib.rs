//! Limpid: files on byte-addressable memory, where read, write and mmap always agree.
//!
//! A [`Pool`] is a file system on persistent memory, CXL memory, DRAM or a plain file. A
//! [`File`]'s bytes exist once; [`File::read_at`], [`File::write_at`] and every [`Map`] reach that
//! one copy.
//!
//! ```
//! use limpid::{File, Pool};
//!
//! let pool = Pool::memory(64 << 20)?;
//! let file = File::create(&pool, "/data")?;
//! file.set_len(4 << 20)?; // a hole
//! let map = match file.map_mut() {
//!     Err(limpid::Error::NoMaps(reason)) => return Ok(eprintln!("skipped: {reason}")),
//!     map => map?,
//! };
//! assert_eq!(map.load_u64(0)?, 0); // the hole is mapped now
//! file.write_at(&7u64.to_ne_bytes(), 0)?;
//! assert_eq!(map.load_u64(0)?, 7); // and the write is seen
//! map.store_u64(8, 9)?;
//! let mut bytes = [0; 8];
//! file.read_at(&mut bytes, 8)?;
//! assert_eq!(u64::from_ne_bytes(bytes), 9);
//! # Ok::<(), limpid::Error>(())
//! ```
#![deny(unsafe_code)]

mod error;

mod node;
mod path;

mod pool;
pub mod process;

mod attributes;
mod file;
mod fsck;
mod inodes;
mod map;
mod metadata;
mod names;
mod open;
mod outside;
mod slice;

pub use attributes::{SetAttributes, Timespec, XattrFlags};
pub use error::{Error, Result};
pub use file::File;
pub use fsck::{dump, fsck};
pub use inodes::{AccessTimes, Held, InodeEntry, Inodes, NewInode, Opening};
pub use limpid_dax::{Fallback, Stats as DaxStats, StoreUnit, WriteAt};
pub use limpid_fs::{DumpOf, Field as DumpField, Section};
pub use limpid_fs::{
    Finding, FsError, FsckProgress, FsckReport, Ino, Kind as NewKind, Problem, Statfs,
};
pub use limpid_mmu::PageSizes;
pub use limpid_pmem::{Durability, Kind as MediumKind, MediaError, OpenError};
pub use map::{Map, MapOptions, PageReport};
pub use metadata::{FileKind, Metadata};
pub use names::{DirEntry, NodeKind, ReadDir, RenameFlags};
pub use open::OpenOptions;
pub use outside::OutsideCache;
pub use pool::{MIN_POOL_SIZE, Pool, PoolInfo, PoolOptions};

#[cfg(feature = "canary")]
pub use limpid_dax::{Step, leave_out};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
