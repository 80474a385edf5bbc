//! Linux page tables from user space: implements [`limpid_dax::Mmu`].
//!
//! A [`LinuxMap`] is one map (VMA) of a file in this process: a reservation of addresses whose
//! pages are filled on demand with zeroes, with ranges of the pool, or with private copies. The
//! process-wide [`Engine`] receives the page faults of all maps through userfaultfd and hands each
//! to the [`FaultHandler`] of its map, which decides what belongs there and calls
//! [`Mmu::install`](limpid_dax::Mmu::install).
//!
//! Principles, in order of rank:
//! 1. No access ever finds a wrong page: every change of the tables is one system call that other
//!    threads see wholly or not at all, or it passes through "nothing is there, the access
//!    faults". Memory that is neither registered nor final is never published.
//! 2. No store is lost: what takes stores is write-protected, storage, or a private copy; never a
//!    zero page that turns into anonymous memory behind our back.
//! 3. Few system calls, each over a long range. A fault costs two thread switches; a change of
//!    tables costs microseconds whatever its length.
//!
//! Locks, outermost first: the routes of the engine (read, released before a handler is called),
//! the state of a map (held across the system calls that change its tables), the stage's slots or
//! the ballast.
//! None of them is held while a [`FaultHandler`] runs. A thread that moves mappings into place
//! sleeps until its `REMAP` event was read, with the state of its map held; so the threads that
//! read events never wait for the state of a map unless another of them is reading (`faults.rs`).
//!
//! A store that could have no storage raises SIGBUS and leaves the page to loads (`loads_only.rs`).
//!
//! Limits: a signal handler must not touch a map while its own thread may be inside this crate (it
//! would wait for a lock that its thread holds); the memory of maps is not for madvise, mprotect,
//! mremap or mlock by the program (dropping pages is harmless where zeroes are shown, the rest is
//! not ours to repair); see also `private.rs` for system calls that meet a frozen private map, and
//! `ballast.rs` for what happens at the limit of kernel mappings.
//!
//! Not here: what a page should show (the DAX layer), locks of entries, files, persistence.
//!
//! ```
//! use std::sync::Arc;
//! use limpid_dax::{Mmu, PageIndex, PageRange, Target};
//! use limpid_mmu::*;
//!
//! struct Zeroes(std::sync::Weak<LinuxMap>);
//! impl FaultHandler for Zeroes {
//!     fn fault(&self, page: PageIndex, _store: bool) -> FaultOutcome {
//!         let Some(map) = self.0.upgrade() else { return FaultOutcome::Gone };
//!         let pages = PageRange::new(page.0, page.0 + 1);
//!         match map.install(pages, Target::Zero) {
//!             Ok(()) => FaultOutcome::Installed,
//!             Err(_) => FaultOutcome::NoMemory,
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = match Engine::get() {
//!     Ok(engine) => engine,
//!     Err(reason) => return Ok(eprintln!("skipped: {reason}")),
//! };
//! let pool = std::fs::File::options().read(true).write(true).open("/dev/zero")?;
//! let options = BackingOptions { len: 1 << 21, ..BackingOptions::default() };
//! let backing = Arc::new(Backing::new(engine, pool.into(), options)?);
//! let spec = MapSpec { pages: PageRange::new(0, 512), writable: false, private: false };
//! let map = LinuxMap::new(engine, backing, spec)?;
//! map.serve(Arc::new(Zeroes(Arc::downgrade(&map))));
//! let mut bytes = [1; 8];
//! map.read(4096, &mut bytes)?;
//! assert_eq!(bytes, [0; 8]);
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod access;
mod backing;
mod ballast;
mod bar;
mod budget;
mod caps;
mod engine;
mod error;
mod evidence;
mod faults;
mod install;
mod loads_only;
mod map;
mod mm;
mod pagemap;
mod private;
mod segments;
mod sigsegv;
mod stage;
mod thread;
mod track;
mod uffd;
mod unmap;

pub use access::AccessError;
pub use backing::{Backing, BackingOptions};
pub use caps::Capabilities;
pub use engine::{Engine, FaultHandler, FaultOutcome, Stats};
pub use error::{EngineError, MapError};
pub use evidence::PageSizes;
pub use map::{LinuxMap, MapSpec};
