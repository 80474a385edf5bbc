//! Goal: what the library changes is seen by every program on the mount when the call returns,
//! through maps it has made before, too; and what programs write or store, the library reads.
//!
//! Method: each change of the library with the kernel's caches warm before it, and looked at
//! by every path after it. Programs are another process
//! (`common/client.rs`).

mod common;
#[path = "../../limpid/tests/common/rounds.rs"]
mod rounds;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::Mounted;
use common::client::Client;
use common::race::{self, Notes};
use limpid::{File, MapOptions};
use limpid_fuse::MountOptions;
use rounds::rounds;

const LEN: u64 = 64 << 10;
const PAGE: u64 = 4096;

/// The program.
#[test]
fn client() {
    common::client::serve();
}

/// A file known to the library, to a program by calls, and to that program by a map, all of whose
/// pages the kernel has in its cache.
struct Trio {
    mounted: Mounted,
    inside: File,
    program: Client,
}

fn trio() -> Option<Trio> {
    let mounted = Mounted::new(MountOptions::default())?;
    let mut options = limpid::OpenOptions::new();
    let inside = options.read(true).write(true).create(true).open(&mounted.pool, "/f").unwrap();
    inside.set_len(LEN).unwrap();
    let mut program = Client::new();
    program.ask(&format!("open {}", mounted.path("f").display()));
    program.ask(&format!("map {LEN}"));
    let mut trio = Trio { mounted, inside, program };
    trio.warm();
    Some(trio)
}

impl Trio {
    /// Brings all pages and the attributes into the kernel's caches.
    fn warm(&mut self) {
        for at in (0..LEN.min(self.program.number("len"))).step_by(4096) {
            self.load(at);
        }
    }

    fn load(&mut self, at: u64) -> u64 {
        self.program.number(&format!("load {at}"))
    }

    fn store(&mut self, at: u64, value: u64) {
        self.program.ask(&format!("store {at} {value}"));
    }

    /// Every path shows `value` in the word at `at`.
    fn shows(&mut self, at: u64, value: u64) {
        let mut bytes = [0; 8];
        self.inside.read_exact_at(&mut bytes, at).unwrap();
        assert_eq!(u64::from_ne_bytes(bytes), value, "the library, byte {at}");
        assert_eq!(self.program.number(&format!("read {at}")), value, "a call, byte {at}");
        assert_eq!(self.load(at), value, "a map, byte {at}");
    }

    fn finish(self) {
        drop((self.inside, self.program));
        self.mounted.finish();
    }
}

#[test]
fn writes_into_holes_and_in_place_are_seen() {
    let Some(mut trio) = trio() else { return };
    for round in 1..=3 {
        for at in [0, 8 * PAGE, 8 * PAGE + 16, LEN - 8] {
            trio.inside.write_all_at(&(at + round).to_ne_bytes(), at).unwrap();
            trio.shows(at, at + round);
        }
    }
    trio.finish();
}

#[test]
fn stores_of_a_program_are_read_and_survive_writes_to_their_page() {
    let Some(mut trio) = trio() else { return };
    trio.store(64, 1);
    trio.inside.write_all_at(&2u64.to_ne_bytes(), 128).unwrap();
    trio.store(192, 3);
    trio.shows(64, 1);
    trio.shows(128, 2);
    trio.shows(192, 3);
    trio.program.ask("write 256 4");
    trio.store(64, 5);
    trio.inside.punch_hole(128, 8).unwrap();
    for (at, value) in [(64, 5), (128, 0), (192, 3), (256, 4)] {
        trio.shows(at, value);
    }
    trio.finish();
}

#[test]
fn taking_and_moving_bytes_is_seen() {
    let Some(mut trio) = trio() else { return };
    for page in 0..LEN / PAGE {
        trio.inside.write_all_at(&(100 + page).to_ne_bytes(), page * PAGE).unwrap();
    }
    trio.warm();
    trio.inside.punch_hole(0, PAGE).unwrap();
    trio.shows(0, 0);
    trio.inside.zero_range(PAGE, PAGE, true).unwrap();
    trio.shows(PAGE, 0);
    trio.warm();
    trio.inside.collapse_range(2 * PAGE, PAGE).unwrap();
    trio.shows(2 * PAGE, 103);
    assert_eq!(trio.program.number("len"), LEN - PAGE);
    trio.warm();
    trio.inside.insert_range(2 * PAGE, PAGE).unwrap();
    trio.shows(2 * PAGE, 0);
    trio.shows(3 * PAGE, 103);
    trio.finish();
}

#[test]
fn sizes_are_seen_and_a_grown_file_by_maps_made_before() {
    let Some(mut trio) = trio() else { return };
    trio.inside.set_len(PAGE).unwrap();
    assert_eq!(trio.program.number("len"), PAGE);
    trio.inside.append(&7u64.to_ne_bytes()).unwrap();
    // The kernel learns of a larger size when the program asks for it.
    assert_eq!(trio.program.number("len"), PAGE + 8);
    trio.shows(PAGE, 7);
    trio.inside.set_len(LEN).unwrap();
    assert_eq!(trio.program.number("len"), LEN);
    trio.store(LEN - 8, 9);
    trio.shows(LEN - 8, 9);
    trio.shows(8 * PAGE, 0);
    trio.finish();
}

#[test]
fn a_map_ends_where_the_file_does() {
    let Some(mut trio) = trio() else { return };
    trio.store(8 * PAGE, 1);
    trio.inside.set_len(PAGE).unwrap();
    trio.program.tell(&format!("store {} 2", 8 * PAGE));
    assert_eq!(trio.program.died_of(), Some(rustix::process::Signal::BUS.as_raw()));
    assert_eq!(trio.inside.len(), PAGE);
    trio.inside.set_len(LEN).unwrap();
    let mut bytes = [1; 8];
    trio.inside.read_exact_at(&mut bytes, 8 * PAGE).unwrap();
    assert_eq!(bytes, [0; 8]);
    trio.finish();
}

