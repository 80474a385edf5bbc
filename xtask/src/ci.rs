//! `cargo xtask ci`: every check CI makes, each with its name and duration.
//!
//! All steps run even when one fails, so that one run tells everything there is to repair. Each is
//! a process of its own with an end: what hangs is killed and has failed, the others still run.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::{conformance, guest, run, shipped, test, tidy};

struct Step {
    name: &'static str,
    check: fn(&Path) -> bool,
    /// It is killed after this many minutes.
    minutes: u64,
}

const fn step(name: &'static str, check: fn(&Path) -> bool, minutes: u64) -> Step {
    Step { name, check, minutes }
}

/// The steps of a stage run at once: those that mostly wait beside each other.
const STAGES: [&[Step]; 6] = [
    &[step("tidy", tidy::run, 10)],
    &[step("fmt", fmt, 5)],
    &[step("clippy", clippy, 20)],
    &[step("docs", docs, 15)],
    &[
        step("guest", guest::in_ci, 25),
        step("conformance", conformance::in_ci, 25),
        step("shipped", shipped::run, 25),
    ],
    // Last, so that the closing line of its runner is the last one.
    &[step("test", test::run, 45)],
];

/// All of it ends after this, so that what it found is told.
const WITHIN: Duration = Duration::from_secs(75 * 60);

/// Runs all steps; whether all passed. The closing line names each with its duration.
pub fn run(root: &Path) -> bool {
    let start = Instant::now();
    let mut summary = Vec::new();
    let mut all_good = true;
    for stage in STAGES {
        let mut running: Vec<(&Step, Instant, Option<Child>)> = Vec::new();
        for step in stage {
            eprintln!("\n== {}", step.name);
            let left = WITHIN.saturating_sub(start.elapsed()).as_secs().max(1);
            running.push((step, Instant::now(), begin(root, step, left.min(step.minutes * 60))));
        }
        for (step, began, child) in running {
            let good = child.is_some_and(|child| passed(step, child));
            let line = format!("{} {} in {}", step.name, verdict(good), seconds(began.elapsed()));
            eprintln!("== {line}");
            summary.push(line);
            all_good &= good;
        }
    }
    eprintln!("\nci: {}", summary.join(", "));
    all_good
}

/// Runs one step in this process; whether it passed. `None` if there is none of that name.
pub fn one(root: &Path, name: &str) -> Option<bool> {
    let step = STAGES.into_iter().flatten().find(|step| step.name == name)?;
    Some((step.check)(root))
}

/// Starts a step as a process that is ended, with its children, after some seconds.
fn begin(root: &Path, step: &Step, limit: u64) -> Option<Child> {
    let program = std::env::current_exe().ok()?;
    let mut command = Command::new("timeout");
    command.arg("--kill-after=30").arg(limit.to_string()).arg(program);
    match command.args(["ci", step.name]).current_dir(root).spawn() {
        Ok(child) => Some(child),
        Err(error) => {
            eprintln!("xtask: timeout (of coreutils): cannot be started: {error}");
            None
        }
    }
}

fn passed(step: &Step, mut child: Child) -> bool {
    let status = child.wait().ok();
    // 124: it ended by the first signal, 137: it had to be killed.
    if status.and_then(|status| status.code()).is_some_and(|code| code == 124 || code == 137) {
        eprintln!("xtask: {} did not end in time and was killed", step.name);
    }
    status.is_some_and(|status| status.success())
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
