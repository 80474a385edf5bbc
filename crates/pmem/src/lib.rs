//! Media of Limpid: byte-addressable memory behind one trait.
//!
//! [`Medium`] is a DAX device, a file or plain memory, mapped whole; its copies survive media
//! errors and make stores persistent where the hardware can. [`VecMedia`] and [`Recorder`] stand
//! in for it in tests. [`persist`] keeps the order store, flush, fence, publish by types.
//!
//! Architecture invariants: a medium knows nothing of files or blocks; no reference into a medium
//! is ever made, all accesses are copies or single words; all assembly lies in `arch`.
//!
//! Without the feature `std` only the trait, its types and [`persist`] exist, so that `no_std`
//! crates can be generic over a medium.
#![cfg_attr(not(feature = "std"), no_std)]

mod media;
pub mod persist;

#[cfg(feature = "std")]
mod arch;
#[cfg(feature = "std")]
mod copier;
#[cfg(all(feature = "std", not(miri)))]
pub mod front;
#[cfg(feature = "std")]
mod region;
#[cfg(all(feature = "std", target_arch = "x86_64", not(miri)))]
mod sigbus;
#[cfg(feature = "std")]
mod stores;

#[cfg(feature = "std")]
mod devdax;
#[cfg(feature = "std")]
mod holder;
#[cfg(feature = "std")]
mod host;
#[cfg(feature = "std")]
mod lock;
#[cfg(feature = "std")]
mod mapping;
#[cfg(feature = "std")]
mod medium;
#[cfg(feature = "std")]
mod memory;
#[cfg(feature = "std")]
mod open;
#[cfg(feature = "std")]
mod process;

#[cfg(feature = "std")]
mod recorder;
#[cfg(feature = "std")]
mod vec_media;

pub use media::{Durability, Media, MediaError, Persist};

#[cfg(feature = "std")]
pub use copier::{Copier, Fault};
#[cfg(feature = "std")]
pub use medium::{Kind, Medium};
#[cfg(feature = "std")]
pub use open::{OpenError, OpenOptions};
#[cfg(feature = "std")]
pub use process::Origin;
#[cfg(feature = "std")]
pub use recorder::{Event, Op, Recorder};
#[cfg(feature = "std")]
pub use vec_media::VecMedia;

#[cfg(all(feature = "std", target_arch = "x86_64", not(miri)))]
pub use sigbus::end_guarded_copy;

/// Nothing is guarded here.
///
/// # Safety
/// None is needed.
#[cfg(all(feature = "std", not(all(target_arch = "x86_64", not(miri)))))]
pub unsafe fn end_guarded_copy(_address: usize, _context: *mut core::ffi::c_void) -> bool {
    false
}
