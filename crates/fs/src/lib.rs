//! The file system of a Limpid pool: where files lie on the medium, and their names.
//!
//! Principles, the first the most important:
//!
//! 1. Every operation is atomic and durable when it returns, as far as the medium goes: its
//!    changes go through a redo journal of small records, with two fences.
//! 2. Nothing on the medium is trusted. What is read is checked before it is used, and what is
//!    impossible is an [`FsError::Corrupt`] with its place; never a panic or an endless loop.
//! 3. Opening costs the same however large and full the pool is; nothing is scanned.
//! 4. One tree serves extents, names, attributes, the inode table and orphans; free space is
//!    bitmaps, so that freeing never has to allocate.
//!
//! # Locks, outermost first
//!
//! 1. the lock of the tree, by who locks two directories of which neither is the other's child;
//! 2. inodes of directories: parents before children; all cases are in `family.rs`;
//! 3. inodes of other kinds, by number. An inode's lock protects its record, its block map and,
//!    for a directory, its names;
//! 4. the objects in memory (`table.rs`), for a moment;
//! 5. a shard of free inodes, then the inode table (`inodes.rs`);
//! 6. the orphans' root;
//! 7. the images of groups, by number (`space.rs`), taken by the commit;
//! 8. a lane of the journal, then its floor word (`journal.rs`);
//! 9. soft reservations (`soft.rs`), usages of groups: leaves, but that loading a usage takes the
//!    group's image.
//!
//! The locks 2 to 8 of all that a transaction touches are held until it is applied: that orders
//! transactions which touch the same bytes.
//!
//! The format is described in `docs/format.md`.
#![forbid(unsafe_code)]

mod anchor;
mod bits;
mod extent;
mod layout;
mod record;
mod seal;
mod superblock;

mod entry;
mod journal;
mod overlay;
mod recovery;
mod tx;

mod alloc;
mod soft;
mod space;

mod classes;
mod core;
mod inodes;
mod node;
mod orphans;
mod tree;

mod attributes;
mod change;
mod hot;
mod inode;
mod iomap;
mod map;
mod pieces;
mod seek;
mod shift;
mod xattr;

mod dir;
mod family;
mod format;
mod free;
mod fs;
mod held;
mod names;
mod remove;
mod rename;
mod table;

mod check;
mod dump;
mod fsck;
mod repair;

mod canary;
#[cfg(feature = "control")]
pub mod control;
#[cfg(not(feature = "control"))]
mod control;
mod error;
mod thread;

pub use canary::Step;
#[cfg(feature = "canary")]
pub use canary::leave_out;

pub use attributes::{Attributes, FileKind, Ino, Kind, NewNode, SetAttributes, Timespec};
pub use check::{Part, PoolTree, Problem};
pub use dir::{DirEntry, MAX_NAME};
pub use dump::{DumpOf, Field, Section};
pub use error::{FsError, What};
pub use format::FormatOptions;
pub use fs::{Access, Fs, Info, OpenReport, Statfs};
pub use fsck::{Finding, FsckProgress, FsckReport, MAX_FINDINGS};
pub use held::Held;
pub use inode::Inode;
pub use layout::{BLOCK, GROUP, Geometry, UNIT};
pub use names::{MAX_LINKS, MAX_TARGET};
pub use remove::UnlinkReport;
pub use rename::RenameFlags;
pub use superblock::{MAX_LABEL, VERSION};
pub use xattr::{MAX_XATTR_NAME, MAX_XATTR_VALUE, XattrFlags};
