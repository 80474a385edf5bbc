//! `cargo xtask ci`: every check CI makes, each with its name and duration.
//!
//! All steps run even when one fails, so that one run tells everything there is to repair.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::{conformance, guest, run, test, tidy};

type Step = (&'static str, fn(&Path) -> bool);

const STEPS: [Step; 7] = [
    ("tidy", tidy::run),
    ("fmt", fmt),
    ("clippy", clippy),
    ("docs", docs),
    ("guest", guest::in_ci),
    ("conformance", conformance::run),
    // Last, so that the closing line of its runner is the last one.
    ("test", test::run),
];

/// Runs all steps; whether all passed. The closing line names each with its duration.
pub fn run(root: &Path) -> bool {
    let mut summary = Vec::new();
    let mut all_good = true;
    for (name, step) in STEPS {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let good = step(root);
        let duration = start.elapsed();
        eprintln!("== {name}: {} in {}", verdict(good), seconds(duration));
        summary.push(format!("{name} {} {}", verdict(good), seconds(duration)));
        all_good &= good;
    }
    eprintln!("\nci: {}", summary.join(", "));
    all_good
}

fn fmt(root: &Path) -> bool {
    run::cargo(root, &["fmt", "--all", "--check"])
}

fn clippy(root: &Path) -> bool {
    run::cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn docs(root: &Path) -> bool {
    let strict = [("RUSTDOCFLAGS", "-D warnings")];
    run::cargo_with(root, &["doc", "--workspace", "--no-deps"], &strict)
}

fn verdict(good: bool) -> &'static str {
    if good { "ok" } else { "FAILED" }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
