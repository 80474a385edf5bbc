//! Goal: system calls may touch pages of a map that are not there yet, and a forked child never
//! gets at the memory of a map.
//! Method: write(2) from and read(2) into untouched maps; a child that looks at its own address
//! space and reports through its exit status.

mod common;

use common::*;
use limpid_dax::PageRange;
use limpid_mmu::EngineError;

#[test]
fn read_and_write_on_fresh_pages() {
    let Some(engine) = engine() else { return };
    if !engine.capabilities().kernel_faults {
        eprintln!("skipped: faults of system calls are not handled here");
        return;
    }
    for private in [false, true] {
        let file = TestFile::new(engine, 8);
        let map = file.map(PageRange::new(0, 4 * UNIT_PAGES), true, private);
        file.write(2 * UNIT, b"storage");
        let (from, to) = rustix::pipe::pipe().unwrap();
        let mut bytes = [1; 16];
        // SAFETY: both ranges lie in the live map; no reference to them outlives the call.
        unsafe {
            let hole = std::slice::from_raw_parts(map.as_ptr().add(UNIT as usize + 100), 8);
            assert_eq!(rustix::io::write(&to, hole), Ok(8));
            let storage = std::slice::from_raw_parts(map.as_ptr().add(2 * UNIT as usize), 8);
            assert_eq!(rustix::io::write(&to, storage), Ok(8));
            assert_eq!(rustix::io::read(&from, &mut bytes), Ok(16));
            assert_eq!(&bytes, b"\0\0\0\0\0\0\0\0storage\0");
            assert_eq!(rustix::io::write(&to, b"into a map"), Ok(10));
            // Across the border of two units, a hole that was loaded from and one that was not.
            let at = map.as_ptr().add(2 * UNIT as usize - 5);
            let target = std::slice::from_raw_parts_mut(at, 10);
            assert_eq!(rustix::io::read(&from, target), Ok(10));
        }
        let mut back = [0; 10];
        map.read(2 * UNIT as usize - 5, &mut back).unwrap();
        assert_eq!(&back, b"into a map");
        let in_file = file.read_u64(2 * UNIT).to_ne_bytes();
        assert_eq!(&in_file[..5], if private { b"stora" } else { b"a map" });
    }
}

#[test]
fn a_forked_child_has_nothing_at_the_addresses() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    let shared = file.map(PageRange::new(0, 4 * UNIT_PAGES), true, false);
    let private = file.map(PageRange::new(0, 4 * UNIT_PAGES), true, true);
    let reads = file.map(PageRange::new(0, 4 * UNIT_PAGES), false, false);
    for map in [&shared, &private, &reads] {
        map.load_u64(0).unwrap();
        if map.is_writable() {
            map.store_u64(UNIT as usize, 1).unwrap();
        }
    }
    let mut there = [0u8; 4];
    // SAFETY: the child only makes system calls that are async-signal-safe, and exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut found = i32::from(limpid_mmu::Engine::get().err() != Some(EngineError::Forked));
        for map in [&shared, &private, &reads] {
            for unit in 0..4 {
                let at = map.as_ptr().wrapping_add((unit * UNIT) as usize);
                // SAFETY: mincore accepts any address; ENOMEM says that nothing is mapped there.
                found |= unsafe { libc::mincore(at.cast(), 4096, there.as_mut_ptr()) + 1 };
            }
        }
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(found) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert!(libc::WIFEXITED(status), "the child ended by a signal: {status:#x}");
    assert_eq!(libc::WEXITSTATUS(status), 0, "the child has some of the map");
    // The parent has lost nothing.
    assert_eq!((shared.load_u64(0), shared.load_u64(UNIT as usize)), (Ok(0), Ok(1)));
}
