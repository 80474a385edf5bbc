//! Runs every canary and writes `docs/canaries.md`.
//!
//! `cargo run --release -p limpid-explore --features canary --example canaries`

use limpid_explore::canaries::Caught;
use limpid_explore::catalog::scenario_named;
use limpid_explore::{Limits, Search, SimBug, ToyBlockMap, canary_table, search};

fn main() -> std::io::Result<()> {
    let limits = Limits::default();
    let table = canary_table(|canary| {
        let scenario = scenario_named(canary.scenario)?;
        let planted = canary.search(&scenario, limits);
        let bound = Search::Preemptions(2);
        let clean = search::<ToyBlockMap>(&scenario, SimBug::None, bound, limits);
        eprintln!("{}: {} executions", canary.name, planted.executions);
        Some(Caught { scenario, planted, clean })
    });
    match table {
        Ok(table) => {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/canaries.md");
            std::fs::write(path, table)
        }
        Err(wrong) => Err(std::io::Error::other(wrong)),
    }
}
