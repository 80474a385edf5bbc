//! Crashes of the file system: what a power loss at any instant leaves, on the production code.
//!
//! A recording medium notes every store, flush and fence of `limpid-fs`, `limpid-dax` and
//! `limpid-pmem` while a few operations run. At each fence the states that a power loss can leave
//! are built: any subset, in pieces of 8 bytes, of what is not flushed and fenced. Each is opened,
//! recovered, checked, and compared with what the contract allows: every completed operation, and
//! the running one wholly or not at all. `docs/crash.md` tells more.

mod canaries;
mod catalog;
mod choose;
mod gate;
mod live;
mod operations;
mod pending;
mod recording;
mod replay;
mod runs;
mod scratch;
mod search;
mod seen;
mod space;
mod tree;
mod verdict;
mod workload;

pub use canaries::{
    CANARIES, Canary, Caught, MediumBug, Plant, crash_canary_table, with_crash_table,
};
pub use catalog::{workloads, workloads_in_ci};
pub use choose::Bound;
pub use replay::{Broken, ReplayError, Replayed, replay};
pub use runs::{Row, Summary, search_all};
pub use search::Counts;
pub use space::{Refusals, refuse_each_block};
pub use workload::Workload;
