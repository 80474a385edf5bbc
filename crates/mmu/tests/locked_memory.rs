//! Goal: maps show the file in a program that locks all memory it will have, where the kernel fills
//! fresh mappings with pages before we can register them.
//! Method: mlockall(MCL_FUTURE) before the engine starts; loads, stores, a hole, a punched unit and
//! a private map. One test in this file: the lock is the process's.

mod common;

use common::*;
use limpid_dax::PageRange;

#[test]
fn maps_of_a_program_that_locks_its_memory() {
    // SAFETY: changes how the system treats this process's memory, not what it holds.
    if unsafe { libc::mlockall(libc::MCL_FUTURE) } != 0 {
        eprintln!("skipped: this user may not lock memory");
        return;
    }
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    file.write(0, &7u64.to_ne_bytes());
    let pages = PageRange::new(0, 4 * UNIT_PAGES);
    let [shared, reader, private] =
        [(true, false), (false, false), (true, true)].map(|(w, p)| file.map(pages, w, p));
    for map in [&shared, &reader, &private] {
        assert_eq!(map.load_u64(0), Ok(7), "data: {map:?}");
        assert_eq!(map.load_u64(UNIT as usize), Ok(0), "a hole: {map:?}");
    }
    shared.store_u64(UNIT as usize, 8).unwrap();
    private.store_u64(8, 9).unwrap();
    assert_eq!((file.read_u64(UNIT), file.read_u64(8)), (8, 0));
    file.write(0, &10u64.to_ne_bytes());
    file.punch(1);
    for map in [&shared, &reader, &private] {
        let of_the_file = if map.is_private() { 7 } else { 10 };
        assert_eq!(map.load_u64(0), Ok(of_the_file), "written: {map:?}");
        assert_eq!(map.load_u64(UNIT as usize), Ok(0), "punched: {map:?}");
    }
    assert_eq!(private.load_u64(8), Ok(9));
}
