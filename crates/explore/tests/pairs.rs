//! Goal: no schedule of any two operations, from any start state, or of
//! the named sequences and triples, breaks the contract or an
//! invariant.
//!
//! Method: every scenario of the catalogue is searched through all schedules, triples and panics
//! through all with at most three preemptions (some have too many schedules); one that is not
//! exhausted counts as failed. A failure prints the string that replays it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use limpid_explore::{
    Flavour, Limits, Scenario, Search, SimBug, ToyBlockMap, catalog, schedule_text, search,
};

/// Searches all of them on two threads.
fn all_clean(scenarios: &[Scenario], kind: Search) {
    let limits = Limits { states: 4_000_000, time: Duration::from_secs(240) };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut states = 0;
        while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = search::<ToyBlockMap>(scenario, SimBug::None, kind, limits);
            if let Some((violation, schedule)) = &outcome.found {
                let replay = format!("{}@{}", scenario.name, schedule_text(schedule));
                panic!("{}: {}\nreplay: {replay}", violation.clause, violation.seen);
            }
            assert!(outcome.exhausted, "{} was not exhausted", scenario.name);
            states += outcome.states;
        }
        states
    };
    let states: u64 = std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().map(|thread| thread.join().expect("no scenario is wrong")).sum()
    });
    eprintln!("{kind:?}: {} scenarios, {states} states, exhausted", scenarios.len());
}

#[test]
fn all_schedules_of_all_pairs() {
    all_clean(&catalog::pairs(Flavour::Kernel), Search::Complete);
}

#[test]
fn all_schedules_of_pairs_with_fault_around() {
    all_clean(&catalog::fault_around(), Search::Complete);
}

#[test]
fn all_schedules_of_stores_that_take_pages_ahead() {
    all_clean(&catalog::ahead(), Search::Complete);
}

#[test]
fn all_schedules_of_pairs_on_shared_blocks() {
    all_clean(&catalog::sharing(), Search::Complete);
}

#[test]
fn all_schedules_of_pairs_in_which_a_call_fails() {
    all_clean(&catalog::failures(), Search::Complete);
}

#[test]
fn schedules_with_three_preemptions_of_pairs_in_which_a_call_panics() {
    all_clean(&catalog::panics(), Search::Preemptions(3));
}

#[test]
fn all_schedules_of_pairs_where_page_tables_do_not_protect() {
    all_clean(&catalog::tracking(Flavour::Noted), Search::Complete);
    all_clean(&catalog::tracking(Flavour::Unnoticed), Search::Complete);
}

#[test]
fn all_schedules_of_sequences_and_triples_with_three_preemptions() {
    all_clean(&[limpid_explore::scenario::seed()], Search::Complete);
    all_clean(&catalog::sequences(), Search::Complete);
    all_clean(&catalog::triples(), Search::Preemptions(3));
}

#[test]
fn all_schedules_of_families() {
    let (waiters, pairs): (Vec<_>, Vec<_>) =
        catalog::families().into_iter().partition(|scenario| scenario.actors.len() > 2);
    all_clean(&pairs, Search::Complete);
    all_clean(&waiters, Search::Preemptions(3));
}
