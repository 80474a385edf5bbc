//! Goal: beyond the budget of kernel mappings the oldest ranges are unmapped instead of failing,
//! nothing is lost by it, and our count agrees with the kernel's.
//! Method: a tiny budget and scattered storage; the mappings in /proc/self/maps are counted. One
//! test in this file: the budget is the process's.

mod common;

use std::sync::Arc;

use common::*;
use limpid_dax::{Mmu, PageRange, Protection, Target};
use limpid_mmu::LinuxMap;

fn kernel_maps_of(maps: &[Arc<LinuxMap>]) -> usize {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap();
    let starts = text.lines().filter_map(|line| {
        let (start, _) = line.split_once('-')?;
        usize::from_str_radix(start, 16).ok()
    });
    let inside = |start: &usize| {
        maps.iter().any(|map| {
            let first = map.as_ptr() as usize;
            (first..first + map.len()).contains(start)
        })
    };
    starts.filter(inside).count()
}

#[test]
fn the_oldest_ranges_make_room() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 64);
    let maps = [true, false].map(|writable| file.map(PageRange::new(0, 16384), writable, false));
    let storage = |page: u64| Target::Storage { device: page * 8192, writable: true };
    // Every second page: nothing merges.
    for page in (0..4000).step_by(2) {
        for map in &maps {
            map.install(PageRange::new(page, page + 1), storage(page)).unwrap();
        }
    }
    let (counted, real) = (engine.stats().kernel_maps as usize, kernel_maps_of(&maps));
    assert!(real <= counted && counted <= real + 8, "counted {counted}, really {real}");
    assert_eq!(engine.stats().evictions, 0);
    for page in (0..4000).step_by(2) {
        maps[0].store_u64(page as usize * 4096, page + 1).unwrap();
    }

    engine.set_map_budget(500);
    for page in (4000..8000).step_by(2) {
        for map in &maps {
            map.install(PageRange::new(page, page + 1), storage(page)).unwrap();
        }
        maps[0].store_u64(page as usize * 4096, page + 1).unwrap();
    }
    assert!(engine.stats().evictions > 0);
    let (counted, real) = (engine.stats().kernel_maps as usize, kernel_maps_of(&maps));
    assert!(real <= counted && counted <= 510, "counted {counted}, really {real}");
    // What was installed last is still there, what was installed first is not.
    let absent = |page| maps[1].page_sizes(PageRange::new(page, page + 1)).unwrap().absent;
    assert_eq!(maps[0].page_sizes(PageRange::new(7998, 7999)).unwrap().absent, 0);
    assert_eq!(absent(0), 4096);
    // Nothing that was stored to is forgotten for the next writeback.
    let mut written = vec![false; 16384];
    let protection = maps[0].write_protect(maps[0].pages(), &mut |run| {
        (run.start.0..run.end.0).for_each(|page| written[page as usize] = true);
    });
    assert_eq!(protection, Protection::Unnoticed, "the rest of the storage is not tracked");
    assert!((0..4000).step_by(2).all(|page| written[page]));
    // And the bytes are where they belong.
    for page in (0..8000).step_by(2) {
        maps[1].install(PageRange::new(page, page + 1), storage(page)).unwrap();
        assert_eq!(maps[1].load_u64(page as usize * 4096), Ok(page + 1));
    }
    // Holes cost mappings in a writable map, too.
    for unit in 0..16 {
        maps[0].install(PageRange::new(unit * 512 + 5, unit * 512 + 9), Target::Zero).unwrap();
    }
    maps[0].unmap(maps[0].pages());
    for _ in 0..100 {
        maps[0].install(PageRange::new(1, 2), Target::Zero).unwrap();
        maps[0].unmap(maps[0].pages());
    }
    drop(maps);
    assert_eq!(engine.stats().kernel_maps, 0);
}
