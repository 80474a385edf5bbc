//! Goal: what programs append through the mount and what the library appends to the same file is
//! all there, each append whole, wherever the kernel took the end of the file to be.
//!
//! Method: two programs and the library append records to one file at once, while the programs
//! read it, too; then every byte is compared, by the library and by a program. A canary shows
//! that the comparison notices bytes that one side has written over the other's.

mod common;

use common::Mounted;
use common::client::Client;
use common::records::{check, record};
use limpid::File;
use limpid_fuse::MountOptions;

const RECORDS: u64 = 400;
const LIBRARY: u64 = 0;
const PROGRAMS: [u64; 2] = [1, 2];

/// The program.
#[test]
fn client() {
    common::client::serve();
}

fn shared(mounted: &Mounted) -> File {
    let mut options = limpid::OpenOptions::new();
    options.read(true).append(true).create(true).open(&mounted.pool, "/log").unwrap()
}

fn read_all(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn appends_of_programs_and_of_the_library_are_all_there() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let file = shared(&mounted);
    let path = mounted.path("log");
    let mut programs = PROGRAMS.map(|_| Client::new());
    for (program, writer) in programs.iter_mut().zip(PROGRAMS) {
        program.tell(&format!("append {} {writer} {RECORDS}", path.display()));
    }
    for number in 0..RECORDS {
        let record = record(LIBRARY, number);
        assert_eq!(file.append(&record).unwrap().1, record.len());
    }
    for program in &mut programs {
        assert_eq!(program.answer(), RECORDS.to_string());
    }
    let bytes = read_all(&file);
    let counts = check(&bytes);
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [RECORDS; 3]);
    let [program, _] = &mut programs;
    assert_eq!(program.number(&format!("check {}", path.display())), 3 * RECORDS);
    drop((file, programs));
    mounted.finish();
}

#[test]
fn an_append_goes_behind_what_the_kernel_has_not_asked_for() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let file = shared(&mounted);
    let path = mounted.path("log");
    let mut program = Client::new();
    // The kernel has the file's only page, and knows its end.
    program.ask(&format!("open_to_append {}", path.display()));
    program.ask("record 1 0");
    program.number(&format!("check {}", path.display()));
    // Now the end is elsewhere, and the kernel has not asked for it.
    for number in 0..3 {
        file.append(&record(LIBRARY, number)).unwrap();
    }
    program.ask("record 1 1");
    assert_eq!(check(&read_all(&file)).into_values().collect::<Vec<_>>(), [3, 2]);
    assert_eq!(program.number(&format!("check {}", path.display())), 5);
    drop((file, program));
    mounted.finish();
}

#[test]
fn the_comparison_notices_an_append_over_another() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let file = shared(&mounted);
    let first = record(LIBRARY, 0);
    file.append(&first).unwrap();
    let mut options = limpid::OpenOptions::new();
    let over = options.write(true).open(&mounted.pool, "/log").unwrap();
    over.write_all_at(&record(1, 0), first.len() as u64 - 1).unwrap();
    let bytes = read_all(&file);
    assert!(std::panic::catch_unwind(|| check(&bytes)).is_err());
    drop((file, over));
    mounted.finish();
}
