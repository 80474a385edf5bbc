//! Goal: the races of `tests/races.rs` can fail: a build with one step of the protocol left out is
//! caught by them.
//!
//! Method: feature `canary` has a switch per step; with it off, the races run until a round
//! fails. Run by `cargo test -p limpid --features canary --test canary`. The switches are
//! process-wide, so all canaries run in one test, one after the other.
#![cfg(feature = "canary")]

mod common;

use common::races;
use common::rng::Rng;
use limpid::{Pool, Step, leave_out};

type Race = fn(&Pool, usize, usize, u64) -> usize;

/// Each step with a race that must catch its absence.
const CANARIES: &[(Step, &str, Race)] = &[
    (Step::UnmapOnWrite, "load fault meets write", races::load_fault_meets_write),
    (Step::UnmapAfterEntries, "load fault meets write", races::load_fault_meets_write),
    (Step::LockBeforeLookup, "load fault meets write", races::load_fault_meets_write),
    (Step::InvalidateEmptyIndex, "growth is seen", |pool, rounds, _, _| {
        races::growth_is_seen(pool, rounds / 100)
    }),
    (Step::UnmapZeroOnReplace, "store meets load fault", races::store_fault_meets_load_fault),
    (Step::UnmapBeforeFree, "fault meets punch", races::fault_meets_punch),
];

const ROUNDS: usize = 30_000;

#[test]
fn every_canary_is_caught() {
    if !common::maps_work() {
        return;
    }
    let seed = Rng::announced("canaries").next();
    for &(step, name, race) in CANARIES {
        let pool = Pool::memory(256 << 20).unwrap();
        leave_out(step, true);
        let failed = race(&pool, ROUNDS, 1, seed);
        leave_out(step, false);
        assert!(failed > 0, "{step:?} left out, but {ROUNDS} rounds of {name:?} saw nothing");
        eprintln!("{step:?}: caught by {name}");
    }
}
