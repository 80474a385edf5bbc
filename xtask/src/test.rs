//! `cargo xtask test`: all tests by one command.
//!
//! The workspace's own tests run last, so that their runner's closing line is the last one printed.
//! A failing part does not hide the others: all run, and one failure fails the command.

use std::path::Path;

use crate::run;

/// The builds in which a test may leave out single steps of the protocol, and in which the
/// checkers (races on real page tables, the explorer, the order of locks) must notice.
const CANARY: [&str; 9] = [
    "test",
    "--package=limpid",
    "--package=limpid-explore",
    "--package=limpid-fs",
    "--features=limpid/canary,limpid-explore/canary,limpid-fs/canary",
    "--test=canary",
    "--no-fail-fast",
    "--",
    "--nocapture",
];

/// Runs all tests; whether all passed.
pub fn run(root: &Path) -> bool {
    let parts = [
        run::cargo(root, &CANARY),
        run::cargo(root, &["test", "--workspace", "--doc"]),
        workspace(root),
    ];
    parts.iter().all(|good| *good)
}

fn workspace(root: &Path) -> bool {
    if run::has_subcommand(root, "nextest") {
        return run::cargo(root, &["nextest", "run", "--workspace"]);
    }
    eprintln!("cargo-nextest is not installed: using cargo test");
    run::cargo(root, &["test", "--workspace", "--all-targets"])
}
