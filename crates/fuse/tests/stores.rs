//! Goal: what a program stores into a hole through a map is data at once for whoever asks where
//! the file has holes or how much it takes, and no copy loses it.
//!
//! Method: stores that nothing has carried out of the kernel's cache; then every request whose
//! answer depends on them, by the program itself, by copying tools and by the library.

mod common;

use std::process::Command;

use common::Mounted;
use common::client::Client;
use limpid::File;
use limpid_fuse::MountOptions;

const LEN: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// Where the stores go.
const AT: u64 = LEN / 2;

/// The program.
#[test]
fn client() {
    common::client::serve();
}

/// With and without the kernel being alone: then it keeps attributes as long as it likes.
fn mounts() -> Vec<Mounted> {
    let options = |exclusive| MountOptions { exclusive, ..MountOptions::default() };
    [false, true].into_iter().filter_map(|alone| Mounted::new(options(alone))).collect()
}

/// A program with a map of a file, which is a hole or begins with a page of data.
fn mapped(mounted: &Mounted, begins_with_data: bool) -> Client {
    let path = mounted.path("f");
    let mut program = Client::new();
    let made = std::fs::File::create(&path).unwrap();
    made.set_len(LEN).unwrap();
    drop(made);
    program.ask(&format!("open {}", path.display()));
    if begins_with_data {
        program.ask("write 0 1");
    }
    program.ask(&format!("map {LEN}"));
    program
}

#[test]
fn seeking_and_sizes_know_of_stores_at_once() {
    for mounted in mounts() {
        for begins_with_data in [false, true] {
            let mut program = mapped(&mounted, begins_with_data);
            let from = if begins_with_data { PAGE } else { 0 };
            let before = program.number("blocks");
            assert_eq!(before, from / 512);
            assert_eq!(program.ask(&format!("seek_data {from}")), "none");
            for page in [0, 1, 5] {
                program.ask(&format!("store {} 7", AT + page * PAGE));
            }
            assert!(program.number("blocks") >= before + 3 * PAGE / 512);
            assert_eq!(program.number(&format!("seek_data {from}")), AT);
            assert_eq!(program.number(&format!("seek_hole {AT}")), AT + 2 * PAGE);
            assert_eq!(program.number(&format!("seek_data {}", AT + 2 * PAGE)), AT + 5 * PAGE);
            assert_eq!(program.number(&format!("seek_hole {}", AT + 5 * PAGE)), AT + 6 * PAGE);
            assert_eq!(program.ask(&format!("seek_data {}", AT + 6 * PAGE)), "none");
            assert_eq!(program.number("seek_hole 0"), from);
            // What was looked at is stored to again.
            program.ask(&format!("store {} 8", AT + PAGE / 2));
            program.ask(&format!("store {} 8", AT + 2 * PAGE));
            assert_eq!(program.number(&format!("seek_hole {AT}")), AT + 3 * PAGE);
            assert_eq!(program.number(&format!("load {}", AT)), 7);
            drop(program);
            std::fs::remove_file(mounted.path("f")).unwrap();
        }
        mounted.finish();
    }
}

#[test]
fn pages_never_written_are_holes_until_they_are_stored_to() {
    for mounted in mounts() {
        let mut program = mapped(&mounted, false);
        let inside = mounted.pool.inodes();
        let ino = mounted.pool.metadata("/f").unwrap().ino;
        inside.open(ino, limpid::Opening::WRITE).unwrap().allocate(0, LEN).unwrap();
        assert_eq!(program.ask("seek_data 0"), "none");
        program.ask(&format!("store {AT} 7"));
        assert_eq!(program.number("seek_data 0"), AT);
        assert_eq!(program.number(&format!("seek_hole {AT}")), AT + PAGE);
        drop(program);
        mounted.finish();
    }
}

