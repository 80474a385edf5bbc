//! Goal: what a program writes is seen by all when the write has returned, and stays, also where
//! the kernel's page was dropped after the write was copied into it and before it was served, and
//! other programs have read and stored into the page meanwhile.
//!
//! Method: a write is stopped when it comes to the server, and all that is done before it goes on.

mod common;

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use common::Mounted;
use common::client::Client;
use limpid::File;
use limpid_fuse::MountOptions;

const PAGE: u64 = 4096;
const LEN: u64 = 4 * PAGE;
/// Words of one page: which the write changes, which another program stores into meanwhile, and
/// which the library writes.
const WRITTEN: u64 = 64;
const STORED: u64 = 128;
const INSIDE: u64 = 192;

/// The program.
#[test]
fn client() {
    common::client::serve();
}

/// How far the one write has come that is stopped.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Write {
    NotStopped,
    Wanted,
    Stopped,
    GoesOn,
}

static WRITE: Mutex<Write> = Mutex::new(Write::NotStopped);
static CHANGED: Condvar = Condvar::new();
/// One test at a time uses the two above.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn set(to: Write) {
    *WRITE.lock().unwrap() = to;
    CHANGED.notify_all();
}

fn wait_until(is: impl Fn(Write) -> bool) {
    let write = WRITE.lock().unwrap();
    let limit = Duration::from_secs(60);
    let (_write, late) = CHANGED.wait_timeout_while(write, limit, |write| !is(*write)).unwrap();
    assert!(!late.timed_out(), "nothing comes");
}

/// Stops a write if one is wanted.
fn before_write(_: u64) {
    if *WRITE.lock().unwrap() == Write::Wanted {
        set(Write::Stopped);
        wait_until(|write| write == Write::GoesOn);
        set(Write::NotStopped);
    }
}

/// A file of the library, and two programs that have it open; the second has it mapped.
struct Parties {
    mounted: Mounted,
    inside: File,
    writer: Client,
    mapper: Client,
}

fn parties(exclusive: bool) -> Option<Parties> {
    let before_write = Some(before_write as fn(u64));
    let options =
        MountOptions { exclusive, before_write, threads: Some(4), ..MountOptions::default() };
    let mounted = Mounted::new(options)?;
    let inside = File::create(&mounted.pool, "/f").unwrap();
    inside.write_all_at(&[0; LEN as usize], 0).unwrap();
    let (mut writer, mut mapper) = (Client::new(), Client::new());
    for program in [&mut writer, &mut mapper] {
        program.ask(&format!("open {}", mounted.path("f").display()));
    }
    mapper.ask(&format!("map {LEN}"));
    Some(Parties { mounted, inside, writer, mapper })
}

impl Parties {
    fn read_inside(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.inside.read_exact_at(&mut bytes, at).unwrap();
        u64::from_ne_bytes(bytes)
    }

    fn write_inside(&self, at: u64, value: u64) {
        self.inside.write_all_at(&value.to_ne_bytes(), at).unwrap();
    }

    /// All see these values in the words.
    fn show(&mut self, values: [(u64, u64); 3]) {
        for (at, value) in values {
            assert_eq!(self.mapper.number(&format!("load {at}")), value, "map, byte {at}");
            assert_eq!(self.writer.number(&format!("read {at}")), value, "call, byte {at}");
        }
        // Which has the kernel's pages written back.
        for (at, value) in values {
            assert_eq!(self.read_inside(at), value, "library, byte {at}");
        }
        self.mapper.ask("sync");
        for (at, value) in values {
            assert_eq!(self.mapper.number(&format!("load {at}")), value, "map, at last, byte {at}");
        }
    }

    fn finish(self) {
        drop((self.inside, self.writer, self.mapper));
        self.mounted.finish();
    }
}

/// A write that is stopped, with a change of the library before it goes on, and a page read anew
/// by the mapper, who may store into it as well.
fn overtaken(stores: bool, changes: bool, exclusive: bool) {
    let _turn = turn();
    let Some(mut of) = parties(exclusive) else { return };
    for at in (0..LEN).step_by(PAGE as usize) {
        of.mapper.number(&format!("load {at}"));
    }
    set(Write::Wanted);
    of.writer.tell(&format!("write {WRITTEN} 1"));
    wait_until(|write| write == Write::Stopped);
    // The page has it, and is dropped.
    assert_eq!(of.mapper.number(&format!("load {WRITTEN}")), 1);
    match changes {
        true => of.write_inside(INSIDE, 3),
        false => assert_eq!(of.read_inside(WRITTEN), 0),
    }
    assert_eq!(of.mapper.number(&format!("load {WRITTEN}")), 0, "the page missed the write");
    if stores {
        of.mapper.ask(&format!("store {STORED} 2"));
    }
    set(Write::GoesOn);
    of.writer.answer();
    of.show([(WRITTEN, 1), (STORED, 2 * u64::from(stores)), (INSIDE, 3 * u64::from(changes))]);
    of.finish();
}

#[test]
fn a_write_whose_page_was_read_anew_is_seen() {
    overtaken(false, true, false);
    overtaken(false, false, false);
}

#[test]
fn a_write_whose_page_was_stored_to_anew_is_not_undone() {
    overtaken(true, true, false);
    overtaken(true, false, false);
    overtaken(true, true, true);
}

/// The kernel has the page locked for this very write, since it had no page to copy into.
#[test]
fn a_write_to_a_page_that_the_kernel_gave_up_is_answered() {
    let _turn = turn();
    let Some(mut of) = parties(false) else { return };
    of.mapper.ask("unmap");
    of.write_inside(INSIDE, 3);
    assert_eq!(of.writer.number(&format!("read {STORED}")), 0);
    of.writer.ask("evict");
    let begun = Instant::now();
    of.writer.ask(&format!("write {WRITTEN} 1"));
    assert!(begun.elapsed() < Duration::from_secs(60));
    of.mapper.ask(&format!("map {LEN}"));
    of.mapper.ask(&format!("store {STORED} 2"));
    of.show([(WRITTEN, 1), (STORED, 2), (INSIDE, 3)]);
    of.mapper.ask(&format!("store {WRITTEN} 4"));
    of.show([(WRITTEN, 4), (STORED, 2), (INSIDE, 3)]);
    of.finish();
}
