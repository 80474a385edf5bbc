//! Goal: what programs stored behind the end of a file through a map is never content: when the
//! file grows, by whatever call of a program or of the library, the bytes between its old end and
//! what is written are zero, to all who look and for good.
//!
//! Method: each way to grow, with junk behind the end that only the kernel has, or that
//! has been through a sync.

mod common;

use std::path::Path;

use common::Mounted;
use common::client::Client;
use limpid::File;
use limpid_fuse::MountOptions;

const PAGE: u64 = 4096;
/// Length of the file before, and where the junk lies.
const LEN: u64 = 8;
const JUNK: [u64; 2] = [104, 2048];

/// The program.
#[test]
fn client() {
    common::client::serve();
}

/// Ways of programs to grow a file, each with what another program is told to do, which has the
/// file open and nothing else.
const PROGRAMS: [&str; 8] = [
    "truncate 4096",
    "truncate 2056",
    "truncate 9000",
    "write 2064 5",
    "write 5000 5",
    "fallocate 0 4096",
    "fallocate 5000 100",
    "copy_into 2064",
];

/// A file with junk behind its end, and a program that has it mapped.
fn with_junk(path: &Path, synced: bool) -> Client {
    let mut program = Client::new();
    std::fs::write(path, 1u64.to_ne_bytes()).unwrap();
    program.ask(&format!("open {}", path.display()));
    program.ask(&format!("map {PAGE}"));
    for at in JUNK {
        program.ask(&format!("store {at} 7"));
    }
    if synced {
        program.ask("sync");
        program.ask(&format!("store {} 7", JUNK[0]));
    }
    program
}

/// No junk is to be seen, and what is stored there now stays.
fn is_clean(mounted: &Mounted, program: &mut Client, how: &str) {
    for at in JUNK {
        assert_eq!(program.number(&format!("load {at}")), 0, "{how}, map, byte {at}");
        assert_eq!(program.number(&format!("read {at}")), 0, "{how}, call, byte {at}");
    }
    assert_eq!(program.number("load 0"), 1, "{how}");
    program.ask(&format!("store {} 9", JUNK[0]));
    program.ask("unmap");
    program.ask("sync");
    program.ask("close");
    let bytes = mounted.pool.read("/f").unwrap();
    let word = |at: u64| u64::from_ne_bytes(bytes[at as usize..][..8].try_into().unwrap());
    assert_eq!([word(0), word(JUNK[0]), word(JUNK[1])], [1, 9, 0], "{how}, the pool");
    std::fs::remove_file(mounted.path("f")).unwrap();
}

/// With and without the kernel being alone.
fn mounts() -> Vec<Mounted> {
    let options = |exclusive| MountOptions { exclusive, ..MountOptions::default() };
    [false, true].into_iter().filter_map(|alone| Mounted::new(options(alone))).collect()
}

#[test]
fn programs_that_make_a_file_longer_bring_no_junk_in() {
    for mounted in mounts() {
        let path = mounted.path("f");
        let mut other = Client::new();
        for how in PROGRAMS {
            for synced in [false, true] {
                let mut program = with_junk(&path, synced);
                other.ask(&format!("open {}", path.display()));
                other.ask(how);
                other.ask("close");
                is_clean(&mounted, &mut program, &format!("{how}, synced: {synced}"));
            }
        }
        let mut program = with_junk(&path, false);
        program.ask("truncate 4096");
        is_clean(&mounted, &mut program, "by itself");
        drop((program, other));
        mounted.finish();
    }
}

#[test]
fn the_library_brings_none_in() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    type Grow = fn(&File) -> limpid::Result<()>;
    let ways: [(&str, Grow); 6] = [
        ("set_len", |file| file.set_len(PAGE)),
        ("set_len to pages behind", |file| file.set_len(3 * PAGE + 5)),
        ("write_at", |file| file.write_all_at(b"bytes", 2064)),
        ("write_at pages behind", |file| file.write_all_at(b"bytes", 2 * PAGE)),
        ("allocate", |file| file.allocate(PAGE, PAGE)),
        ("zero_range", |file| file.zero_range(3000, PAGE, false)),
    ];
    for (how, grow) in ways {
        let mut program = with_junk(&mounted.path("f"), false);
        let file = limpid::OpenOptions::new().read(true).write(true).open(&mounted.pool, "/f");
        grow(&file.unwrap()).unwrap();
        // The kernel learns of a larger size when the program asks for it.
        assert!(program.number("len") >= 2056, "{how}");
        is_clean(&mounted, &mut program, how);
    }
    mounted.finish();
}

#[test]
fn appends_and_small_writes_go_over_it() {
    for mounted in mounts() {
        let mut program = with_junk(&mounted.path("f"), false);
        for at in (LEN..PAGE).step_by(8) {
            program.ask(&format!("write {at} {at}"));
            assert_eq!(program.number(&format!("load {at}")), at);
        }
        program.ask("close");
        let bytes = mounted.pool.read("/f").unwrap();
        let words = bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
        let wanted = std::iter::once(1).chain((LEN..PAGE).step_by(8));
        assert_eq!(words.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
        drop(program);
        mounted.finish();
    }
}