#[test]
fn reading_holes_takes_no_space_in_the_end() {
    for mounted in mounts() {
        let mut program = mapped(&mounted, false);
        for page in 0..64 {
            program.ask(&format!("load {}", page * PAGE));
        }
        assert_eq!(program.ask("seek_data 0"), "none");
        assert_eq!(program.number("blocks"), 0, "nothing that could be stored to is left");
        drop(program);
        mounted.finish();
    }
}

#[test]
fn the_library_beside_the_mount_knows_of_them() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let mut program = mapped(&mounted, true);
    let inside = File::open(&mounted.pool, "/f").unwrap();
    program.ask(&format!("store {AT} 7"));
    assert_eq!(inside.seek_data(PAGE).unwrap(), Some(AT));
    program.ask(&format!("store {} 7", AT + PAGE));
    assert_eq!(inside.seek_hole(AT).unwrap(), Some(AT + 2 * PAGE));
    program.ask(&format!("store {} 7", AT + 2 * PAGE));
    assert_eq!(inside.metadata().unwrap().blocks, 4);
    program.ask(&format!("store {} 7", AT + 3 * PAGE));
    assert_eq!(mounted.pool.metadata("/f").unwrap().blocks, 5);
    drop((inside, program));
    mounted.finish();
}

/// Runs a tool that some systems lack; false if this one does.
fn runs(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => {
            assert!(status.success(), "{command:?}: {status}");
            true
        }
        Err(error) => {
            eprintln!("skipped: {command:?}: {error}");
            false
        }
    }
}

/// The file, by way of what a tool made of it.
fn same(program: &mut Client, copy: &std::path::Path, how: &str) {
    let bytes = std::fs::read(copy).unwrap();
    assert_eq!(bytes.len() as u64, LEN, "{how}");
    for at in [0, AT, AT + 2 * PAGE] {
        let word = u64::from_ne_bytes(bytes[at as usize..][..8].try_into().unwrap());
        assert_eq!(word, program.number(&format!("load {at}")), "{how}, byte {at}");
    }
    std::fs::remove_file(copy).unwrap();
}

#[test]
fn no_copying_tool_loses_them() {
    for mounted in mounts() {
        for (round, begins_with_data) in [false, true].into_iter().enumerate() {
            let mut program = mapped(&mounted, begins_with_data);
            let (file, copy) = (mounted.path("f"), mounted.path("copy"));
            let mut value = 10 * round as u64;
            // Before each tool the pages are stores that nobody has asked for yet.
            let mut fresh = |program: &mut Client| {
                value += 1;
                program.ask(&format!("punch {AT} {}", LEN - AT));
                program.ask(&format!("store {AT} {value}"));
                program.ask(&format!("store {} {value}", AT + 2 * PAGE));
            };
            for sparse in ["auto", "always", "never"] {
                fresh(&mut program);
                let sparse = format!("--sparse={sparse}");
                let mut tool = Command::new("cp");
                if runs(tool.args([&sparse, "--reflink=never"]).args([&file, &copy])) {
                    same(&mut program, &copy, &sparse);
                }
            }
            fresh(&mut program);
            program.ask(&format!("copy_range {}", copy.display()));
            same(&mut program, &copy, "copy_file_range");
            fresh(&mut program);
            let (archive, folder) = (mounted.path("t.tar"), mounted.path("x"));
            std::fs::create_dir_all(&folder).unwrap();
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(file.parent().unwrap()).arg("-Scf").arg(&archive).arg("f");
            if runs(&mut tar) {
                runs(Command::new("tar").arg("-C").arg(&folder).arg("-xf").arg(&archive));
                same(&mut program, &folder.join("f"), "tar -S");
            }
            fresh(&mut program);
            let python = "import shutil, sys; shutil.copyfile(sys.argv[1], sys.argv[2])";
            if runs(Command::new("python3").args(["-c", python]).args([&file, &copy])) {
                same(&mut program, &copy, "shutil");
            }
            drop(program);
            std::fs::remove_file(&file).unwrap();
        }
        mounted.finish();
    }
}
