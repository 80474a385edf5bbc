//! The routines that touch a medium, one file per architecture. All assembly of the crate is here.
//!
//! Each architecture provides the same items: [`Cpu`] (what this processor offers, found once),
//! `copy`, `copy_non_temporal`, `zero`, `zero_non_temporal`, `write_back`, `load_u64`, `store_u64`,
//! `fence`, and the constants `LINE`, `GUARDED` and `WRITES_BACK`.

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[path = "x86_64.rs"]
mod imp;

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[path = "portable.rs"]
mod imp;

pub(crate) use imp::*;

/// An access that raised SIGBUS inside one of the routines. Only whole-routine failure is told:
/// any part of the access may have been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The address the processor could not access; at least 1.
    pub address: usize,
}
