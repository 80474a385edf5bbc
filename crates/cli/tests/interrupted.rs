//! Goal: a command that is ended in the middle leaves nothing half done: no temporary name on the
//! host or in a pool, no half pool; and it ends by the signal that ended it. Method: a copy of a
//! pipe that the test keeps open is in the middle for certain; it is met there by each signal.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::Sandbox;
use limpid::PoolOptions;
use rustix::process::{Pid, Signal};

/// Longest wait for what takes milliseconds.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits for the end; a process that does not end is killed, and fails the test.
fn ended(child: &mut Child) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begin.elapsed() > LONGEST {
            child.kill().unwrap();
            panic!("the command did not end");
        }
        std::thread::yield_now();
    }
}

/// Starts a copy from its standard input, and waits until it has taken 1 MiB of it: more than a
/// pipe holds, so that some of it is being copied.
fn in_the_middle(sandbox: &Sandbox, target: &str) -> Child {
    let mut child = sandbox
        .command(&["cp", "/dev/stdin", target])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(&vec![7; 1 << 20]).unwrap();
    child
}

/// The names in the root of the pool.
fn names_in_pool(sandbox: &Sandbox) -> Vec<String> {
    // The pool is opened for writing first, which ends what a killed process left open.
    let pool = PoolOptions::new().open(sandbox.path("p")).unwrap();
    let entries = pool.read_dir("/").unwrap().map(|entry| entry.unwrap().name);
    entries.map(|name| name.into_string().unwrap()).collect()
}

fn names_on_host(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.path("")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_copy_that_is_ended_leaves_nothing() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let sandbox = Sandbox::with_pool();
        let mut child = in_the_middle(&sandbox, "p:/f");
        rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
        let status = ended(&mut child);
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
        assert_eq!(names_in_pool(&sandbox), [""; 0], "{signal:?}");
        let pool = PoolOptions::new().open(sandbox.path("p")).unwrap();
        let space = pool.statfs();
        assert!(space.unwrap().blocks > 0);
    }
}

#[test]
fn what_is_ignored_stays_ignored() {
    let sandbox = Sandbox::with_pool();
    let mut child = Command::new("nohup")
        .args([env!("CARGO_BIN_EXE_limpid"), "cp", "/dev/stdin", "p:/f"])
        .current_dir(sandbox.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(&vec![7; 1 << 20]).unwrap();
    rustix::process::kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    drop(child.stdin.take());
    assert!(ended(&mut child).success());
    assert_eq!(names_in_pool(&sandbox), ["f"]);
}

#[test]
fn a_copy_to_the_host_that_is_ended_leaves_nothing() {
    let sandbox = Sandbox::with_pool();
    // Large enough that a signal, sent once the copy has begun, comes before its end.
    sandbox.write("big", vec![7; 48 << 20]);
    sandbox.ok(&["mv", "big", "p:/"]);
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut child = sandbox.command(&["cp", "-r", "p:/", "out"]).spawn().unwrap();
        let begin = Instant::now();
        while !sandbox.path("out").exists() && child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < LONGEST, "the copy did not begin");
            std::thread::yield_now();
        }
        rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
        let status = ended(&mut child);
        let entries = fs::read_dir(sandbox.path("out")).unwrap();
        for entry in entries {
            let name = entry.unwrap().file_name().into_string().unwrap();
            // Of a copy that was ready before the signal there is all.
            assert_eq!(name, "big", "{signal:?}: {status}");
        }
        fs::remove_dir_all(sandbox.path("out")).unwrap();
    }
    assert_eq!(names_on_host(&sandbox), ["p"]);
}

#[test]
fn a_pool_is_made_or_not() {
    let sandbox = Sandbox::new();
    for round in 0..20_u32 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_limpid"))
            .args(["mkfs", "p", "--size", "64M"])
            .current_dir(sandbox.path(""))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        // Each round meets it elsewhere.
        while begin.elapsed() < Duration::from_micros(500) * round {
            std::thread::yield_now();
        }
        rustix::process::kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let status = ended(&mut child);
        let path = sandbox.path("p");
        match PoolOptions::new().open(&path) {
            Ok(_) => fs::remove_file(&path).unwrap(),
            Err(error) => assert!(!path.exists(), "{status}: {error}"),
        }
    }
}
