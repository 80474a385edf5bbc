//! Goal: no race between faults, writes, punches and truncates on real page tables leaves a
//! stale or foreign byte.
//!
//! Method: `common/races.rs`, thousands of rounds each, on a pool in memory and on one in a file
//! (or on the media that LIMPID_TEST_MEDIA names), with and without fault-around.
//! `tests/canary.rs` shows that the same races find planted bugs.

mod common;

use common::races;
use common::rng::Rng;
use limpid::Pool;

const ROUNDS: usize = 1500;

fn no_round_fails(name: &str, run: impl Fn(&Pool, usize, usize, u64) -> usize) {
    if !common::maps_work() {
        return;
    }
    let seed = Rng::announced(name).next();
    let check = |pool: Pool| {
        let failed = run(&pool, ROUNDS, 1, seed);
        assert_eq!(failed, 0, "{name}: seed {seed} on {}", pool.info().medium_line);
    };
    for (pool, _guard) in common::pools(256 << 20) {
        check(pool);
    }
    check(common::plain_pool(256 << 20));
}

#[test]
fn load_fault_meets_write() {
    no_round_fails("load fault meets write", races::load_fault_meets_write);
}

#[test]
fn store_fault_meets_load_fault() {
    no_round_fails("store fault meets load fault", races::store_fault_meets_load_fault);
}

#[test]
fn two_store_faults() {
    no_round_fails("two store faults", races::two_store_faults);
}

#[test]
fn store_fault_meets_write() {
    no_round_fails("store fault meets write", races::store_fault_meets_write);
}

#[test]
fn fault_meets_punch() {
    no_round_fails("fault meets punch", races::fault_meets_punch);
}

#[test]
fn fault_meets_truncate() {
    no_round_fails("fault meets truncate", races::fault_meets_truncate);
}

#[test]
fn growth_is_seen() {
    no_round_fails("growth", |pool, rounds, _, _| races::growth_is_seen(pool, rounds / 10));
}
