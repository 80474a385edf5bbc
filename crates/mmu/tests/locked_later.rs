//! Goal: a program may lock all its memory while it has maps: the call returns, and maps, old and
//! new ones, show the file.
//! Method: maps of a file with data and holes, then mlockall(MCL_CURRENT | MCL_FUTURE) in a thread
//! of its own, for which there is a deadline; loads, stores, a punched unit, and a private map
//! whose zero pages must not be taken for copies. One test in this file: the lock is the process's.

mod common;

use std::sync::mpsc::channel;
use std::time::Duration;

use common::*;
use limpid_dax::PageRange;

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_program_with_maps_locks_its_memory() {
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
    private.store_u64(8, 9).unwrap();
    let (done, wait) = channel();
    std::thread::spawn(move || {
        // SAFETY: changes how the system treats this process's memory, not what it holds.
        let locked = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } == 0;
        let _ = done.send(locked);
    });
    if !wait.recv_timeout(DEADLINE).expect("the system touches memory without an end") {
        eprintln!("skipped: this user may not lock memory");
        return;
    }
    assert_eq!((file.read_u64(8), private.load_u64(8)), (0, Ok(9)));
    shared.store_u64(UNIT as usize, 8).unwrap();
    assert_eq!(file.read_u64(UNIT), 8);
    file.write(0, &10u64.to_ne_bytes());
    file.punch(1);
    let later = file.map(pages, true, true);
    for map in [&shared, &reader, &later] {
        assert_eq!(map.load_u64(0), Ok(10), "written: {map:?}");
        assert_eq!(map.load_u64(UNIT as usize), Ok(0), "punched: {map:?}");
    }
    file.write(UNIT, &11u64.to_ne_bytes());
    for map in [&shared, &reader, &later] {
        assert_eq!(map.load_u64(UNIT as usize), Ok(11), "written after it was a hole: {map:?}");
    }
    assert_eq!(private.load_u64(8), Ok(9));
}
