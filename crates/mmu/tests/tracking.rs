//! Goal: where the kernel notes stores, exactly the pages stored to since the last look are
//! reported, none is ever missed, and what is unmapped in between is still reported.
//! Method: a model of the pages stored to, over random stores, looks and unmaps.

mod common;

use common::*;
use limpid_dax::{Mmu, PageIndex, PageRange, Protection, Target};
use limpid_mmu::BackingOptions;

#[test]
fn written_pages_are_reported() {
    let Some(engine) = engine() else { return };
    let options = BackingOptions { track_writes: true, ..BackingOptions::default() };
    let file = TestFile::with(engine, 16, options);
    if !file.backing.tracks_writes() {
        eprintln!("skipped: the kernel does not note stores to this pool");
        return;
    }
    let mut random = Random::new(seed());
    // Not congruent modulo 2 MiB: small pages, whose notes are exact.
    let map = file.map(PageRange::new(0, 1024), true, false);
    let install = |pages: PageRange| {
        let device = (pages.start.0 + 1) * 4096;
        map.install(pages, Target::Storage { device, writable: true }).unwrap();
    };
    install(map.pages());
    // A page that was never touched counts as stored to, but not on DAX.
    let mut expected = [!file.backing.options().sync; 1024];
    let mut unmapped = [false; 1024];
    for round in 0..400 {
        for _ in 0..random.below(20) {
            let page = random.below(1024);
            if unmapped[page as usize] {
                install(PageRange::new(page, page + 1));
                unmapped[page as usize] = false;
            }
            map.store_u64(page as usize * 4096, round).unwrap();
            expected[page as usize] = true;
        }
        if random.below(4) == 0 {
            let start = random.below(1000);
            let pages = PageRange::new(start, start + 1 + random.below(24));
            map.unmap(pages);
            for page in pages.start.0..pages.end.0 {
                // An unmap counts as a store.
                expected[page as usize] |= !unmapped[page as usize];
                unmapped[page as usize] = true;
            }
        }
        let start = random.below(1024);
        let pages = PageRange::new(start, 1024);
        let mut reported = [false; 1024];
        let protection = map.write_protect(pages, &mut |run| {
            (run.start.0..run.end.0).for_each(|page| reported[page as usize] = true);
        });
        assert_ne!(protection, Protection::Unnoticed);
        for page in start as usize..1024 {
            assert!(reported[page] || !expected[page], "round {round}: page {page} was missed");
            // A page that was installed anew counts as written until it was looked at.
            expected[page] = false;
        }
    }
    map.unmap(map.pages());
    let mut runs = 0;
    assert_eq!(map.write_protect(map.pages(), &mut |_| runs += 1), Protection::Faults);
    assert_ne!(runs, 0);
    assert_eq!(map.write_protect(map.pages(), &mut |_| runs = 0), Protection::Faults);
    assert_ne!(runs, 0);
}

#[test]
fn a_clean_page_is_not_reported() {
    let Some(engine) = engine() else { return };
    let options = BackingOptions { track_writes: true, ..BackingOptions::default() };
    let file = TestFile::with(engine, 16, options);
    if !file.backing.tracks_writes() {
        eprintln!("skipped: the kernel does not note stores to this pool");
        return;
    }
    let map = file.map(PageRange::new(0, 1024), true, false);
    map.install(map.pages(), Target::Storage { device: 4096, writable: true }).unwrap();
    map.write_protect(map.pages(), &mut |_| ());
    map.store_u64(77 * 4096, 1).unwrap();
    let mut runs = Vec::new();
    assert_eq!(map.write_protect(map.pages(), &mut |run| runs.push(run)), Protection::Noted);
    assert_eq!(runs, [PageRange::new(77, 78)]);
}

#[test]
fn a_store_to_a_large_page_is_reported_or_said_to_go_unnoticed() {
    let Some(engine) = engine() else { return };
    let options = BackingOptions { track_writes: true, ..BackingOptions::default() };
    let file = TestFile::with(engine, 16, options);
    // Congruent modulo 2 MiB: large pages, where the medium has them. On DAX the kernel (6.12)
    // misses a store to one that was protected before.
    let map = file.map(PageRange::new(0, 1024), true, false);
    map.install(map.pages(), Target::Storage { device: 0, writable: true }).unwrap();
    map.store_u64(0, 1).unwrap();
    map.write_protect(map.pages(), &mut |_| ());
    for page in [3, 600, 3, 600, 601] {
        map.store_u64(page * 4096, 1).unwrap();
        let mut reported = false;
        let answer = map.write_protect(map.pages(), &mut |run| {
            reported |= run.contains(PageIndex(page as u64));
        });
        eprintln!("page {page}: {answer:?}, {:?}", map.page_sizes(map.pages()).unwrap());
        assert!(reported || answer == Protection::Unnoticed, "page {page} was missed");
    }
}

#[test]
fn other_maps_have_nothing_to_report() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 4);
    for (writable, private) in [(false, false), (true, true)] {
        let map = file.map(PageRange::new(0, 512), writable, private);
        map.install(map.pages(), Target::Storage { device: 0, writable: true }).unwrap();
        let answer = map.write_protect(map.pages(), &mut |run| panic!("{run:?} reported"));
        assert_eq!(answer, Protection::Faults);
    }
    let map = file.map(PageRange::new(0, 512), true, false);
    map.install(map.pages(), Target::Storage { device: 0, writable: true }).unwrap();
    assert_eq!(map.write_protect(map.pages(), &mut |_| ()), Protection::Unnoticed);
}
