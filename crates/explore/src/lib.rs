//! Every interleaving of the DAX layer's operations, on the production code.
//!
//! `limpid-dax` is run over simulated page tables, medium and block map, under a scheduler that
//! owns every step. In every state that any schedule reaches, the invariants I1 to I9 and what
//! each access would see are checked against the contract C1 to C6.
//!
//! ```
//! use limpid_explore::{Limits, Search, SimBug, ToyBlockMap, scenario, search};
//! let outcome = search::<ToyBlockMap>(
//!     &scenario::seed(),
//!     SimBug::None,
//!     Search::Complete,
//!     Limits::default(),
//! );
//! assert!(outcome.exhausted && outcome.found.is_none());
//! ```
#![forbid(unsafe_code)]

mod buffers;
mod bugs;
pub mod canaries;
pub mod catalog;
mod check;
#[cfg(feature = "canary")]
pub mod coverage;
pub mod crash;
mod explain;
mod families;
mod fingerprint;
mod history;
mod lab;
mod memo;
mod op;
mod ops;
mod panics;
mod report;
mod runs;
pub mod scenario;
mod seam;
mod search;
mod sim;
mod table;
mod tables_access;
mod world;

pub use explain::{Replay, parse_schedule, replay, replay_text, schedule_text, shrink};
pub use op::Op;
pub use report::{Progress, best_search, run_all, search_name};
pub use scenario::{Call, Fails, Flavour, Scenario, Start};
pub use seam::SimSeam;
pub use search::{Limits, Outcome, Search, search};
pub use sim::{MapSpec, SimMedia, SimMmu, Stepped, Subject, ToyBlockMap, ToyError, Tracking};
pub use table::canary_table;
pub use world::{Line, SimBug, Violation};
