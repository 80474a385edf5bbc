//! Goal: a medium that is dropped is free at once, even while other threads start processes, whose
//! children hold every descriptor for a moment; and a refused size leaves the file as it was.
//!
//! Method: one thread starts processes all the time, another opens and drops a medium and opens it
//! again, hundreds of times.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use limpid_pmem::{Medium, OpenOptions};

#[test]
fn a_dropped_medium_can_be_opened_while_processes_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let options = OpenOptions::default();
    drop(Medium::create(&path, 1 << 20, &options).unwrap());
    let done = AtomicBool::new(false);
    let (started, first) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                // A program that cannot be found still costs a fork.
                let _ = started.send(Command::new("/nonexistent").status().is_err());
            }
        });
        assert!(first.recv().unwrap(), "processes are started");
        let failures = (0..500).filter(|_| Medium::open(&path, &options).is_err()).count();
        done.store(true, Ordering::SeqCst);
        assert_eq!(failures, 0, "of 500 openings right after a drop");
    });
}

#[test]
fn a_size_the_host_refuses_leaves_the_file_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    std::fs::write(&path, vec![7; 8192]).unwrap();
    let options = OpenOptions { reuse: true, ..OpenOptions::default() };
    assert!(Medium::create(&path, i64::MAX as u64 & !4095, &options).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), vec![7; 8192]);
}
