//! Goal: what was acknowledged survives a kill -9 at any moment, and the pool is sound.
//! Method: a child, this test binary again, creates, writes, appends, truncates, punches, renames,
//! removes, and stores through maps on a pool in a file, and acknowledges each operation over a
//! pipe. It is killed after a random time, LIMPID_KILLS times (300 if not set, 1000 by night). Each
//! time the pool is opened and compared with a model of the acknowledged operations; the one under
//! way is there wholly or not at all, or mixed byte by byte where it writes in place. The check
//! tries itself on contents that were never written.

#[path = "../examples/acknowledged.rs"]
#[allow(dead_code, reason = "its main function is not used here")]
mod acknowledged;
mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::rng::Rng;
use common::rounds::rounds;

/// Longest life of a child after its first acknowledgement, in microseconds.
const LONGEST_US: u64 = 15_000;
const WORKERS: u64 = 2;

/// The child: works until it is killed.
#[test]
fn child() {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(pool), Some(seed)) = (variable("LIMPID_KILL_POOL"), variable("LIMPID_KILL_SEED"))
    else {
        return;
    };
    acknowledged::write("child", &pool, seed.parse().unwrap()).unwrap();
}

fn start(pool: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env("LIMPID_KILL_POOL", pool)
        .env("LIMPID_KILL_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The number in a line of acknowledgement; the test runner's own words may stand before it.
fn acknowledgement(line: &str) -> Option<u64> {
    let (_, number) = line.split_once("@guest ack child ")?;
    number.trim_end().parse().ok()
}

/// Lets a child work for a while, kills it, and returns how many operations it acknowledged.
fn one(pool: &Path, seed: u64, life: Duration) -> u64 {
    let mut child = start(pool, seed);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = None;
    while last.is_none() {
        let line = lines.next().expect("the child works until it is killed").unwrap();
        last = acknowledgement(&line);
    }
    // Reads on meanwhile, so that the child never waits for room in the pipe.
    let reader = std::thread::spawn(move || {
        let whole = lines.map_while(Result::ok);
        whole.filter_map(|line| acknowledgement(&line)).last()
    });
    // How long a child lives is the random part of this test; nothing is ordered by it.
    std::thread::park_timeout(life);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap().or(last).expect("one line was read at least")
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let kills: u64 = match std::env::var("LIMPID_KILLS") {
        Ok(text) => text.parse().expect("LIMPID_KILLS is a number"),
        Err(_) => rounds(300, 1000),
    };
    let first = Rng::announced("kill").next();
    let (done, operations) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (done, operations) = (&done, &operations);
            scope.spawn(move || {
                let folder = tempfile::tempdir().unwrap();
                let pool = folder.path().join("pool");
                let mut number = worker;
                while number < kills {
                    let seed = first.wrapping_add(number);
                    let life = Duration::from_micros(Rng::new(seed).below(LONGEST_US));
                    let count = one(&pool, seed, life);
                    let checked = acknowledged::check(pool.to_str().unwrap(), seed, count);
                    if let Err(error) = checked {
                        panic!("kill {number}, seed {seed}, after {count} operations: {error}");
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                    operations.fetch_add(count, Ordering::Relaxed);
                    number += WORKERS;
                }
            });
        }
    });
    eprintln!("{done:?} kills after {operations:?} acknowledged operations");
    assert!(done.into_inner() == kills && operations.into_inner() > kills);
}
