//! Planted bugs, each of which the explorer must find: one for each shape of `history.md` that has
//! a counterpart here, one for each bug that the explorer itself found in this DAX layer, and one
//! for each gap of the explorer that was closed.

mod gaps;
mod history;

use limpid_dax::Step;

use crate::catalog::scenario_named;
use crate::scenario::Scenario;
use crate::search::{Limits, Outcome, Search, search};
use crate::sim::ToyBlockMap;
use crate::world::SimBug;

/// Where a bug is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A step of the DAX layer that is left out (feature `canary`).
    Step(Step),
    /// A fault of a simulated part.
    Sim(SimBug),
}

/// A planted bug.
#[derive(Clone, Copy, Debug)]
pub struct Canary {
    /// The entry of `history.md`, or `L` and a number for bugs found here first, `N` for gaps.
    pub name: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// Where it is planted.
    pub plant: Plant,
    /// The scenario that must find it.
    pub scenario: &'static str,
}

/// What a canary came to.
#[derive(Clone, Debug)]
pub struct Caught {
    /// The scenario.
    pub scenario: Scenario,
    /// The search with the bug planted.
    pub planted: Outcome,
    /// The same search without it; it must find nothing.
    pub clean: Outcome,
}

impl Canary {
    /// Searches with the bug planted, then without. `None` if the scenario does not exist.
    ///
    /// The switches of the DAX layer are process-wide: run one canary at a time.
    pub fn run(&self, limits: Limits) -> Option<Caught> {
        let scenario = scenario_named(self.scenario)?;
        let planted = self.search(&scenario, limits);
        let clean = search::<ToyBlockMap>(&scenario, SimBug::None, Search::Complete, limits);
        Some(Caught { scenario, planted, clean })
    }

    /// Searches one scenario with the bug planted.
    pub fn search(&self, scenario: &Scenario, limits: Limits) -> Outcome {
        self.planted(|bug| search::<ToyBlockMap>(scenario, bug, Search::Complete, limits))
    }

    /// Runs `work` with the bug planted.
    pub fn planted<R>(&self, work: impl FnOnce(SimBug) -> R) -> R {
        match self.plant {
            Plant::Sim(bug) => work(bug),
            Plant::Step(step) => {
                set(step, true);
                let result = work(SimBug::None);
                set(step, false);
                result
            }
        }
    }
}

#[cfg(feature = "canary")]
fn set(step: Step, out: bool) {
    limpid_dax::leave_out(step, out);
}

/// Without the feature, the DAX layer has no switches: nothing is planted.
#[cfg(not(feature = "canary"))]
fn set(_: Step, _: bool) {}

const fn canary(
    name: &'static str,
    what: &'static str,
    plant: Plant,
    scenario: &'static str,
) -> Canary {
    Canary { name, what, plant, scenario }
}

/// All planted bugs.
pub fn all() -> impl Iterator<Item = &'static Canary> {
    history::BUGS.iter().chain(gaps::BUGS)
}
