//! Goal: a store through a map that finds the pool full says "no space", loads of the page go on,
//! and all works again when there is room.
//! Method: a map of a hole beside a file that fills the pool and is removed; stores of every kind,
//! to pages that were loaded before and to others. Stores through pointers are tested in
//! crates/mmu/tests/loads_only.rs.

mod common;

use std::time::{Duration, Instant};

use common::*;
use limpid::{Error, File, FsError, Map, Pool};

/// A pool with a hole of 8 MiB, mapped.
fn with_hole() -> (Pool, File, Map) {
    let pool = Pool::memory(16 << 20).unwrap();
    let file = File::create(&pool, "/hole").unwrap();
    file.set_len(8 << 20).unwrap();
    let map = file.map_mut().unwrap();
    (pool, file, map)
}

/// Fills the pool up.
fn fill(pool: &Pool) {
    let file = File::create(pool, "/fill").unwrap();
    for len in [1 << 20, 4096] {
        let bytes = vec![1; len];
        while file.append(&bytes).is_ok_and(|(_, written)| written == len) {}
    }
}

fn assert_no_space<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(error @ Error::Fs(FsError::NoSpace)) => {
            assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::StorageFull);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn stores_say_no_space_and_loads_go_on() {
    if !maps_work() {
        return;
    }
    let (pool, file, map) = with_hole();
    assert_eq!(map.load_u64(4096).unwrap(), 0);
    fill(&pool);
    for round in 0..2 {
        for page in [1, 1000, 1500] {
            let at = page * PAGE;
            assert_no_space(map.store_u64(at, 1));
            assert_no_space(map.write(at + 100, &[7; 5000]));
            assert_no_space(map.fetch_add_u64(at, 1));
            assert_no_space(map.compare_exchange_u64(at, 0, 1));
            assert_eq!(map.load_u64(at).unwrap(), 0, "page {page}, round {round}");
            assert_eq!(map.load_u64(at + PAGE).unwrap(), 0);
        }
        assert_eq!(file.map().unwrap().load_u64(4096).unwrap(), 0, "another map");
        let mut bytes = [1; 8];
        file.read_exact_at(&mut bytes, 4096).unwrap();
        assert_eq!(bytes, [0; 8]);
        // The pages are not refused for ever, so both ways are taken.
        let end = Instant::now() + Duration::from_millis(30);
        while Instant::now() < end {
            assert_eq!(map.load_u64(4096).unwrap(), 0);
        }
    }
    pool.remove_file("/fill").unwrap();
    for page in [1, 1000, 1500] {
        let at = page * PAGE;
        assert_eq!(map.load_u64(at).unwrap(), 0);
        assert_eq!(map.fetch_add_u64(at, 5).unwrap(), 0);
        map.store_u64(at + 8, 6).unwrap();
        map.write(at + 100, &[7; 5000]).unwrap();
        assert_eq!(map.compare_exchange_u64(at, 5, 9).unwrap(), Ok(5));
        assert_eq!((map.load_u64(at).unwrap(), map.load_u64(at + 8).unwrap()), (9, 6));
    }
    assert_eq!(file.write_at(&3u64.to_ne_bytes(), 4096).unwrap(), 8);
    assert_eq!(map.load_u64(4096).unwrap(), 3);
    assert!(pool.check().unwrap().is_empty());
}

#[test]
fn a_write_to_the_refused_page_shows_at_once() {
    if !maps_work() {
        return;
    }
    let (pool, file, map) = with_hole();
    fill(&pool);
    assert_no_space(map.store_u64(0, 1));
    pool.remove_file("/fill").unwrap();
    file.write_at(&5u64.to_ne_bytes(), 0).unwrap();
    assert_eq!(map.load_u64(0).unwrap(), 5);
    map.store_u64(0, 6).unwrap();
    file.set_len(0).unwrap();
    assert!(matches!(map.load_u64(0), Err(Error::OutOfRange { .. })));
    assert!(matches!(map.store_u64(0, 1), Err(Error::OutOfRange { .. })));
}

#[test]
fn allocated_space_takes_stores_on_a_full_pool() {
    if !maps_work() {
        return;
    }
    let (pool, file, map) = with_hole();
    file.allocate(0, 1 << 20).unwrap();
    fill(&pool);
    map.write(0, &vec![1; 1 << 20]).unwrap();
    assert_no_space(map.store_u64(1 << 20, 1));
}
