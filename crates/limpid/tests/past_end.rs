//! Goal: what was stored behind the end of the file, through a map of its last page, never becomes
//! content, whichever way the file grows; blocks behind the end go when the file is cut to the
//! size it has.
//! Method: each way to grow a file, within its last page and beyond, over junk stored behind the
//! end through a map, of a file with a block and of one with a hole there. What was the file is
//! still there, and the rest is zero, for reads, for the map, and for a map made later.

mod common;

use common::*;
use limpid::{File, Map, OpenOptions, Pool};

const OLD: usize = 1000;

type Grow = fn(&File, usize);

/// Each way to make a file longer. Those that write bytes of their own write sevens.
const WAYS: [(&str, Grow); 7] = [
    ("set_len", |file, end| file.set_len(end as u64).unwrap()),
    ("a write with a gap", |file, end| file.write_all_at(&[7], end as u64 - 1).unwrap()),
    ("a write of two pages with a gap", |file, end| {
        file.write_all_at(&[7; 2 * PAGE], end as u64 - 1).unwrap();
    }),
    ("an append, then set_len", |file, end| {
        file.append(&[7]).unwrap();
        file.set_len(end as u64).unwrap();
    }),
    ("allocate", |file, end| file.allocate(end as u64 - 1, 1).unwrap()),
    ("zero_range", |file, end| file.zero_range(end as u64 - 1, 1, false).unwrap()),
    ("zero_range over all of it", |file, end| {
        file.zero_range(OLD as u64, (end - OLD) as u64, false).unwrap();
    }),
];

fn check(bytes: &[u8], old: u8, what: &str) {
    assert!(bytes[..OLD].iter().all(|byte| *byte == old), "{what}: the old bytes");
    let junk = bytes[OLD..].iter().position(|byte| ![0, 7].contains(byte));
    assert_eq!(junk, None, "{what}: bytes behind the old end");
}

/// A file of [`OLD`] bytes `old`, a hole if 0, with junk behind its end in its only page.
fn with_junk(pool: &Pool, old: u8) -> (File, Map) {
    let file = File::create(pool, "/file").unwrap();
    file.set_len(PAGE as u64).unwrap();
    if old != 0 {
        file.write_all_at(&[old; OLD], 0).unwrap();
    }
    let map = file.map_mut().unwrap();
    file.set_len(OLD as u64).unwrap();
    map.write(OLD, &[9; PAGE - OLD]).unwrap();
    (file, map)
}

#[test]
fn junk_behind_the_end_never_becomes_content() {
    if !maps_work() {
        return;
    }
    for (pool, _guard) in pools(16 << 20) {
        for (name, grow) in WAYS {
            for end in [OLD + 1, 2000, PAGE, PAGE + 1, 3 * PAGE + 5] {
                for old in [0, 5] {
                    let what = format!("{name} to {end}, old bytes {old}");
                    let (file, map) = with_junk(&pool, old);
                    grow(&file, end);
                    let mut bytes = vec![9; file.len() as usize];
                    assert!(bytes.len() >= end, "{what}");
                    file.read_exact_at(&mut bytes, 0).unwrap();
                    check(&bytes, old, &what);
                    file.map().unwrap().read(0, &mut bytes).unwrap();
                    check(&bytes, old, &format!("{what}, through a map"));
                    let len = bytes.len().min(PAGE);
                    map.read(0, &mut bytes[..len]).unwrap();
                    check(&bytes, old, &format!("{what}, through the old map"));
                    pool.remove_file("/file").unwrap();
                }
            }
        }
        assert!(pool.check().unwrap().is_empty());
    }
}

#[test]
fn junk_moves_with_its_page_and_stays_behind_the_end() {
    if !maps_work() {
        return;
    }
    for (pool, _guard) in pools(16 << 20) {
        let (file, _map) = with_junk(&pool, 5);
        file.insert_range(0, PAGE as u64).unwrap();
        file.set_len(3 * PAGE as u64).unwrap();
        let mut bytes = vec![9; 2 * PAGE];
        file.read_exact_at(&mut bytes, PAGE as u64).unwrap();
        check(&bytes, 5, "insert_range, then set_len");
        file.collapse_range(0, PAGE as u64).unwrap();
        file.read_exact_at(&mut bytes, 0).unwrap();
        check(&bytes, 5, "collapse_range");
    }
}

#[test]
fn blocks_behind_the_end_go_with_a_cut_to_the_same_size() {
    let pool = Pool::memory(32 << 20).unwrap();
    let file = File::create(&pool, "/file").unwrap();
    let blocks = |file: &File| file.metadata().unwrap().blocks;
    file.allocate_keep_size(0, 4 << 20).unwrap();
    assert!(blocks(&file) >= 1024);
    OpenOptions::new().write(true).truncate(true).open(&pool, "/file").unwrap();
    assert_eq!(blocks(&file), 0, "truncate(true) of an empty file");
    file.write_all_at(&[5; OLD], 0).unwrap();
    file.allocate_keep_size(0, 4 << 20).unwrap();
    if maps_work() {
        let map = file.map_mut().unwrap();
        map.write(0, &[6; OLD]).unwrap();
        file.set_len(OLD as u64).unwrap();
        assert!(blocks(&file) <= 3, "ftruncate to the same size; a tree node may stay");
        let mut bytes = [0; OLD];
        map.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [6; OLD]);
    }
    file.set_len(OLD as u64).unwrap();
    assert!(blocks(&file) <= 3);
    // Growing keeps them: that is what they are for.
    file.allocate_keep_size(0, 4 << 20).unwrap();
    file.set_len(2 << 20).unwrap();
    assert!(blocks(&file) >= 1024);
    assert!(pool.check().unwrap().is_empty());
}
