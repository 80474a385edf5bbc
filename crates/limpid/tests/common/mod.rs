//! Shared by the tests of the whole system.
#![allow(dead_code)]

pub mod races;
pub mod rng;
pub mod rounds;
pub mod small_disk;

use std::path::PathBuf;

use limpid::{Error, Map, MapOptions, Pool, PoolOptions};

pub const PAGE: usize = 4096;
pub const HUGE: usize = 2 << 20;

/// The media that `LIMPID_TEST_MEDIA` names, separated by colons: files and DAX devices that are
/// overwritten. A medium has one writer, so such a run needs `RUST_TEST_THREADS=1`.
fn named_media() -> Vec<PathBuf> {
    let list = std::env::var_os("LIMPID_TEST_MEDIA").unwrap_or_default();
    std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// A pool on each medium that the run names, else one in memory and one in a sparse file of its
/// own; the guard keeps the file.
pub fn pools(size: u64) -> Vec<(Pool, Option<tempfile::TempDir>)> {
    pools_with(&PoolOptions::new(), size)
}

/// As [`pools`], with options.
pub fn pools_with(options: &PoolOptions, size: u64) -> Vec<(Pool, Option<tempfile::TempDir>)> {
    let on_named = named_pools(options, size);
    if !on_named.is_empty() {
        return on_named.into_iter().map(|pool| (pool, None)).collect();
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = options.clone().create(dir.path().join("pool"), size).expect("a pool in a file");
    let memory = options.clone().memory(size).expect("a pool in memory");
    vec![(memory, None), (file, Some(dir))]
}

/// A pool on each medium that the run names; none as a rule.
pub fn named_pools(options: &PoolOptions, size: u64) -> Vec<Pool> {
    let create = |path: PathBuf| {
        let pool = options.clone().overwrite(true).create(&path, size);
        let pool = pool.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        eprintln!("{}: {}", path.display(), pool.info().medium_line);
        pool
    };
    named_media().into_iter().map(create).collect()
}

/// A pool without fault-around, so that each page faults on its own: in memory, or on the first
/// medium that the run names.
pub fn plain_pool(size: u64) -> Pool {
    let options = PoolOptions::new().fault_around(0);
    let named = named_pools(&options, size).into_iter().next();
    named.unwrap_or_else(|| options.memory(size).expect("a pool in memory"))
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
