//! The table of canaries, as `docs/canaries.md` holds it.

use std::fmt::Write as _;

use crate::canaries::{Canary, Caught, Plant, all};

/// Entries of `history.md` that no canary stands for, and why.
const WITHOUT: &[(&str, &str)] = &[
    (
        "A9",
        "`Mmu::install` replaces what is there as one step; no two sizes of page tables collide",
    ),
    (
        "A11, H1 to H4, F1 to F4, F6 to F9",
        "outside the DAX layer: checks of callers, mount options",
    ),
    ("A12, C3, E3, G1 to G5", "there are no page structures: entries are found by file page only"),
    ("A13", "page tables change atomically by contract; `limpid-mmu` tests that on the real ones"),
    ("A14, A15", "a performance regression, and a leak of page tables: nothing wrong is ever seen"),
    ("E4, E5", "there are no operations that compare files (dedupe) or copy ahead (unshare)"),
    ("B10", "an allocating fault publishes in one durable commit: there is no synchronous variant"),
    ("C7", "pins are counted in one place, which wakes when one goes"),
    ("C8, E8", "errors are typed: an error number cannot be taken for an entry"),
    ("D5", "pins live as long as the mapping: a pool cannot be closed under a pin"),
];

fn planted_in(canary: &Canary) -> String {
    match canary.plant {
        Plant::Step(step) => format!("dax: `{step:?}`"),
        Plant::Sim(bug) => format!("simulated: `{bug:?}`"),
    }
}

/// Runs every canary and writes the table. `Err` names a canary that was not found, or a scenario
/// that is wrong without one.
pub fn canary_table(mut run: impl FnMut(&Canary) -> Option<Caught>) -> Result<String, String> {
    let mut text = String::from(HEAD);
    for canary in all() {
        let caught = run(canary).ok_or_else(|| format!("{}: no such scenario", canary.name))?;
        let Some((violation, _)) = &caught.planted.found else {
            return Err(format!("{} was not found by {:?}", canary.name, canary.scenario));
        };
        if let Some((violation, _)) = &caught.clean.found {
            return Err(format!("{:?} without a canary: {violation:?}", canary.scenario));
        }
        let scenario = canary.scenario.replace('|', "\\|");
        let found = caught.planted.executions;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            canary.name,
            canary.what,
            planted_in(canary),
            scenario,
            found,
            violation.clause
        );
    }
    text.push_str("\n## Entries of the history without a canary\n\n| entry | why |\n|---|---|\n");
    for (entry, why) in WITHOUT {
        let _ = writeln!(text, "| {entry} | {why} |");
    }
    Ok(text)
}

const HEAD: &str = "# Canaries

Bugs planted one at a time, each of which the explorer must find; without the bug the same search of
the same scenario must find nothing. A to F are the entries of the history of Linux's DAX, L those
that were found here first, N those of which the kind was once not looked at or not tried. Written
by `cargo run --release -p limpid-explore --features canary --example canaries`, checked by
`cargo test -p limpid-explore --features canary`.

| name | what is wrong | planted in | scenario | executions until found | clause |
|---|---|---|---|---|---|
";
