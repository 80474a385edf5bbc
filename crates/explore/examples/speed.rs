//! Executions per second of processor time on the seed scenario. Where that is not known: of time.
//!
//! `cargo run --release -p limpid-explore --example speed`

use std::time::Duration;

use limpid_explore::{Limits, Search, SimBug, ToyBlockMap, scenario, search};

fn main() {
    let seed = scenario::seed();
    let random = Search::Random { seed: 1, executions: 200_000 };
    for kind in [Search::Complete, Search::Preemptions(3), random] {
        let before = processor_time();
        let outcome = search::<ToyBlockMap>(&seed, SimBug::None, kind, Limits::default());
        let spent = processor_time().zip(before).map(|(now, before)| now - before);
        let spent = spent.unwrap_or(outcome.time);
        let rate = outcome.executions as f64 / spent.as_secs_f64();
        let exhausted = if outcome.exhausted { "exhausted" } else { "not exhausted" };
        println!(
            "{kind:?}: {} executions, {} states, {exhausted}, {rate:.0} per processor second",
            outcome.executions, outcome.states
        );
    }
}

/// What this thread has used of a processor, as Linux counts it.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}
