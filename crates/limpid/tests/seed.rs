//! Goal: the bug of 2017 cannot happen. A hole is mapped and loaded, so that zero pages are in the
//! page tables; a write fills it; every map must show the data.
//!
//! Method: for 4 KiB and 2 MiB, read-only and writable maps, with PAGEMAP_SCAN as the witness
//! that a zero page really was there before and is gone after.

mod common;

use common::{HUGE, PAGE, byte, maps_work};
use limpid::{File, MapOptions, Pool};

fn scenario(pool: &Pool, writable: bool, huge: bool, huge_zero: bool) {
    let file = File::create(pool, "/seed").unwrap();
    // A last page that is not part of a whole unit keeps the small case small.
    let len = if huge { HUGE } else { 16 * PAGE };
    file.set_len(len as u64).unwrap();
    let map = MapOptions::new().write(writable).map(&file).unwrap();
    assert_eq!(byte(&map, 0), 0);
    assert_eq!(byte(&map, len - 1), 0);

    let before = map.page_sizes().unwrap().sizes;
    let zeroes = before.zero_huge + before.zero_small;
    assert!(zeroes >= PAGE as u64, "a zero page is mapped: {before:?}");
    if huge && huge_zero {
        assert_eq!(before.zero_huge, HUGE as u64, "it is one of 2 MiB: {before:?}");
    }
    assert_eq!(before.storage_huge + before.storage_small, 0);

    let unmaps = file.dax_stats().unmaps;
    let at = 3 * PAGE + 5;
    assert_eq!(file.write_at(b"written", at as u64).unwrap(), 7);
    assert_eq!(file.dax_stats().unmaps, unmaps + 1, "one unmap per write");

    let mut bytes = [0; 7];
    map.read(at, &mut bytes).unwrap();
    assert_eq!(&bytes, b"written");
    let after = map.page_sizes_of(3 * PAGE..4 * PAGE).unwrap();
    assert_eq!(after.zero_small + after.zero_huge, 0, "no zero page is left: {after:?}");
    assert!(after.storage_small + after.storage_huge >= PAGE as u64, "storage: {after:?}");
    assert_eq!(byte(&map, 0), 0);
    assert_eq!(byte(&map, at + 7), 0, "the rest of the block is zero");

    if writable {
        map.write(at + 1, b"tored").unwrap();
        file.read_at(&mut bytes, at as u64).unwrap();
        assert_eq!(&bytes, b"wtoredn");
    }
}

fn run(writable: bool, huge: bool) {
    if !maps_work() {
        return;
    }
    let enabled =
        std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let huge_zero = !enabled.is_empty() && !enabled.contains("[never]");
    if huge && !huge_zero {
        eprintln!("skipped in part: transparent huge pages are off, no 2 MiB zero page");
    }
    for (pool, _guard) in common::pools(64 << 20) {
        scenario(&pool, writable, huge, huge_zero);
    }
}

#[test]
fn small_pages_read_only() {
    run(false, false);
}

#[test]
fn small_pages_writable() {
    run(true, false);
}

#[test]
fn huge_page_read_only() {
    run(false, true);
}

#[test]
fn huge_page_writable() {
    run(true, true);
}
