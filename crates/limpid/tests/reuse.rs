//! Goal: freed blocks never show their new owner's bytes through live maps of the old one, nor
//! their old bytes to the new owner (C3), whatever way they were freed.
//!
//! Method: fill a file, map it, free its blocks by punch, truncate, collapse, unlink or overwriting
//! rename, let another file take all free space, and look for its bytes through the old maps.

mod common;

use common::{HUGE, PAGE, maps_work};
use limpid::{File, Map, MapOptions, Pool};

const OLD: u8 = 0x11;
const NEW: u8 = 0xee;

fn count(map: &Map, value: u8) -> usize {
    let mut bytes = vec![0; PAGE];
    let mut found = 0;
    for at in (0..map.len()).step_by(PAGE) {
        let len = PAGE.min(map.len() - at);
        if map.read(at, &mut bytes[..len]).is_ok() {
            found += bytes[..len].iter().filter(|byte| **byte == value).count();
        }
    }
    found
}

/// A full file with both kinds of maps, all pages touched.
fn old_owner(pool: &Pool, len: usize) -> (File, [Map; 2]) {
    let file = File::create(pool, "/old").unwrap();
    file.write_all_at(&vec![OLD; len], 0).unwrap();
    let maps = [file.map().unwrap(), MapOptions::new().write(true).map(&file).unwrap()];
    assert!(maps.iter().all(|map| count(map, OLD) == len));
    (file, maps)
}

/// Fills all space that is left with another file's bytes.
fn take_all(pool: &Pool) -> File {
    let file = File::create(pool, "/new").unwrap();
    let block = vec![NEW; 64 * PAGE];
    while file.append(&block).is_ok_and(|(_, len)| len == block.len()) {}
    file
}

fn freed_by(free: impl Fn(&Pool, &File), want_old: usize) {
    if !maps_work() {
        return;
    }
    for (pool, _guard) in common::pools(32 << 20) {
        let len = 3 * HUGE;
        let (file, maps) = old_owner(&pool, len);
        free(&pool, &file);
        let new = take_all(&pool);
        for map in &maps {
            assert_eq!(count(map, NEW), 0, "another file's bytes");
            assert_eq!(count(map, OLD), want_old, "the old bytes that are left");
        }
        let mut bytes = vec![0; new.len() as usize];
        new.read_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|byte| *byte == NEW), "the new owner sees its own bytes");
        drop((maps, file, new));
        assert_eq!(pool.check().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn by_punch() {
    freed_by(|_, file| file.punch_hole(HUGE as u64, HUGE as u64).unwrap(), 2 * HUGE);
}

#[test]
fn by_truncate() {
    freed_by(|_, file| file.set_len(HUGE as u64 + 100).unwrap(), HUGE + 100);
}

#[test]
fn by_collapse() {
    freed_by(|_, file| file.collapse_range(0, HUGE as u64 + PAGE as u64).unwrap(), {
        2 * HUGE - PAGE
    });
}

#[test]
fn unlinked_but_mapped_files_keep_their_blocks() {
    freed_by(|pool, _| pool.remove_file("/old").unwrap(), 3 * HUGE);
}

#[test]
fn space_comes_back_when_the_last_map_goes() {
    if !maps_work() {
        return;
    }
    let pool = Pool::memory(32 << 20).unwrap();
    let before = pool.statfs().unwrap().free;
    let (file, maps) = old_owner(&pool, 3 * HUGE);
    pool.remove_file("/old").unwrap();
    drop(file);
    assert!(pool.statfs().unwrap().free < before, "the maps still need the blocks");
    drop(maps);
    assert_eq!(pool.statfs().unwrap().free, before);
}
