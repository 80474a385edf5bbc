//! Goal: when the process behind a mount is killed under git, cargo and tar, the next mount has
//! all that they were done with, they can go on, and the pool is in order.
//!
//! Method: as in `killed.rs`; a step is a run of the program that succeeded.

mod common;
#[path = "common/killing.rs"]
mod killing;
#[path = "common/programs.rs"]
mod programs;

use std::fs;
use std::path::Path;

use killing::{Job, be_worker, kill_under, record};
use programs::{has, plant, run, try_run};

const RECORD: usize = 5000;

const JOBS: [Job; 3] = [
    Job { name: "git", step: commit, check: check_commits, steps: 10 },
    Job { name: "cargo", step: build, check: check_build, steps: 2 },
    Job { name: "tar", step: extract, check: check_extracted, steps: 10 },
];

#[test]
fn worker() {
    be_worker(&JOBS);
}

#[test]
fn programs_go_on_after_a_kill_with_all_they_had_done() {
    if JOBS.iter().all(|job| has(job.name)) {
        kill_under(&JOBS, 8);
    }
}

fn commit(dir: &Path, number: u64) -> Option<()> {
    let folder = dir.join("git");
    fs::create_dir_all(&folder).ok()?;
    // git says to remove what a git that died has left behind.
    for lock in ["index.lock", "HEAD.lock", "refs/heads/main.lock", "config.lock"] {
        let _ = fs::remove_file(folder.join(".git").join(lock));
    }
    try_run(&folder, "git", &["init", "--quiet", "--initial-branch=main"]).ok()?;
    fs::write(folder.join(format!("file{number}")), record(number, RECORD)).ok()?;
    try_run(&folder, "git", &["add", "--all"]).ok()?;
    let message = format!("--message={number}");
    let arguments = ["commit", "--quiet", "--allow-empty", &message];
    try_run(&folder, "git", &arguments).ok().map(drop)
}

fn check_commits(dir: &Path, last: u64) {
    let folder = dir.join("git");
    run(&folder, "git", &["fsck", "--full", "--strict"]);
    let log = run(&folder, "git", &["log", "--format=%s"]);
    for number in 0..=last {
        assert!(log.lines().any(|line| line == number.to_string()), "commit {number}: {log}");
        let bytes = fs::read(folder.join(format!("file{number}"))).unwrap();
        assert!(bytes == record(number, RECORD), "file {number}");
    }
    let names = (0..=last).map(|number| format!("file{number}"));
    let names: Vec<String> =
        ["diff", "--exit-code", "HEAD", "--"].map(str::to_owned).into_iter().chain(names).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    run(&folder, "git", &names);
}

fn build(dir: &Path, number: u64) -> Option<()> {
    let folder = dir.join("cargo");
    if !folder.join("src/main.rs").exists() {
        let _ = fs::remove_dir_all(&folder);
        try_run(dir, "cargo", &["new", "--quiet", "--vcs=none", "cargo"]).ok()?;
    }
    let program = format!("fn main() {{ print!(\"{number}\") }}");
    fs::write(folder.join("src/main.rs"), program).ok()?;
    let said = try_run(&folder, "cargo", &["run", "--quiet", "--offline"]).ok()?;
    (said == number.to_string()).then_some(())
}

fn check_build(dir: &Path, last: u64) {
    let source = fs::read_to_string(dir.join("cargo/src/main.rs")).unwrap();
    // The kill may have come when the source of the next step had been emptied.
    if source.is_empty() {
        return;
    }
    let said = run(&dir.join("cargo"), "cargo", &["run", "--quiet", "--offline"]);
    assert!([last, last + 1].map(|number| number.to_string()).contains(&said), "{said}: {source}");
}

fn extract(dir: &Path, number: u64) -> Option<()> {
    let archive = dir.join("archive.tar");
    if !archive.exists() {
        let original = dir.join("original");
        plant(&original, 4, 20);
        let arguments = ["--create", "--file", "../archive.new", "."];
        try_run(&original, "tar", &arguments).ok()?;
        fs::rename(dir.join("archive.new"), &archive).ok()?;
    }
    let folder = dir.join(format!("extracted{number}"));
    fs::create_dir_all(&folder).ok()?;
    try_run(&folder, "tar", &["--extract", "--file", "../archive.tar"]).ok().map(drop)
}

fn check_extracted(dir: &Path, last: u64) {
    for number in 0..=last {
        let folder = dir.join(format!("extracted{number}"));
        run(&folder, "tar", &["--compare", "--file", "../archive.tar"]);
    }
}
