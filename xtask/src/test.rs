//! `cargo xtask test`: all tests by one command.
//!
//! The workspace's own tests run last, so that their runner's closing line is the last one printed.
//! A failing part does not hide the others: all run, and one failure fails the command.

use std::path::Path;

use crate::run;

/// Leaves out single steps of the protocol and expects the checkers to notice.
const CANARY: &str = "crates/limpid/tests/canary.rs";

/// Runs all tests; whether all passed.
pub fn run(root: &Path) -> bool {
    let parts =
        [canary(root), run::cargo(root, &["test", "--workspace", "--doc"]), workspace(root)];
    parts.iter().all(|good| *good)
}

fn canary(root: &Path) -> bool {
    if !root.join(CANARY).exists() {
        eprintln!("skipped: canary builds: {CANARY} is missing");
        return true;
    }
    run::cargo(root, &["test", "-p", "limpid", "--features", "canary", "--test", "canary"])
}

fn workspace(root: &Path) -> bool {
    if run::has_subcommand(root, "nextest") {
        return run::cargo(root, &["nextest", "run", "--workspace"]);
    }
    eprintln!("cargo-nextest is not installed: using cargo test");
    run::cargo(root, &["test", "--workspace", "--all-targets"])
}
