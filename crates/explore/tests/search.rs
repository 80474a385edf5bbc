//! Goal: the search is what it says: complete, and its schedules replay exactly.
//!
//! Method: states that random schedules reach must all be among those of the complete search; a
//! counter-example of a planted bug is shrunk, and its replay string shows the same steps and the
//! same violation again.

use std::time::Duration;

use limpid_explore::catalog::{scenario_named, triples};
use limpid_explore::scenario::READER;
use limpid_explore::{
    Flavour, Limits, Op, Scenario, Search, SimBug, Start, ToyBlockMap, parse_schedule, replay,
    scenario, search, shrink,
};

#[test]
fn random_schedules_reach_no_state_that_the_complete_search_missed() {
    let limits = Limits { time: Duration::from_secs(60), ..Limits::default() };
    let seed = scenario::seed();
    let complete = search::<ToyBlockMap>(&seed, SimBug::None, Search::Complete, limits);
    assert!(complete.exhausted);
    for kind in [
        Search::Random { seed: 1, executions: 5_000 },
        Search::Pct { seed: 1, executions: 5_000, depth: 3 },
    ] {
        let random = search::<ToyBlockMap>(&seed, SimBug::None, kind, limits);
        assert!(random.found.is_none() && random.states <= complete.states, "{kind:?}");
    }
}

#[test]
fn a_counter_example_is_shrunk_and_replays_exactly() {
    let bug = SimBug::PublishUnconditional;
    let limits = Limits::default();
    let found = shrink::<ToyBlockMap>(&triples()[1], bug, limits).expect("the bug is found");
    assert_eq!(found.scenario.actors.len(), 2, "a load is not needed to lose a store");
    let text = found.text();
    let (name, schedule) = text.rsplit_once('@').expect("name@schedule");
    let scenario = scenario_named(name).expect("the part of a scenario is found by its name");
    let schedule = parse_schedule(schedule).expect("what was written is read");
    let again = replay::<ToyBlockMap>(&scenario, bug, &schedule);
    assert_eq!(again.columns(), found.columns());
    assert!(again.violation.is_some() && again.html().contains("publish"));
    let clean = replay::<ToyBlockMap>(&scenario, SimBug::None, &schedule);
    assert!(clean.violation.is_none(), "without the bug the same schedule is right");
}

/// A map that shows something before it is opened is out of reach: that is no bug of the protocol.
#[test]
fn a_scenario_that_opens_what_its_start_state_used_is_refused() {
    let open = Op::Open { map: READER, cell: 0 };
    let actors = vec![vec![open], vec![Op::Punch { cells: 0..4 }]];
    for (start, refused) in [(Start::CleanPmd, true), (Start::CleanPte, false)] {
        let scenario = Scenario::new(start, Flavour::Kernel, actors.clone());
        let limits = Limits::default();
        let outcome = search::<ToyBlockMap>(&scenario, SimBug::None, Search::Complete, limits);
        let found = outcome.found.map(|(violation, _)| violation.clause);
        assert_eq!(found, refused.then_some("scenario"), "{start:?}");
    }
}
