//! Goal: no store is lost when a hole gets storage, whoever gives it: a store fault in one of
//! several maps, or a write.
//! Method: many rounds over fresh holes; threads store to words of their own in the same 2 MiB,
//! through two maps, with loads before, and one thread writes; then every word is looked up in
//! the pool. The canary writes a whole page where it should write its own bytes only.

mod common;

use std::sync::Barrier;

use common::*;
use limpid_dax::PageRange;

const THREADS: u64 = 4;
const ROUNDS: u64 = 512;

fn lost(buggy: bool) -> u64 {
    let engine = engine().expect("checked by the caller");
    let mut random = Random::new(seed());
    let file = TestFile::new(engine, ROUNDS / 4);
    let barrier = Barrier::new(THREADS as usize + 1);
    let mut lost = 0;
    for window in 0..4 {
        let units = ROUNDS / 4;
        for unit in 0..units {
            file.punch(unit);
        }
        let pages = PageRange::new(0, units * UNIT_PAGES);
        let maps = [file.map(pages, true, false), file.map(pages, true, false)];
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (map, barrier, mut random) =
                    (&maps[thread as usize % 2], &barrier, random.fork());
                scope.spawn(move || {
                    for unit in 0..units {
                        barrier.wait();
                        let base = (unit * UNIT) as usize;
                        if random.below(2) == 0 {
                            map.load_u64(base + random.below(UNIT / 8) as usize * 8).unwrap();
                        }
                        for page in 0..8 {
                            let at = base + page * 4096 + thread as usize * 8;
                            map.store_u64(at, window * 1000 + thread + 1).unwrap();
                        }
                    }
                });
            }
            for unit in 0..units {
                barrier.wait();
                if buggy {
                    let mut page = [0; 4096];
                    page[2048..2056].copy_from_slice(&(unit + 1).to_ne_bytes());
                    file.write(unit * UNIT, &page);
                } else {
                    file.write(unit * UNIT + 2048, &(unit + 1).to_ne_bytes());
                }
            }
        });
        for unit in 0..units {
            lost += u64::from(file.read_u64(unit * UNIT + 2048) != unit + 1);
            for (page, thread) in (0..8).flat_map(|page| (0..THREADS).map(move |t| (page, t))) {
                let stored = file.read_u64(unit * UNIT + page * 4096 + thread * 8);
                lost += u64::from(stored != window * 1000 + thread + 1);
            }
        }
    }
    lost
}

#[test]
fn no_store_into_a_hole_is_lost() {
    if engine().is_some() {
        assert_eq!(lost(false), 0);
    }
}

#[test]
fn canary_an_overwritten_store_is_noticed() {
    if engine().is_some() {
        assert_ne!(lost(true), 0);
    }
}
