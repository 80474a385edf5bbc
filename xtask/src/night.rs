//! `cargo xtask night`: what is long and finds little.
//!
//! The tests look at `LIMPID_NIGHT` for how many rounds they do. The guest runs its whole suite.
//! What damaged pools do is looked at in a release build, too: there no arithmetic panics.

use std::path::Path;
use std::process::Command;

use crate::run;

/// The variable that makes tests long.
const NIGHT: &str = "LIMPID_NIGHT";

/// The tests of damaged pools, as users run the library.
const DAMAGED: [&str; 7] = [
    "test",
    "--release",
    "--package=limpid-fs",
    "--package=limpid",
    "--test=hostile",
    "--test=undamaged",
    "--no-fail-fast",
];

/// Runs everything long, one after the other; whether all passed.
pub fn run(root: &Path) -> bool {
    let Ok(program) = std::env::current_exe() else { return false };
    let mut all_good = true;
    for step in ["guest", "conformance", "test"] {
        eprintln!("\n== night: {step}");
        let mut command = Command::new(&program);
        command.arg(step).env(NIGHT, "1").current_dir(root);
        let good = command.status().is_ok_and(|status| status.success());
        eprintln!("== night: {step} {}", if good { "ok" } else { "FAILED" });
        all_good &= good;
    }
    eprintln!("\n== night: damaged pools in a release build");
    all_good & run::cargo_with(root, &DAMAGED, &[(NIGHT, "1")])
}
