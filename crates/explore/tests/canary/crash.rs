//! Goal: the search for bad crash states can fail: it finds every planted bug, and `docs/crash.md`
//! says which workload does.
//!
//! Method: runs all canaries one after the other (the switches are process-wide), each through the
//! workloads in their order until one finds it; `tests/crash.rs` shows that the same workloads find
//! nothing without a bug. Compares the table with the file, and replays one of the findings.

use limpid_explore::crash::{
    Bound, CANARIES, ReplayError, crash_canary_table, replay, with_crash_table,
};
use limpid_fs::Step;

#[test]
fn every_crash_canary_is_found_and_the_table_is_true() {
    let _alone = super::alone();
    let table = crash_canary_table(Bound::CANARY, &mut |canary, caught| {
        let (states, workloads) = (caught.counts.distinct, caught.workloads);
        eprintln!("{}: {states} states, {workloads} workloads", canary.name);
    });
    let table = table.unwrap_or_else(|missed| panic!("{missed}"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/crash.md");
    let file = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        with_crash_table(&file, &table).as_ref() == Some(&file),
        "docs/crash.md is out of date: cargo run --release -p limpid-explore \
         --features canary --example crash_canaries"
    );
}

#[test]
fn a_finding_replays_as_long_as_the_bug_is_there() {
    let _alone = super::alone();
    let canary = CANARIES.iter().find(|canary| canary.name == "R1").expect("it is listed");
    let broken = canary.search(Bound::CANARY).broken.expect("it is found");
    assert!(broken.replay.contains('/'), "a crash of the recovery: {}", broken.replay);
    limpid_fs::leave_out(Step::RecoverBeforeFloor, true);
    let with_bug = replay(&broken.replay);
    limpid_fs::leave_out(Step::RecoverBeforeFloor, false);
    let with_bug = with_bug.expect("the replay runs");
    assert_eq!(with_bug.why, Some(broken.why));
    assert_eq!(with_bug.lost, broken.lost);
    // Without the bug other things are stored, so the text may fit nothing any more.
    let without_bug = replay(&broken.replay).map(|replayed| replayed.why);
    assert!(matches!(without_bug, Ok(None) | Err(ReplayError::Crash)), "{without_bug:?}");
}
