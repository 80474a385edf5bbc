//! Goal: past the end of the file an access raises SIGBUS; when the file grows the page comes back.
//! Method: system calls on map memory return EFAULT where an access would raise SIGBUS; and one
//! child process that makes the access and has to die by SIGBUS.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use common::*;
use limpid_dax::{Mmu, PageRange, Target};
use limpid_mmu::{AccessError, LinuxMap};

/// True if the byte at `offset` can be read.
fn readable(map: &LinuxMap, offset: usize) -> bool {
    let (from, to) = rustix::pipe::pipe().unwrap();
    // SAFETY: the byte lies in the live map; the kernel reads it, or fails with EFAULT.
    let sent = unsafe {
        let bytes = std::slice::from_raw_parts(map.as_ptr().add(offset), 1);
        rustix::io::write(&to, bytes)
    };
    drop(from);
    match sent {
        Ok(1) => true,
        Err(rustix::io::Errno::FAULT) => false,
        other => panic!("writing to a pipe: {other:?}"),
    }
}

#[test]
fn the_end_of_the_file_moves() {
    let Some(engine) = engine() else { return };
    if !engine.capabilities().kernel_faults {
        eprintln!("skipped: faults of system calls are not handled here");
        return;
    }
    for (writable, private) in [(false, false), (true, false), (true, true)] {
        let file = TestFile::new(engine, 8);
        file.write(0, &[1]);
        let map = file.map(PageRange::new(0, 2 * UNIT_PAGES), writable, private);
        for end in [1024, 700, 3, 0, 5, 900, 1024] {
            file.set_end(end);
            for page in [0, 2, 3, 4, 699, 700, 899, 900, 1023] {
                let offset = page * 4096;
                assert_eq!(readable(&map, offset as usize), page < end, "page {page} end {end}");
            }
        }
        assert_eq!(map.load_u64(0), Ok(1));
    }
}

#[test]
fn poison_replaces_everything_and_is_replaced() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    let storage = Target::Storage { device: 0, writable: true };
    for writable in [false, true] {
        let map = file.map(PageRange::new(0, UNIT_PAGES), writable, false);
        for target in [Target::Zero, storage] {
            map.install(map.pages(), target).unwrap();
            map.install(PageRange::new(7, 9), Target::Poison).unwrap();
            assert!(!readable(&map, 7 * 4096) && !readable(&map, 8 * 4096));
            assert_eq!((map.load_u64(6 * 4096), map.load_u64(9 * 4096)), (Ok(0), Ok(0)));
            assert_eq!(map.load_u64(7 * 4096), Err(AccessError::Bus));
            map.install(PageRange::new(7, 8), target).unwrap();
            map.unmap(PageRange::new(8, 9));
            assert!(readable(&map, 7 * 4096) && readable(&map, 8 * 4096));
        }
    }
}

const CHILD: &str = "LIMPID_TEST_LOAD_PAST_THE_END";

#[test]
fn a_load_past_the_end_is_sigbus() {
    let Some(engine) = engine() else { return };
    if std::env::var_os(CHILD).is_some() {
        let file = TestFile::new(engine, 8);
        file.set_end(1);
        let map = file.map(PageRange::new(0, 2), false, false);
        assert_eq!(map.load_u64(0), Ok(0));
        // SAFETY: the page lies in the live map; the process is here to die by the load.
        unsafe { map.as_ptr().add(4096).read_volatile() };
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_load_past_the_end_is_sigbus"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert_eq!(child.status.signal(), Some(7), "{child:?}");
}
