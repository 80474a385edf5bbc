//! Which branches of the DAX layer the catalogue takes, as `docs/coverage.md` holds it (feature
//! `canary`).

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use limpid_dax::Branch;

use crate::catalog;
use crate::explain::schedule_text;
use crate::search::{Limits, Search, search};
use crate::sim::ToyBlockMap;
use crate::world::SimBug;

/// Branches that no scenario takes, and why.
const NOT_TAKEN: &[(Branch, &str)] = &[
    (
        Branch::EndInsideUnit,
        "a second guard: the file shrinks under lock 2 exclusive only, which a fault holds shared",
    ),
    (Branch::WriteTooLarge, ARGUMENTS),
    (Branch::WriteNothing, ARGUMENTS),
    (Branch::TruncateTooLarge, ARGUMENTS),
    (Branch::InsertTooLarge, ARGUMENTS),
    (Branch::CloneTooLarge, ARGUMENTS),
    (Branch::CloneOverlaps, ARGUMENTS),
    (Branch::RangeRefused, ARGUMENTS),
    (Branch::PinConflict, WHOLE_UNIT),
    (Branch::PinSmaller, WHOLE_UNIT),
];

const ARGUMENTS: &str = "arguments that are refused before anything changes";
const WHOLE_UNIT: &str = "a pin of a whole unit with small entries has 512 times the steps";

/// Forgets what was taken, then searches every scenario on two threads: all schedules of each, and
/// of triples and panics all with at most three preemptions. `limit` is the time for one scenario.
/// `Err` tells what is wrong with a scenario, or that it was not exhausted.
pub fn search_catalogue(limit: Duration) -> Result<(), String> {
    Branch::forget_all();
    let scenarios = catalog::all();
    let limits = Limits { time: limit, ..Limits::default() };
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(None);
    let work = || {
        while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
            let kind = Search::of(scenario);
            let outcome = search::<ToyBlockMap>(scenario, SimBug::None, kind, limits);
            let said = match outcome.found {
                Some((violation, schedule)) => {
                    let schedule = schedule_text(&schedule);
                    format!("{violation:?}, replay: {}@{schedule}", scenario.name)
                }
                None if !outcome.exhausted => format!("{} was not exhausted", scenario.name),
                None => continue,
            };
            *wrong.lock().expect("never poisoned") = Some(said);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    match wrong.into_inner().expect("never poisoned") {
        Some(said) => Err(said),
        None => Ok(()),
    }
}

/// The table of all branches and of those that were taken since [`search_catalogue`] began. `Err`
/// names branches that were neither taken nor excused, or excused and yet taken.
pub fn coverage_table() -> Result<String, String> {
    let mut rows = String::new();
    let mut wrong = String::new();
    let mut taken = 0;
    for &(branch, file, what) in Branch::ALL {
        let excuse = NOT_TAKEN.iter().find(|one| one.0 == branch).map(|one| one.1);
        let _ = match (branch.was_taken(), excuse) {
            (true, None) => {
                taken += 1;
                writeln!(rows, "| {file} | {branch:?} | {what} | yes |")
            }
            (false, Some(excuse)) => {
                writeln!(rows, "| {file} | {branch:?} | {what} | no: {excuse} |")
            }
            (true, Some(_)) => writeln!(wrong, "{branch:?} is taken, and excused"),
            (false, None) => writeln!(wrong, "{branch:?} ({what}) is not taken"),
        };
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let all = Branch::ALL.len();
    Ok(format!("{HEAD}\nTaken: {taken} of {all}.\n{COLUMNS}{rows}"))
}

const HEAD: &str = "# Branches of the protocol that the explorer takes

Every branch of the DAX layer has a mark, compiled in with the feature `canary` only. The table
tells which of them the search of the whole catalogue takes: all schedules of every pair and
sequence, and of triples and panics those with at most three preemptions. Making a start state and
looking at the end of an execution run the same code and count, too. Written by `cargo run --release
-p limpid-explore --features canary --example coverage`, checked by `cargo test -p limpid-explore
--features canary`.
";

const COLUMNS: &str = "
| file | branch | what happens | taken |
|---|---|---|---|
";
