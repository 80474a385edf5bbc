//! Goal: when the process behind a mount is killed while programs use it, the next mount has
//! everything that was acknowledged, and the pool is in order.
//!
//! Method: workers do numbered steps, each with its own way of making something durable, and say
//! what is done. After some of that the server is killed. Then the pool is checked, mounted again,
//! and compared with what the workers had said.

mod common;
#[path = "../../fuse/tests/common/kernel_map.rs"]
mod kernel_map;
#[path = "common/killing.rs"]
mod killing;
#[path = "common/lmdb.rs"]
mod lmdb;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::mount::can_mount;
use kernel_map::KernelMap;
use killing::{Job, be_worker, kill_under, record};
use rusqlite::Connection;

const RECORD: usize = 3000;
/// Words of the file that is written through a map.
const WORDS: u64 = 20_000;
/// How far they lie apart, in bytes.
const STRIDE: u64 = 520;

/// The last one says that it is done when it is not.
const JOBS: [Job; 6] = [
    Job { name: "records", step: append_record, check: check_records, steps: 60 },
    Job { name: "names", step: make_and_rename, check: check_names, steps: 60 },
    Job { name: "map", step: store, check: check_stores, steps: 60 },
    Job { name: "sqlite", step: commit_sqlite, check: check_sqlite, steps: 20 },
    Job { name: "lmdb", step: commit_lmdb, check: check_lmdb, steps: 20 },
    Job { name: "canary", step: forget_to_rename, check: check_names, steps: 60 },
];

#[test]
fn worker() {
    be_worker(&JOBS);
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    kill_under(&JOBS[..5], 20);
}

#[test]
fn what_was_acknowledged_and_not_done_is_noticed() {
    if can_mount() {
        let noticed = std::panic::catch_unwind(|| kill_under(&JOBS[5..], 1));
        let text = *noticed.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("No such file"), "{text}");
    }
}

fn forget_to_rename(dir: &Path, number: u64) -> Option<()> {
    if number % 50 == 49 {
        return fs::write(dir.join(format!("made{number}")), record(number, RECORD)).ok();
    }
    make_and_rename(dir, number)
}

fn append_record(dir: &Path, number: u64) -> Option<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(dir.join("records")).ok()?;
    file.write_all_at(&record(number, RECORD), number * RECORD as u64).ok()?;
    file.sync_all().ok()
}

fn check_records(dir: &Path, last: u64) {
    let file = File::open(dir.join("records")).unwrap();
    let mut bytes = vec![0; RECORD];
    for number in 0..=last {
        file.read_exact_at(&mut bytes, number * RECORD as u64).unwrap();
        assert!(bytes == record(number, RECORD), "record {number}");
    }
}

fn make_and_rename(dir: &Path, number: u64) -> Option<()> {
    let made = dir.join(format!("made{number}"));
    fs::write(&made, record(number, RECORD)).ok()?;
    fs::rename(&made, dir.join(format!("kept{number}"))).ok()
}

fn check_names(dir: &Path, last: u64) {
    for number in 0..=last {
        let bytes = fs::read(dir.join(format!("kept{number}"))).unwrap();
        assert!(bytes == record(number, RECORD), "file {number}");
    }
}

fn map(dir: &Path) -> Option<KernelMap> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(dir.join("map")).ok()?;
    file.set_len(WORDS * STRIDE).ok()?;
    Some(KernelMap::new(&file, (WORDS * STRIDE) as usize))
}

/// Where the word of a number lies; after all others it is that of the first again.
fn place(number: u64) -> usize {
    (number % WORDS * STRIDE) as usize
}

fn store(dir: &Path, number: u64) -> Option<()> {
    let map = map(dir)?;
    map.store(place(number), number + 1);
    map.sync().ok()
}

fn check_stores(dir: &Path, last: u64) {
    let map = map(dir).unwrap();
    for number in (last + 1).saturating_sub(WORDS)..=last {
        let found = map.load(place(number));
        // The step after the last may have been done, but not acknowledged.
        let next = number + WORDS == last + 1;
        assert!(found == number + 1 || next && found == last + 2, "word {number} is {found}");
    }
}

fn commit_sqlite(dir: &Path, number: u64) -> Option<()> {
    let database = Connection::open(dir.join("database")).ok()?;
    database.pragma_update(None, "mmap_size", 256 << 20).ok()?;
    database
        .execute("CREATE TABLE IF NOT EXISTS t (number INTEGER PRIMARY KEY, v BLOB)", ())
        .ok()?;
    let insert = "INSERT OR REPLACE INTO t VALUES (?1, ?2)";
    database.execute(insert, (number, record(number, RECORD))).ok().map(drop)
}

fn check_sqlite(dir: &Path, last: u64) {
    let database = Connection::open(dir.join("database")).unwrap();
    let check: String = database.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    for number in 0..=last {
        let select = "SELECT v FROM t WHERE number = ?1";
        let bytes: Vec<u8> = database.query_row(select, [number], |row| row.get(0)).unwrap();
        assert!(bytes == record(number, RECORD), "row {number}");
    }
}

fn commit_lmdb(dir: &Path, number: u64) -> Option<()> {
    let folder = dir.join("environment");
    fs::create_dir_all(&folder).ok()?;
    let (env, table) = lmdb::try_open(&folder).ok()?;
    let mut change = env.write_txn().ok()?;
    table.put(&mut change, &number, &record(number, RECORD)).ok()?;
    change.commit().ok()
}

fn check_lmdb(dir: &Path, last: u64) {
    let (env, table) = lmdb::open(&dir.join("environment"));
    let look = env.read_txn().unwrap();
    for number in 0..=last {
        let bytes = table.get(&look, &number).unwrap();
        assert!(bytes == Some(&record(number, RECORD)[..]), "value {number}");
    }
}
