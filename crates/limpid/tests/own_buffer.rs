//! Goal: the caller's buffer may be a map of the very file that is read or written, and system
//! calls may touch map memory; nothing deadlocks, and the bytes are right.
//!
//! Method: copies between a file and its own maps, onto holes, data and themselves; then read(2)
//! and write(2) of the host on map memory.

mod common;

use std::io::{Read, Seek, SeekFrom, Write};

use common::{HUGE, PAGE, maps_work};
use limpid::{File, MapOptions, Pool};

/// A file of two data units and two holes behind, and a writable map of all.
fn setup(pool: &Pool) -> (File, limpid::Map) {
    let file = File::create(pool, "/own").unwrap();
    let data: Vec<u8> = (0..2 * HUGE).map(|at| (at / 251) as u8).collect();
    file.write_at(&data, 0).unwrap();
    file.set_len((4 * HUGE) as u64).unwrap();
    let map = MapOptions::new().write(true).map(&file).unwrap();
    (file, map)
}

/// The map's bytes as slices. The tests below are single-threaded and know what changes when.
fn slices(map: &limpid::Map) -> (&'static [u8], &'static mut [u8]) {
    let (at, len) = (map.as_ptr(), map.len());
    // SAFETY: the map outlives the use in each test, and the bytes that one call reads are not
    // the bytes it writes.
    unsafe { (std::slice::from_raw_parts(at, len), std::slice::from_raw_parts_mut(at, len)) }
}

#[test]
fn write_at_from_the_files_own_map() {
    if !maps_work() {
        return;
    }
    for (pool, _guard) in common::pools(64 << 20) {
        let (file, map) = setup(&pool);
        let (bytes, _) = slices(&map);
        // Data to a hole, with faults on the source while the write holds the inode lock.
        let from = HUGE - 3 * PAGE - 7;
        file.write_at(&bytes[from..from + 9 * PAGE], (2 * HUGE + 100) as u64).unwrap();
        let mut got = vec![0; 9 * PAGE];
        file.read_at(&mut got, (2 * HUGE + 100) as u64).unwrap();
        assert_eq!(got, bytes[from..from + 9 * PAGE]);
        // A hole to the same hole: the source reads as zero and becomes storage by the write.
        let hole = 3 * HUGE + 5 * PAGE;
        file.write_at(&bytes[hole..hole + PAGE], hole as u64).unwrap();
        assert!(bytes[hole..hole + PAGE].iter().all(|byte| *byte == 0));
        assert_eq!(pool.check().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn read_at_into_the_files_own_map() {
    if !maps_work() {
        return;
    }
    for (pool, _guard) in common::pools(64 << 20) {
        let (file, map) = setup(&pool);
        let (bytes, out) = slices(&map);
        // Into a hole: each page is a store fault inside the read.
        let to = 3 * HUGE - 2 * PAGE - 3;
        let from = 1000;
        let len = 6 * PAGE;
        assert_eq!(file.read_at(&mut out[to..to + len], from).unwrap(), len);
        assert_eq!(bytes[to..to + len], bytes[from as usize..from as usize + len]);
        let mut got = vec![0; len];
        file.read_at(&mut got, to as u64).unwrap();
        assert_eq!(got, bytes[to..to + len]);
    }
}

#[test]
fn system_calls_on_map_memory() {
    if !maps_work() {
        return;
    }
    let pool = Pool::memory(64 << 20).unwrap();
    if pool.info().maps_line.contains("EFAULT") {
        eprintln!("skipped: {}", pool.info().maps_line);
        return;
    }
    let (file, map) = setup(&pool);
    let (bytes, out) = slices(&map);
    let mut host = tempfile::tempfile().unwrap();
    // write(2) from untouched data and an untouched hole.
    host.write_all(&bytes[2 * HUGE - 2 * PAGE..2 * HUGE + 2 * PAGE]).unwrap();
    host.seek(SeekFrom::Start(0)).unwrap();
    let mut copy = Vec::new();
    host.read_to_end(&mut copy).unwrap();
    assert_eq!(copy, bytes[2 * HUGE - 2 * PAGE..2 * HUGE + 2 * PAGE]);
    // read(2) into an untouched hole.
    host.seek(SeekFrom::Start(0)).unwrap();
    host.read_exact(&mut out[3 * HUGE + 77..3 * HUGE + 77 + copy.len()]).unwrap();
    let mut got = vec![0; copy.len()];
    file.read_at(&mut got, (3 * HUGE + 77) as u64).unwrap();
    assert_eq!(got, copy);
}

#[test]
fn a_buffer_past_the_end_of_its_file_is_an_error() {
    if !maps_work() {
        return;
    }
    let pool = Pool::memory(64 << 20).unwrap();
    let (file, map) = setup(&pool);
    let other = File::create(&pool, "/other").unwrap();
    let (bytes, _) = slices(&map);
    file.set_len(PAGE as u64).unwrap();
    let error = other.write_at(&bytes[HUGE..HUGE + 100], 0).unwrap_err();
    assert_eq!(error.errno(), 14, "EFAULT: {error}");
    assert_eq!(other.len(), 0);
}
