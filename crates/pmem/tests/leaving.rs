//! Goal: who opens a medium that somebody is about to let go of waits, and is refused at once
//! where the medium stays taken.
//!
//! Method: one handle says what it holds the medium for, another is opened by a thread.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use limpid_pmem::{Medium, OpenError, OpenOptions};

/// No process that is left to run takes so long.
const LONG: Duration = Duration::from_secs(60);

fn held(dir: &tempfile::TempDir) -> (std::path::PathBuf, Medium) {
    let path = dir.path().join("pool");
    let medium = Medium::create(&path, 1 << 20, &OpenOptions::default()).unwrap();
    (path, medium)
}

#[test]
fn an_opening_waits_for_one_that_leaves() {
    let dir = tempfile::tempdir().unwrap();
    for read_only in [false, true] {
        let (path, holder) = held(&dir);
        holder.leave();
        let (opened, result) = mpsc::channel();
        let options = OpenOptions { read_only, ..OpenOptions::default() };
        let opener = path.clone();
        std::thread::spawn(move || opened.send(Medium::open(opener, &options).map(drop)));
        let early = result.recv_timeout(Duration::from_millis(100));
        assert_eq!(early.err(), Some(mpsc::RecvTimeoutError::Timeout), "it waits");
        drop(holder);
        result.recv_timeout(LONG).expect("it ends").expect("it is opened");
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn one_that_stays_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (path, holder) = held(&dir);
    let refused = || {
        let begin = Instant::now();
        let error = Medium::open(&path, &OpenOptions::default()).unwrap_err();
        let pid = Some(std::process::id());
        assert!(
            matches!(error, OpenError::InUse { pid: held_by, .. } if held_by == pid),
            "{error}"
        );
        assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
    };
    refused();
    // Of a mount that is there: that of /proc.
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(" /proc ")).unwrap();
    holder.hold_for_mount(line.split(' ').nth(2).unwrap());
    refused();
    drop(holder);
    // What was said is gone with who said it.
    let again = Medium::open(&path, &OpenOptions::default()).unwrap();
    refused();
    drop(again);
}
