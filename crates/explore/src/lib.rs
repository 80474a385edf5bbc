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

pub mod catalog;
mod check;
mod history;
mod lab;
mod ops;
mod runs;
pub mod scenario;
mod seam;
mod search;
mod sim;
mod tables_access;
mod world;

pub use ops::Op;
pub use scenario::{Flavour, Scenario, Start};
pub use search::{Limits, Outcome, Search, search};
pub use sim::{MapSpec, SimMedia, SimMmu, Stepped, Subject, ToyBlockMap, ToyError, Tracking};
pub use world::{Line, SimBug, Violation};

/// Temporary.
pub fn trace<B: Subject>(s: &Scenario, bug: SimBug, schedule: &[u8]) -> Vec<Line> {
    search::follow::<B>(s, bug, schedule).trace
}
