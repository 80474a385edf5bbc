//! Copying between trees of files: the host's, and those of pools.
//!
//! [`Tree`] is what both have in common; the [`Copier`] knows nothing else. So host to pool, pool
//! to host and pool to pool are one code.

mod copier;
mod data;
mod host;
mod place;
mod pool;
mod progress;
mod target;
mod transfer;
mod tree;

pub use copier::Copier;
pub use place::Place;
pub use target::{Way, is_done_already};
pub use transfer::Transfer;
