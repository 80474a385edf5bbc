//! The DAX layer: one copy of a file, reached by read, write and any number of maps, which always
//! agree.
//!
//! The protocol follows Linux's fs/dax.c and its names; `docs/protocol.md` tells it in prose. The
//! crate knows neither Linux nor threads nor an on-media format: it is generic over the block map
//! ([`Iomap`]), the page tables ([`Mmu`]), the medium (`limpid_pmem::Media`) and the locks and
//! waits ([`Seam`]), so that the explorer can run this very code through every interleaving.
//!
//! Invariants:
//! - I1 what a page table shows has an entry with the same target;
//! - I2 an unlocked entry agrees with the block map, but for one of zeroes where a write that has
//!   not returned has published blocks;
//! - I3 a writable page-table entry implies DIRTY or LOCKED, and blocks that no one shares;
//! - I4 after writeback every earlier store of the range is on the medium;
//! - I5 a locked entry has exactly one owner, and every waiter is woken in the end;
//! - I6 no block is freed while a page table or a pin refers to it;
//! - I7 ZERO and EMPTY entries are never marked;
//! - I8 entries do not overlap and are aligned to their size;
//! - I9 the caller's memory is touched with the inode lock at most.
//!
//! Reading order: `entry`, `index`, `wait`, `mapping` (state and lock order), `lock`, `fault`,
//! `unpublished`, `resolve`, `around`, `ahead`, `read`, `write`, `copy`, `invalidate`, `writeback`,
//! `change`, `share`, `pin`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod units;

mod iomap;
mod mmu;
mod seam;

mod canary;
mod cover;
mod entry;
mod error;
mod index;
mod maps;
mod pins;
mod reasons;
mod wait;

mod mapping;

mod ahead;
mod around;
mod buffer;
mod change;
mod copy;
mod fault;
mod invalidate;
mod lock;
mod pin;
mod read;
mod resolve;
mod share;
mod unpublished;
mod write;
mod writeback;

pub use ahead::StoreUnit;
pub use buffer::{Sink, Source};
pub use canary::Step;
#[cfg(feature = "canary")]
pub use canary::leave_out;
#[cfg(feature = "canary")]
pub use cover::Branch;
pub use entry::{Entry, Marks};
pub use error::{DaxError, Fallback, FaultOutcome};
pub use fault::Access;
pub use iomap::{Backing, Extent, Intent, Iomap, Published, Share};
pub use mapping::{Config, FaultPolicy, Mapping, Stats};
pub use maps::Vma;
pub use mmu::{Mmu, MmuError, Protection, Target};
pub use pin::Pin;
pub use seam::{Mutex, Parker, RwLock, Seam};
pub use units::{MAX_FILE_SIZE, Order, PAGE_SHIFT, PAGE_SIZE, PageIndex, PageRange};
pub use wait::WaitTable;
pub use write::{WriteAt, Written};
