//! Programs that use a mount whose server is killed under them, again and again.

use std::path::Path;

use rustix::process::{Signal, kill_process};

use crate::common::Sandbox;
use crate::common::mount::{MountPoint, Worker, can_mount, say, wait_for_end, work};

/// Work done step by step in a mounted folder, by a process of its own.
pub struct Job {
    pub name: &'static str,
    /// Does the step of a number, which may have been begun before. `None` if it failed, as it
    /// does when the server dies.
    pub step: fn(&Path, u64) -> Option<()>,
    /// Fails if anything is missing of the steps up to and including a number.
    pub check: fn(&Path, u64),
    /// Steps that are done before each kill, at least.
    pub steps: u64,
}

/// What a worker does, until the mount dies under it; nothing in the test itself.
pub fn be_worker(jobs: &[Job]) {
    let Some(work) = work() else { return };
    let job = jobs.iter().find(|job| job.name == work[0]).unwrap();
    for number in work[2].parse().unwrap().. {
        match (job.step)(Path::new(&work[1]), number) {
            Some(()) => say(number),
            None => return,
        }
    }
}

/// Kills the server of a new pool under all jobs at once, `kills` times. After each kill the pool
/// has to be in order, and the next mount must have every step that was done.
pub fn kill_under(jobs: &[Job], kills: usize) {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mount", "p", "dir", "--size", "512MiB"]);
    let mut done: Vec<Option<u64>> = vec![None; jobs.len()];
    for _ in 0..kills {
        let start = |(job, done): (&Job, &Option<u64>)| {
            let next = done.map_or(0, |number| number + 1);
            Worker::new(&format!("{} {} {next}", job.name, dir.path.display()))
        };
        let mut workers: Vec<Worker> = jobs.iter().zip(&done).map(start).collect();
        for ((job, worker), done) in jobs.iter().zip(&mut workers).zip(&mut done) {
            for _ in 0..job.steps {
                let line = worker.line().unwrap_or_else(|| panic!("{} has failed", job.name));
                *done = Some(line.parse().unwrap());
            }
        }
        let server = dir.process();
        kill_process(server, Signal::KILL).unwrap();
        wait_for_end(server);
        for (worker, done) in workers.iter_mut().zip(&mut done) {
            while let Some(line) = worker.line() {
                *done = Some(line.parse().unwrap());
            }
        }
        drop(workers);
        sandbox.ok(&["umount", "dir"]);
        sandbox.ok(&["fsck", "p"]);
        // It says so when it finishes changes that were under way.
        let again = sandbox.run(&["mount", "p", "dir"]);
        assert_eq!(again.code, 0, "{}", again.stderr);
        for (job, done) in jobs.iter().zip(&done) {
            (job.check)(&dir.path, done.unwrap());
        }
    }
    sandbox.ok(&["umount", "dir"]);
    sandbox.ok(&["fsck", "p"]);
}

/// Bytes that tell the number of a step.
pub fn record(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at * 31 + number) as u8).collect()
}
