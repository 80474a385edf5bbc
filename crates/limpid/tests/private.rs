//! Goal: a private map shows the file until a page is stored to, and that page alone is a copy
//! from then on: no operation on the file loses it (A10) or shows it to others, but for a truncate
//! below it.
//!
//! Method: stores to private maps over holes and data, then write, punch, truncate and collapse of
//! the file, each looked at through the private map, a shared map and read.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{HUGE, PAGE, byte, maps_work};
use limpid::{File, Map, MapOptions, Pool};

fn setup(pool: &Pool) -> (File, Map, Map) {
    let file = File::create(pool, "/private").unwrap();
    file.write_all_at(&vec![1; HUGE], 0).unwrap();
    file.set_len(2 * HUGE as u64).unwrap();
    let private = MapOptions::new().write(true).private(true).map(&file).unwrap();
    let shared = file.map().unwrap();
    (file, private, shared)
}

fn for_both(test: impl Fn(&File, &Map, &Map)) {
    if !maps_work() {
        return;
    }
    for (pool, _guard) in common::pools(32 << 20) {
        let (file, private, shared) = setup(&pool);
        test(&file, &private, &shared);
    }
}

fn read(file: &File, at: usize) -> u8 {
    let mut byte = [0];
    file.read_at(&mut byte, at as u64).unwrap();
    byte[0]
}

#[test]
fn stores_stay_private_over_data_and_holes() {
    for_both(|file, private, shared| {
        for at in [5 * PAGE + 1, HUGE + 7 * PAGE] {
            let old = byte(shared, at);
            private.write(at, &[9]).unwrap();
            assert_eq!(byte(private, at), 9);
            assert_eq!(byte(private, at + 1), old, "the rest of the page is the file's");
            assert_eq!(byte(shared, at), old);
            assert_eq!(read(file, at), old);
        }
    });
}

#[test]
fn pages_without_a_copy_follow_the_file() {
    for_both(|file, private, _| {
        assert_eq!(byte(private, PAGE), 1);
        assert_eq!(byte(private, HUGE + PAGE), 0);
        file.write_at(&[2; 10], PAGE as u64).unwrap();
        file.write_at(&[3; 10], (HUGE + PAGE) as u64).unwrap();
        assert_eq!(byte(private, PAGE), 2);
        assert_eq!(byte(private, HUGE + PAGE), 3);
    });
}

#[test]
fn copies_survive_every_operation_on_the_file() {
    for_both(|file, private, _| {
        let copies = [2 * PAGE, 9 * PAGE, HUGE + 3 * PAGE];
        for at in copies {
            private.write(at, &[9]).unwrap();
        }
        let page = PAGE as u64;
        file.write_at(&vec![4; 2 * HUGE], 0).unwrap();
        file.punch_hole(0, 2 * HUGE as u64).unwrap();
        file.collapse_range(0, page).unwrap();
        file.insert_range(0, page).unwrap();
        for at in copies {
            assert_eq!(byte(private, at), 9, "the copy at {at}");
        }
        assert_eq!(byte(private, PAGE), 0, "a page without a copy shows the file");
    });
}

#[test]
fn truncate_takes_copies_past_the_end_along() {
    for_both(|file, private, _| {
        let (kept, gone) = (2 * PAGE, HUGE + 3 * PAGE);
        private.write(kept, &[9]).unwrap();
        private.write(gone, &[9]).unwrap();
        file.set_len(3 * PAGE as u64).unwrap();
        assert!(private.read(gone, &mut [0]).is_err(), "past the end");
        file.set_len(2 * HUGE as u64).unwrap();
        assert_eq!(byte(private, kept), 9, "a copy before the end stays");
        assert_eq!(byte(private, gone), 0, "one past the end is gone");
    });
}

#[test]
fn racing_stores_are_not_lost_to_invalidation() {
    for_both(|file, private, _| {
        // One thread stores to fresh pages, the other punches the same range again and again.
        let (done, punched) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let puncher = scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    file.write_at(&[1; 3 * PAGE], 64 * PAGE as u64).unwrap();
                    file.punch_hole(0, HUGE as u64).unwrap();
                    punched.fetch_add(1, Ordering::SeqCst);
                }
            });
            for page in 0..512 {
                // However they are scheduled, punches come between the stores.
                let seen = punched.load(Ordering::SeqCst);
                while page % 32 == 0 && punched.load(Ordering::SeqCst) == seen {
                    assert!(!puncher.is_finished(), "the puncher has failed");
                    std::thread::yield_now();
                }
                private.write(page * PAGE + 8, &[page as u8 | 1]).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        for page in 0..512 {
            assert_eq!(byte(private, page * PAGE + 8), page as u8 | 1, "store to page {page}");
        }
    });
}
