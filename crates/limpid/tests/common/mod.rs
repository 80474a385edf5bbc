//! Shared by the tests of the whole system.
#![allow(dead_code)]

pub mod races;
pub mod rng;

use limpid::{Error, Map, MapOptions, Pool, PoolOptions};

pub const PAGE: usize = 4096;
pub const HUGE: usize = 2 << 20;

/// A pool in memory, or in a sparse file of its own; the guard keeps the file.
pub fn pools(size: u64) -> Vec<(Pool, Option<tempfile::TempDir>)> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = Pool::create(dir.path().join("pool"), size).expect("a pool in a file");
    let memory = Pool::memory(size).expect("a pool in memory");
    vec![(memory, None), (file, Some(dir))]
}

/// A pool in memory without fault-around, so that each page faults on its own.
pub fn plain_pool(size: u64) -> Pool {
    PoolOptions::new().fault_around(0).memory(size).expect("a pool in memory")
}

/// True if this machine can make maps; else says why not, once per call, so that the test shows
/// as skipped.
pub fn maps_work() -> bool {
    let pool = Pool::memory(16 << 20).expect("a pool in memory");
    let file = limpid::File::create(&pool, "/probe").expect("a file");
    file.set_len(4096).expect("a size");
    match file.map() {
        Ok(_) => true,
        Err(Error::NoMaps(reason)) => {
            eprintln!("skipped: {reason}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// The first byte of each page of a map.
pub fn first_bytes(map: &Map) -> Vec<u8> {
    (0..map.len().div_ceil(PAGE)).map(|page| byte(map, page * PAGE)).collect()
}

/// One byte of a map.
pub fn byte(map: &Map, at: usize) -> u8 {
    let mut byte = [0];
    map.read(at, &mut byte).expect("a byte of the map");
    byte[0]
}

/// A map for loads and one for loads and stores of the whole file.
pub fn both_maps(file: &limpid::File) -> (Map, Map) {
    let read = file.map().expect("a read-only map");
    let write = MapOptions::new().write(true).map(file).expect("a writable map");
    (read, write)
}
