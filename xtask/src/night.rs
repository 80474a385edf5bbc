//! `cargo xtask night`: what is long and finds little.
//!
//! The tests look at `LIMPID_NIGHT` for how many rounds they do. The guest runs its whole suite.

use std::path::Path;
use std::process::Command;

/// The variable that makes tests long.
const NIGHT: &str = "LIMPID_NIGHT";

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
    all_good
}
