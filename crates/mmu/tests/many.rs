//! Goal: many maps and many threads at once neither hang nor mix up their pages; maps come and go
//! while others fault.
//! Method: threads that make maps, load, store and drop them, over files of their own and one
//! shared file; values are the address of the word, so a mixed-up page shows.

mod common;

use common::*;
use limpid_dax::PageRange;
use limpid_mmu::AccessError;

#[test]
fn maps_come_and_go() {
    let Some(engine) = engine() else { return };
    let mut random = Random::new(seed());
    let shared = TestFile::new(engine, 80);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (mut random, shared) = (random.fork(), shared.clone());
            scope.spawn(move || {
                let own = TestFile::new(engine, 16);
                for round in 0..60 {
                    let file = if round % 2 == 0 { &own } else { &shared };
                    let start = random.below(4) * UNIT_PAGES + random.below(3);
                    let pages = PageRange::new(start, start + 1 + random.below(1500));
                    let private = random.below(4) == 0;
                    let map = file.map(pages, true, private);
                    for _ in 0..20 {
                        let page = random.below(pages.len());
                        let offset = (page * 4096 + thread * 8) as usize;
                        let value = (start + page + 1) * 4096 + thread * 8;
                        let seen = map.load_u64(offset).unwrap();
                        assert!(seen == 0 || seen == value, "{seen} in place of {value}");
                        map.store_u64(offset, value).unwrap();
                        assert_eq!(map.load_u64(offset), Ok(value));
                    }
                    if random.below(3) == 0 {
                        file.relocate(random.below(4));
                    }
                }
            });
        }
    });
    let stats = engine.stats();
    assert!(stats.faults > 0 && stats.installs > 0 && stats.unmaps > 0, "{stats:?}");
}

#[test]
fn accesses_are_checked() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 4);
    let map = file.map(PageRange::new(0, 4), false, false);
    let range = |offset, len| AccessError::OutOfRange { offset, len, size: 16384 };
    assert_eq!(map.read(16380, &mut [0; 5]), Err(range(16380, 5)));
    assert_eq!(map.read(usize::MAX, &mut [0; 5]), Err(range(usize::MAX, 5)));
    assert_eq!(map.load_u64(12), Err(AccessError::Misaligned(12)));
    assert_eq!(map.write(0, &[1]), Err(AccessError::ReadOnly));
    assert_eq!(map.fetch_add_u64(0, 1), Err(AccessError::ReadOnly));
    let map = file.map(PageRange::new(0, 4), true, false);
    assert_eq!(map.fetch_add_u64(8, 5), Ok(0));
    assert_eq!(map.compare_exchange_u64(8, 5, 6), Ok(Ok(5)));
    assert_eq!(map.compare_exchange_u64(8, 5, 7), Ok(Err(6)));
    map.write(8, &[]).unwrap();
    assert_eq!(map.load_u64(8), Ok(6));
}
