//! Goal: the explorer can fail: it finds every planted bug, finds nothing without it, and
//! `docs/canaries.md` says so.
//!
//! Method: runs all canaries one after the other (the switches are process-wide), each by a
//! search over all schedules of its scenario, and compares the table with the file. The same
//! scenarios without a bug are searched with at most two preemptions, to keep this short.

use std::time::Duration;

use limpid_explore::canaries::Caught;
use limpid_explore::catalog::scenario_named;
use limpid_explore::{Limits, Search, SimBug, ToyBlockMap, canary_table, search};

#[test]
fn every_canary_is_found_and_the_table_is_true() {
    let _alone = super::alone();
    let limits = Limits { states: 4_000_000, time: Duration::from_secs(120) };
    let table = canary_table(|canary| {
        let scenario = scenario_named(canary.scenario)?;
        let planted = canary.search(&scenario, limits);
        let bound = Search::Preemptions(2);
        let clean = search::<ToyBlockMap>(&scenario, SimBug::None, bound, limits);
        Some(Caught { scenario, planted, clean })
    });
    let table = table.unwrap_or_else(|wrong| panic!("{wrong}"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/canaries.md");
    let file = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        file == table,
        "docs/canaries.md is out of date: cargo run --release -p limpid-explore \
         --features canary --example canaries"
    );
}
