//! Executions per second on the seed scenario.
//!
//! `cargo run --release -p limpid-explore --example speed`

use limpid_explore::{Limits, Search, SimBug, ToyBlockMap, scenario, search};

fn main() {
    let seed = scenario::seed();
    let random = Search::Random { seed: 1, executions: 200_000 };
    for kind in [Search::Complete, Search::Preemptions(3), random] {
        let outcome = search::<ToyBlockMap>(&seed, SimBug::None, kind, Limits::default());
        let rate = outcome.executions as f64 / outcome.time.as_secs_f64();
        let exhausted = if outcome.exhausted { "exhausted" } else { "not exhausted" };
        println!(
            "{kind:?}: {} executions, {} states, {exhausted}, {rate:.0} executions per second",
            outcome.executions, outcome.states
        );
    }
}
