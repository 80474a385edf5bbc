//! Goal: when the process behind a mount is killed while programs use it, the next mount has
//! everything that was acknowledged, and the pool is in order.
//!
//! Method: one worker appends numbered records and syncs each, another commits to a database, a
//! third makes and renames files; each says what is done. After some of that the server is killed.
//! Then the pool is checked, mounted again, and compared with what the workers had said.

mod common;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::Sandbox;
use common::mount::{MountPoint, Worker, can_mount, say, wait_for_end, work};
use rusqlite::Connection;
use rustix::process::{Signal, kill_process};

/// Kills, one after the other, on one pool.
const KILLS: u64 = 4;
/// Acknowledgements of the first worker before each kill.
const BEFORE: u64 = 60;
const RECORD: usize = 3000;

fn record(number: u64) -> Vec<u8> {
    (0..RECORD).map(|at| (at as u64 * 31 + number) as u8).collect()
}

/// What another process does, until the mount dies under it.
#[test]
fn worker() {
    let Some(work) = work() else { return };
    let dir = Path::new(&work[1]);
    let from: u64 = work[2].parse().unwrap();
    let step = match work[0].as_str() {
        "records" => append_record,
        "database" => commit,
        _ => make_and_rename,
    };
    for number in from.. {
        match step(dir, number) {
            Some(()) => say(number),
            None => return,
        }
    }
}

fn append_record(dir: &Path, number: u64) -> Option<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(dir.join("records")).ok()?;
    file.write_all_at(&record(number), number * RECORD as u64).ok()?;
    file.sync_all().ok()
}

fn commit(dir: &Path, number: u64) -> Option<()> {
    let database = Connection::open(dir.join("database")).ok()?;
    database.pragma_update(None, "mmap_size", 256 << 20).ok()?;
    database
        .execute("CREATE TABLE IF NOT EXISTS t (number INTEGER PRIMARY KEY, v BLOB)", ())
        .ok()?;
    database.execute("INSERT OR REPLACE INTO t VALUES (?1, ?2)", (number, record(number))).ok()?;
    Some(())
}

fn make_and_rename(dir: &Path, number: u64) -> Option<()> {
    let made = dir.join(format!("made{number}"));
    fs::write(&made, record(number)).ok()?;
    fs::rename(&made, dir.join(format!("kept{number}"))).ok()
}

/// All that is acknowledged is there, up to and including the number given.
fn assert_records(dir: &Path, last: u64) {
    let file = File::open(dir.join("records")).unwrap();
    let mut bytes = vec![0; RECORD];
    for number in 0..=last {
        file.read_exact_at(&mut bytes, number * RECORD as u64).unwrap();
        assert!(bytes == record(number), "record {number}");
    }
}

fn assert_committed(dir: &Path, last: u64) {
    let database = Connection::open(dir.join("database")).unwrap();
    let check: String = database.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    for number in 0..=last {
        let select = "SELECT v FROM t WHERE number = ?1";
        let bytes: Vec<u8> = database.query_row(select, [number], |row| row.get(0)).unwrap();
        assert!(bytes == record(number), "row {number}");
    }
}

fn assert_kept(dir: &Path, last: u64) {
    for number in 0..=last {
        let bytes = fs::read(dir.join(format!("kept{number}"))).unwrap();
        assert!(bytes == record(number), "file {number}");
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mount", "p", "dir", "--size", "256MiB"]);
    let mut last = [None::<u64>; 3];
    for _ in 0..KILLS {
        let jobs = ["records", "database", "names"];
        let path = dir.path.display();
        let mut workers: Vec<Worker> = jobs
            .iter()
            .zip(last)
            .map(|(job, last)| Worker::new(&format!("{job} {path} {}", last.map_or(0, |n| n + 1))))
            .collect();
        for _ in 0..BEFORE {
            last[0] = Some(workers[0].line().unwrap().parse().unwrap());
        }
        let server = dir.process();
        kill_process(server, Signal::KILL).unwrap();
        wait_for_end(server);
        for (worker, last) in workers.iter_mut().zip(&mut last) {
            while let Some(line) = worker.line() {
                *last = Some(line.parse().unwrap());
            }
        }
        drop(workers);
        sandbox.ok(&["umount", "dir"]);
        let pool = limpid::Pool::open(sandbox.path("p")).unwrap();
        assert_eq!(pool.check().unwrap(), Vec::<String>::new());
        drop(pool);
        sandbox.ok(&["fsck", "p"]);
        sandbox.ok(&["mount", "p", "dir"]);
        if let Some(last) = last[0] {
            assert_records(&dir.path, last);
        }
        if let Some(last) = last[1] {
            assert_committed(&dir.path, last);
        }
        if let Some(last) = last[2] {
            assert_kept(&dir.path, last);
        }
    }
    sandbox.ok(&["umount", "dir"]);
}
