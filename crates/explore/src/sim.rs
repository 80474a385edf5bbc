//! The simulated parts behind the DAX layer's traits.

mod blocks;
mod medium;
mod stepped;
mod tables;
mod toy;

pub(crate) use blocks::{Own, Owner};
pub use medium::SimMedia;
pub(crate) use medium::is_shared;
pub(crate) use medium::{CELL, Medium};
pub use stepped::{Stepped, Subject};
pub(crate) use tables::{Copy, Meets, Pte, Tables};
pub use tables::{MapSpec, SimMmu, Tracking};
pub use toy::{ToyBlockMap, ToyError};

/// 2 MiB units of the simulated medium.
pub(crate) const DEVICE_UNITS: u32 = 8;
/// Pages of the simulated medium.
pub(crate) const DEVICE_PAGES: u32 = DEVICE_UNITS * 512;