#[test]
fn maps_of_the_library_meet_those_of_programs_at_a_flush() {
    let Some(mut trio) = trio() else { return };
    let map = match MapOptions::new().write(true).map(&trio.inside) {
        Err(limpid::Error::NoMaps(reason)) => return eprintln!("skipped: {reason}"),
        map => map.unwrap(),
    };
    map.store_u64(0, 1).unwrap();
    map.flush(0..8).unwrap();
    trio.shows(0, 1);
    trio.store(PAGE, 2);
    trio.program.ask("sync");
    assert_eq!(map.load_u64(PAGE as usize).unwrap(), 2);
    drop(map);
    trio.finish();
}

#[test]
fn names_and_attributes_are_seen() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let pool = mounted.pool.clone();
    let mut program = Client::new();
    let mut ask =
        |what: &str, name: &str| program.ask(&format!("{what} {}", mounted.path(name).display()));
    assert_eq!(ask("exists", "new"), "false", "the kernel remembers that there is none");
    assert_eq!(ask("count", ""), "0");
    pool.write("/new", b"bytes").unwrap();
    assert_eq!(ask("cat", "new"), "bytes");
    assert_eq!(ask("count", ""), "1");
    pool.hard_link("/new", "/second").unwrap();
    assert_eq!(ask("links", "new"), "2");
    let set = limpid::SetAttributes { mode: Some(0o640), ..Default::default() };
    pool.set_attributes("/new", true, &set).unwrap();
    assert_eq!(ask("mode", "new"), 0o640.to_string());
    pool.write("/other", b"replaced").unwrap();
    ask("open", "other");
    pool.rename("/new", "/other").unwrap();
    assert_eq!(ask("exists", "new"), "false");
    assert_eq!(ask("cat", "other"), "bytes");
    assert_eq!(ask("nlink", ""), "0");
    assert_eq!(ask("read 0", ""), u64::from_ne_bytes(*b"replaced").to_string());
    pool.remove_file("/second").unwrap();
    assert_eq!(ask("exists", "second"), "false");
    pool.create_dir("/d", 0o755).unwrap();
    assert_eq!(ask("exists", "d"), "true");
    pool.remove_dir("/d").unwrap();
    assert_eq!(ask("exists", "d"), "false");
    drop(program);
    mounted.finish();
}

#[test]
fn a_pool_is_mounted_once() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let twice = limpid_fuse::mount(mounted.pool.clone(), dir.path(), MountOptions::default());
    assert!(matches!(twice, Err(limpid_fuse::MountError::Twice)), "{twice:?}");
    mounted.finish();
}

/// Races the library, a program's calls and a program's map on one file, of which the library's
/// handle is `open`ed; the number of changes that somebody missed.
fn race(mounted: &Mounted, open: impl FnOnce() -> File) -> u64 {
    let file = open();
    file.set_len(race::LEN as u64).unwrap();
    let shared = tempfile::NamedTempFile::new().unwrap();
    shared.as_file().set_len(Notes::LEN as u64).unwrap();
    let notes_path = shared.path().to_str().unwrap();
    let notes = Notes::open(notes_path);
    let mut program = Client::new();
    let path = mounted.path("f");
    let rounds = rounds(200, 5000);
    program.tell(&format!("race {} {notes_path} {rounds}", path.display()));
    let read = |word| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, race::place(word) as u64).unwrap();
        u64::from_ne_bytes(bytes)
    };
    let (mut missed, mut value) = (0, 0);
    let ended = AtomicBool::new(false);
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| {
            let answer = program.answer();
            ended.store(true, Ordering::Release);
            answer
        });
        // As long as the program runs, so that they do race.
        while !ended.load(Ordering::Acquire) {
            value += 1;
            for word in race::owned(0) {
                notes.change(word, value, |value| {
                    file.write_all_at(&value.to_ne_bytes(), race::place(word) as u64).unwrap();
                });
            }
            for word in 0..race::WORDS {
                missed += notes.missed(word, "the library", || read(word));
            }
        }
        answer.join().unwrap()
    });
    for word in 0..race::WORDS {
        let last = if word % 3 == 0 { value } else { rounds };
        if read(word) != last {
            eprintln!("word {word}: {} at the end, not {last}", read(word));
            missed += 1;
        }
    }
    missed + answer.parse::<u64>().unwrap()
}

#[test]
fn racing_parties_miss_no_change() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let missed = race(&mounted, || File::create(&mounted.pool, "/f").unwrap());
    assert_eq!(missed, 0);
    mounted.finish();
}

/// Between the kernel's copy and the request there is time for all else to happen.
#[test]
fn racing_parties_miss_no_change_though_writes_come_late() {
    fn late(_: u64) {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        if WRITES.fetch_add(1, Ordering::Relaxed).is_multiple_of(4) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    let options = MountOptions { before_write: Some(late), ..MountOptions::default() };
    let Some(mounted) = Mounted::new(options) else { return };
    let missed = race(&mounted, || File::create(&mounted.pool, "/f").unwrap());
    assert_eq!(missed, 0);
    mounted.finish();
}

/// The canary: a handle whose changes nobody is told of.
#[test]
fn the_race_notices_a_kernel_that_is_not_told() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let missed = race(&mounted, || {
        let made = File::create(&mounted.pool, "/f").unwrap();
        let ino = made.metadata().unwrap().ino;
        mounted.pool.inodes().open(ino, limpid::Opening::BOTH).unwrap()
    });
    assert_ne!(missed, 0, "the race would notice");
    mounted.finish();
}
