//! Goal: whatever instant a power loss comes at, the pool opens, is sound, and holds each operation
//! wholly or not at all; one that had returned is there.
//!
//! Method: `limpid_explore::crash` over its workloads. Each distinct crash state is opened and
//! compared with what the contract allows: by day with a fifth of the sequences of two, by night
//! (`LIMPID_NIGHT=1`) with all, a million states. The canaries are in `tests/canary/crash.rs`.

use limpid_explore::crash::{
    Bound, ReplayError, Workload, replay, search_all, workloads, workloads_in_ci,
};

#[test]
fn all_crash_states_take_all_processors() {
    let night = std::env::var_os("LIMPID_NIGHT").is_some_and(|value| value == "1");
    let (workloads, least) =
        if night { (workloads(), 1_000_000) } else { (workloads_in_ci(), 200_000) };
    let summary = search_all(&workloads, Bound::CI, &|| false, &mut |row| {
        if let Some(broken) = row.broken {
            eprintln!("{}\n  {}\n  lost: {:?}", broken.replay, broken.why, broken.lost);
        }
    });
    eprintln!("{} workloads, {:?}, {:?}", summary.workloads, summary.counts, summary.time);
    assert_eq!(summary.broken, []);
    assert!(summary.counts.distinct >= least);
    assert!(summary.counts.in_recovery > 5_000);
}

#[test]
fn runs_repeat_exactly() {
    let some: Vec<Workload> =
        ["create.1+rename-dir", "unlink-tree", "chmod.2~2|create+mkdir", "format"]
            .into_iter()
            .map(|name| Workload::named(name).expect("a name of the catalogue"))
            .collect();
    let run = || search_all(&some, Bound::QUICK, &|| false, &mut |_| {}).counts;
    let first = run();
    assert!(first.distinct > 500, "{first:?}");
    assert_eq!(first, run());
}

#[test]
fn replays_of_good_states_find_nothing_wrong() {
    // At the first fence the record is on its way; without some of its pieces nothing happened.
    let replayed = replay("create@9:0,5").expect("create has nine events before its first fence");
    assert_eq!(replayed.why, None);
    assert_eq!(replayed.lost.len(), 2);
    assert!(replayed.lost[0].starts_with("journal, lane 0 slot 0"), "{:?}", replayed.lost);
}

#[test]
fn replays_that_cannot_be_are_refused() {
    for text in ["", "create", "create@", "made-up@1:", "create@x:", "create@1:x"] {
        let expected = if text == "create@" { Ok(()) } else { Err(ReplayError::Text) };
        assert_eq!(replay(text).map(|_| ()), expected, "{text}");
    }
    for text in ["create@100000:", "create@9:100000", "create@9:0=7"] {
        assert_eq!(replay(text).map(|_| ()), Err(ReplayError::Crash), "{text}");
    }
}
