//! Goal: a store through a map that finds no space is not lost without a word: everybody who syncs
//! or closes the file is told until its bytes are written, cut off or made a hole, nobody sees
//! them as if they were stored, and everything works when there is room again.
//!
//! Method: a program stores into holes of a file on a pool that another file has filled up.

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use common::Mounted;
use common::client::Client;
use limpid::{File, Pool};
use limpid_fuse::MountOptions;
use rustix::io::Errno;

const LEN: u64 = 64 << 10;
const PAGE: u64 = 4096;

/// The program.
#[test]
fn client() {
    common::client::serve();
}

/// A mounted pool without room, and a program with a map of a file of holes. A page of that file,
/// the third, has blocks.
fn full() -> Option<(Mounted, Client)> {
    let pool = Pool::memory(16 << 20).unwrap();
    let mounted = Mounted::with(pool, MountOptions::default())?;
    std::fs::File::create(mounted.path("f")).unwrap().set_len(LEN).unwrap();
    let mut program = Client::new();
    program.ask(&format!("open {}", mounted.path("f").display()));
    program.ask(&format!("write {} 1", 2 * PAGE));
    let mut fill = std::fs::File::create(mounted.path("fill")).unwrap();
    let mut len = 1 << 20;
    while len >= PAGE as usize {
        if fill.write(&vec![1; len]).is_err() {
            len /= 2;
        }
    }
    program.ask(&format!("map {LEN}"));
    Some((mounted, program))
}

/// Waits until the space of a removed file is free: the kernel tells of the last close, and that it
/// has forgotten the file, after the calls have returned.
fn await_room(mounted: &Mounted) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while mounted.pool.statfs().unwrap().available * PAGE < 1 << 20 {
        assert!(Instant::now() < deadline, "the removed file's space does not come free");
        std::thread::yield_now();
    }
}

fn number(error: Errno) -> String {
    error.raw_os_error().to_string()
}

/// Waits until reading the word at `at` says `what`: the kernel's page goes when it was told that
/// the writeback failed, which its caller may learn a little before.
fn reads_as(program: &mut Client, at: u64, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while program.ask(&format!("read? {at}")) != what {
        assert!(Instant::now() < deadline, "byte {at} does not come to be read as {what}");
    }
}

#[test]
fn everybody_is_told_until_the_bytes_are_a_hole() {
    let Some((mounted, mut program)) = full() else { return };
    let mut other = Client::new();
    other.ask(&format!("open {}", mounted.path("f").display()));
    for page in [0, 1, 2, 7] {
        program.ask(&format!("store {} 7", page * PAGE));
    }
    let full = number(Errno::NOSPC);
    for call in ["msync?", "msync?", "fsync?", "msync?", "fsync?"] {
        assert_eq!(program.ask(call), full, "{call}");
    }
    assert_eq!(other.ask("fsync?"), full);
    let inside = File::open(&mounted.pool, "/f").unwrap();
    assert!(inside.sync_all().is_err_and(|error| error.errno() == Errno::NOSPC.raw_os_error()));
    assert!(inside.sync_data().is_err());
    reads_as(&mut program, 0, &number(Errno::IO));
    reads_as(&mut program, 7 * PAGE + 4088, &number(Errno::IO));
    // Neighbours with blocks are stored, and holes nobody stored to are holes.
    assert_eq!(program.number(&format!("read {}", 2 * PAGE)), 7);
    assert_eq!(program.number(&format!("load {}", 3 * PAGE)), 0);
    program.ask("unmap");
    assert_eq!(program.ask("close?"), full);
    assert_eq!(other.ask("fsync?"), full);
    other.ask(&format!("punch 0 {}", 2 * PAGE));
    assert_eq!(other.ask("fsync?"), full);
    other.ask(&format!("punch {} {PAGE}", 7 * PAGE));
    assert_eq!(other.ask("fsync?"), "ok");
    assert_eq!(other.number("read 0"), 0);
    assert_eq!(other.ask("close?"), "ok");
    inside.sync_all().unwrap();
    drop((inside, program, other));
    mounted.finish();
}

#[test]
fn it_all_works_when_there_is_room() {
    let Some((mounted, mut program)) = full() else { return };
    program.ask("store 0 7");
    program.ask(&format!("store {PAGE} 7"));
    program.ask(&format!("store {} 7", 3 * PAGE));
    program.ask(&format!("store {} 7", 4 * PAGE));
    assert_ne!(program.ask("msync?"), "ok");
    reads_as(&mut program, 0, &number(Errno::IO));
    std::fs::remove_file(mounted.path("fill")).unwrap();
    await_room(&mounted);
    // Other bytes of the page than those that are written are lost yet.
    program.ask("write 0 8");
    assert_ne!(program.ask("fsync?"), "ok");
    let inside = limpid::OpenOptions::new().write(true).open(&mounted.pool, "/f").unwrap();
    inside.write_all_at(&[9; 2 * PAGE as usize], 0).unwrap();
    assert_ne!(program.ask("fsync?"), "ok");
    inside.punch_hole(3 * PAGE, PAGE).unwrap();
    inside.set_len(4 * PAGE).unwrap();
    inside.set_len(LEN).unwrap();
    assert_eq!(program.number("len"), LEN);
    for page in [0, 3, 4, 5] {
        program.ask(&format!("store {} 10", page * PAGE + 8));
    }
    assert_eq!(program.ask("msync?"), "ok");
    assert_eq!(program.number("load 0"), u64::from_ne_bytes([9; 8]));
    assert_eq!(program.number(&format!("read {}", 4 * PAGE + 8)), 10);
    drop((inside, program));
    mounted.finish();
}

