//! Goal: databases that read through maps what they write by calls, and share a file between
//! processes, work on a mount.
//!
//! Method: two processes make transactions in one SQLite database (with a map, in both journal
//! modes) and in one LMDB environment; then every value is compared and the database's own check
//! has to find nothing.

mod common;
#[path = "common/lmdb.rs"]
mod lmdb;

use std::path::Path;
use std::time::Duration;

use common::Sandbox;
use common::mount::{MountPoint, Worker, can_mount, work};
use rusqlite::{Connection, TransactionBehavior};

/// Transactions of each process.
const TRANSACTIONS: u64 = 1000;
const PROCESSES: u64 = 2;

/// Contents that tell whose they are; lengths from one byte to some pages.
fn value(process: u64, number: u64) -> Vec<u8> {
    let len = (number * 37 + process) % 9000 + 1;
    (0..len).map(|at| (at * 7 + number * 3 + process) as u8).collect()
}

/// What another process does.
#[test]
fn worker() {
    let Some(work) = work() else { return };
    let process = work[2].parse().unwrap();
    match work[0].as_str() {
        "lmdb" => change_lmdb(Path::new(&work[1]), process),
        mode => change_sqlite(Path::new(&work[1]), process, mode),
    }
}

fn sqlite(path: &Path, mode: &str) -> Connection {
    let database = Connection::open(path).unwrap();
    database.busy_timeout(Duration::from_secs(120)).unwrap();
    database.pragma_update(None, "journal_mode", mode).unwrap();
    database.pragma_update(None, "mmap_size", 256 << 20).unwrap();
    database
}

fn change_sqlite(path: &Path, process: u64, mode: &str) {
    let mut database = sqlite(path, mode);
    for number in 0..TRANSACTIONS {
        let change = database.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let insert = "INSERT INTO t (process, number, value) VALUES (?1, ?2, ?3)";
        change.execute(insert, (process, number, value(process, number))).unwrap();
        change.execute("UPDATE total SET count = count + 1", ()).unwrap();
        if number % 5 == 4 {
            let delete = "DELETE FROM t WHERE process = ?1 AND number = ?2";
            change.execute(delete, (process, number - 2)).unwrap();
        }
        change.commit().unwrap();
    }
}

/// Whether a number of a process is still there in the end.
fn stays(number: u64) -> bool {
    number % 5 != 2
}

fn run_sqlite(mode: &str) {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mount", "p", "dir", "--size", "256MiB"]);
    let path = dir.path.join("database");
    let database = sqlite(&path, mode);
    let tables = "CREATE TABLE t (process INTEGER, number INTEGER, value BLOB,
                                  PRIMARY KEY (process, number));
                  CREATE TABLE total (count INTEGER); INSERT INTO total VALUES (0);";
    database.execute_batch(tables).unwrap();
    let start = |process| Worker::new(&format!("{mode} {} {process}", path.display()));
    let workers: Vec<Worker> = (0..PROCESSES).map(start).collect();
    workers.into_iter().for_each(Worker::finish);
    drop(database);
    let database = sqlite(&path, mode);
    let check: String = database.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let total: u64 = database.query_row("SELECT count FROM total", (), |row| row.get(0)).unwrap();
    assert_eq!(total, PROCESSES * TRANSACTIONS);
    let mut rows = 0;
    let mut select = database.prepare("SELECT process, number, value FROM t").unwrap();
    let found = select.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    for row in found {
        let (process, number, bytes): (u64, u64, Vec<u8>) = row.unwrap();
        assert!(stays(number));
        assert!(bytes == value(process, number), "value {number} of process {process}");
        rows += 1;
    }
    assert_eq!(rows, PROCESSES * (0..TRANSACTIONS).filter(|number| stays(*number)).count() as u64);
    drop(select);
    drop(database);
    sandbox.ok(&["umount", "dir"]);
}

#[test]
fn sqlite_with_a_write_ahead_log() {
    run_sqlite("WAL");
}

#[test]
fn sqlite_with_a_rollback_journal() {
    run_sqlite("DELETE");
}

fn change_lmdb(folder: &Path, process: u64) {
    let (env, table) = lmdb::open(folder);
    for number in 0..TRANSACTIONS {
        let mut change = env.write_txn().unwrap();
        let key = number * PROCESSES + process;
        table.put(&mut change, &key, &value(process, number)).unwrap();
        if number % 5 == 4 {
            table.delete(&mut change, &((number - 2) * PROCESSES + process)).unwrap();
        }
        change.commit().unwrap();
        // What was just written by calls is there in the map.
        let look = env.read_txn().unwrap();
        assert!(table.get(&look, &key).unwrap() == Some(&value(process, number)[..]));
    }
}

#[test]
fn lmdb_in_its_default_mode() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mount", "p", "dir", "--size", "256MiB"]);
    let folder = dir.path.join("environment");
    std::fs::create_dir(&folder).unwrap();
    let start = |process| Worker::new(&format!("lmdb {} {process}", folder.display()));
    let workers: Vec<Worker> = (0..PROCESSES).map(start).collect();
    workers.into_iter().for_each(Worker::finish);
    let (env, table) = lmdb::open(&folder);
    let look = env.read_txn().unwrap();
    let mut rows = 0;
    for row in table.iter(&look).unwrap() {
        let (key, bytes) = row.unwrap();
        let (process, number) = (key % PROCESSES, key / PROCESSES);
        assert!(stays(number));
        assert!(bytes == value(process, number), "value {number} of process {process}");
        rows += 1;
    }
    assert_eq!(rows, PROCESSES * (0..TRANSACTIONS).filter(|number| stays(*number)).count() as u64);
    drop(look);
    drop(env);
    sandbox.ok(&["umount", "dir"]);
}
