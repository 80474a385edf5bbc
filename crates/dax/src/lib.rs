//! The DAX layer.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod iomap;
mod mmu;
mod units;

pub use iomap::{Backing, Extent, Intent, Iomap, Published};
pub use mmu::{Mmu, MmuError, Protection, Target};
pub use units::{MAX_FILE_SIZE, Order, PAGE_SHIFT, PAGE_SIZE, PageIndex, PageRange};