#[test]
fn what_is_lost_is_data_that_cannot_be_copied() {
    let Some((mounted, mut program)) = full() else { return };
    for page in [0, 1, 7, 15] {
        program.ask(&format!("store {} 7", page * PAGE));
    }
    assert_ne!(program.ask("msync?"), "ok");
    for page in [0, 1, 7, 15] {
        reads_as(&mut program, page * PAGE, &number(Errno::IO));
    }
    let seen = |program: &mut Client| {
        let mut runs = Vec::new();
        let mut at = 0;
        while let Ok(data) = program.ask(&format!("seek_data {at}")).parse::<u64>() {
            at = program.number(&format!("seek_hole {data}"));
            runs.push((data / PAGE, at / PAGE));
        }
        runs
    };
    // The third page has blocks.
    assert_eq!(seen(&mut program), [(0, 3), (7, 8), (15, 16)]);
    assert!(program.number("blocks") >= 5 * PAGE / 512, "{}", program.number("blocks"));
    // So that there is room for a copy.
    std::fs::remove_file(mounted.path("fill")).unwrap();
    await_room(&mounted);
    let copy = mounted.path("copy");
    for at in [0, PAGE, 7 * PAGE, 15 * PAGE] {
        let copied = program.ask(&format!("copy_from? {at} {}", copy.display()));
        assert_eq!(copied, number(Errno::IO), "byte {at}");
    }
    // What comes before is copied.
    assert_eq!(program.ask(&format!("copy_from? {} {}", 3 * PAGE, copy.display())), "ok");
    for tool in ["auto", "always", "never"] {
        let mut cp = std::process::Command::new("cp");
        cp.arg(format!("--sparse={tool}")).arg(mounted.path("f")).arg(&copy);
        assert!(!cp.status().unwrap().success(), "cp --sparse={tool}");
    }
    let inside = limpid::OpenOptions::new().write(true).open(&mounted.pool, "/f").unwrap();
    inside.set_len(0).unwrap();
    inside.set_len(LEN).unwrap();
    assert_eq!(seen(&mut program), []);
    assert_eq!(program.number("blocks"), 0);
    drop((inside, program));
    mounted.finish();
}

#[test]
fn what_is_lost_moves_with_its_neighbours() {
    let Some((mounted, mut program)) = full() else { return };
    program.ask(&format!("store {} 7", 7 * PAGE));
    assert_ne!(program.ask("msync?"), "ok");
    reads_as(&mut program, 7 * PAGE, &number(Errno::IO));
    program.ask("unmap");
    let inside = limpid::OpenOptions::new().write(true).open(&mounted.pool, "/f").unwrap();
    inside.collapse_range(4 * PAGE, 2 * PAGE).unwrap();
    assert_eq!(program.ask(&format!("read? {}", 5 * PAGE)), number(Errno::IO));
    assert_eq!(program.ask(&format!("read? {}", 7 * PAGE)), "ok");
    inside.insert_range(0, 3 * PAGE).unwrap();
    assert_eq!(program.ask(&format!("read? {}", 8 * PAGE)), number(Errno::IO));
    assert_eq!(program.ask(&format!("read? {}", 5 * PAGE)), "ok");
    // Writing where the bytes were is not writing them.
    inside.punch_hole(7 * PAGE, PAGE).unwrap();
    assert_eq!(program.ask("fsync?"), number(Errno::NOSPC));
    inside.collapse_range(8 * PAGE, PAGE).unwrap();
    assert_eq!(program.ask("fsync?"), "ok");
    assert_eq!(program.ask("close?"), "ok");
    drop((inside, program));
    mounted.finish();
}

#[test]
fn a_load_of_what_is_lost_does_not_go_on() {
    let Some((mounted, mut program)) = full() else { return };
    program.ask("store 0 7");
    assert_ne!(program.ask("msync?"), "ok");
    reads_as(&mut program, 0, &number(Errno::IO));
    program.tell("load 0");
    assert_eq!(program.died_of(), Some(rustix::process::Signal::BUS.as_raw()));
    drop(program);
    mounted.finish();
}

#[test]
fn closing_tells_what_unmapping_does_not() {
    let Some((mounted, mut program)) = full() else { return };
    program.ask("store 0 7");
    program.ask("unmap");
    assert_eq!(program.ask("close?"), number(Errno::NOSPC));
    // A file without a name is forgotten, and its number can be another's.
    std::fs::remove_file(mounted.path("f")).unwrap();
    std::fs::remove_file(mounted.path("fill")).unwrap();
    await_room(&mounted);
    std::fs::write(mounted.path("f"), b"good bytes").unwrap();
    program.ask(&format!("open {}", mounted.path("f").display()));
    assert_eq!(program.ask("fsync?"), "ok");
    assert_eq!(program.ask("close?"), "ok");
    drop(program);
    mounted.finish();
}
