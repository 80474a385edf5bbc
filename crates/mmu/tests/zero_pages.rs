//! Goal: a hole is shown by the kernel's 2 MiB zero page, in read-only and in writable maps; a
//! store replaces it by storage, and everybody sees the store.
//! Method: real maps, the page tables asked by PAGEMAP_SCAN.

mod common;

use common::*;
use limpid_dax::{Mmu, Order, PageIndex, PageRange, Target};

#[test]
fn a_load_of_a_hole_maps_one_huge_zero_page() {
    let Some(engine) = engine() else { return };
    if !engine.capabilities().huge_zero {
        eprintln!("skipped: transparent huge pages are off, there is no 2 MiB zero page");
        return;
    }
    for writable in [false, true] {
        let file = TestFile::new(engine, 8);
        let map = file.map(PageRange::new(0, 4 * UNIT_PAGES), writable, false);
        assert!(map.can_map_huge(PageIndex(700)));
        assert_eq!(map.load_u64((2 * UNIT + 8192) as usize), Ok(0));
        let sizes = map.page_sizes(map.pages()).unwrap();
        assert_eq!((sizes.zero_huge, sizes.absent), (UNIT, 3 * UNIT), "writable {writable}");
    }
}

#[test]
fn a_store_replaces_the_zero_page() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    let map = file.map(PageRange::new(0, 2 * UNIT_PAGES), true, false);
    let other = file.map(PageRange::new(0, 2 * UNIT_PAGES), false, false);
    assert_eq!((map.load_u64(4096), other.load_u64(4096)), (Ok(0), Ok(0)));
    map.store_u64(4096, 77).unwrap();
    assert_eq!((map.load_u64(4096), other.load_u64(4096)), (Ok(77), Ok(77)));
    assert_eq!(file.read_u64(4096), 77);
    let sizes = map.page_sizes(map.pages()).unwrap();
    assert_eq!((sizes.zero_huge, sizes.zero_small, sizes.private), (0, 0, 0));
}

#[test]
fn a_write_into_a_hole_replaces_the_zero_page_in_all_maps() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 64);
    let maps =
        [false, true].map(|writable| file.map(PageRange::new(0, 32 * UNIT_PAGES), writable, false));
    for unit in 0..32 {
        let offset = unit * UNIT + 40960;
        for map in &maps {
            assert_eq!(map.load_u64(offset as usize), Ok(0));
        }
        file.write(offset, &(unit + 1).to_ne_bytes());
        for map in &maps {
            assert_eq!(map.load_u64(offset as usize), Ok(unit + 1));
        }
    }
}

#[test]
fn parts_of_a_unit_show_small_zero_pages() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    for writable in [false, true] {
        // Starts and ends inside of a unit.
        let map = file.map(PageRange::new(100, 700), writable, false);
        assert!(!map.can_map_huge(PageIndex(100)) && !map.can_map_huge(PageIndex(699)));
        assert_eq!(map.as_ptr() as u64 % UNIT, 100 * 4096);
        map.install(PageRange::new(101, 700), Target::Zero).unwrap();
        let mut bytes = vec![1; 599 * 4096];
        map.read(4096, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
        let sizes = map.page_sizes(map.pages()).unwrap();
        assert_eq!((sizes.zero_small, sizes.absent), (599 * 4096, 4096));
    }
}

#[test]
fn a_large_hole_in_one_step() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    for writable in [false, true] {
        let map = file.map(PageRange::new(7, 100 * UNIT_PAGES), writable, false);
        map.install(map.pages(), Target::Zero).unwrap();
        map.install(map.pages(), Target::Zero).unwrap();
        for unit in 0..99 {
            assert_eq!(map.load_u64((unit * UNIT + 8) as usize), Ok(0));
        }
        map.unmap(map.pages());
        let sizes = map.page_sizes(map.pages()).unwrap();
        assert_eq!(sizes.absent, map.len() as u64);
    }
}

#[test]
fn pages_that_the_program_dropped_come_back() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    let map = file.map(PageRange::new(0, UNIT_PAGES), true, false);
    assert_eq!(map.load_u64(0), Ok(0));
    // SAFETY: the addresses are those of the map, which is live.
    unsafe {
        let advice = rustix::mm::Advice::LinuxDontNeed;
        rustix::mm::madvise(map.as_ptr().cast(), map.len(), advice).unwrap();
    }
    assert_eq!(map.load_u64(Order::Pte.bytes() as usize), Ok(0));
}
