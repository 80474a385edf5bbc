//! Goal: private copies survive every unmap and install, also those made at the same moment; what
//! was not copied follows the file. A SIGSEGV that is not ours reaches whom it belongs to.
//! Method: threads store to pages of a private map while the storage below is moved, punched and
//! written; each must always find its own last store. The canary drops private copies.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::*;
use limpid_dax::{Mmu, PageRange, Target};
use limpid_mmu::{Backing, BackingOptions, LinuxMap, MapError, MapSpec};

#[test]
fn copies_are_kept_and_the_rest_follows_the_file() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    file.write(0, &1u64.to_ne_bytes());
    let map = file.map(PageRange::new(0, 2 * UNIT_PAGES), true, true);
    // One unit of storage, one hole.
    for base in [0, UNIT as usize] {
        map.load_u64(base).unwrap();
        map.store_u64(base + 3 * 4096 + 8, 33).unwrap();
        assert_eq!(map.load_u64(base + 3 * 4096), Ok(0));
    }
    assert_eq!(map.page_sizes(map.pages()).unwrap().private, 2 * 4096);
    for round in 2..50u64 {
        file.relocate(0);
        file.write(0, &round.to_ne_bytes());
        file.write(UNIT, &round.to_ne_bytes());
        file.write(3 * 4096 + 8, &round.to_ne_bytes());
        assert_eq!(map.load_u64(0), Ok(round));
        assert_eq!(map.load_u64(UNIT as usize), Ok(round));
        for base in [0, UNIT as usize] {
            assert_eq!(map.load_u64(base + 3 * 4096 + 8), Ok(33));
        }
        if round % 8 == 0 {
            file.punch(0);
            assert_eq!((map.load_u64(0), map.load_u64(3 * 4096 + 8)), (Ok(0), Ok(33)));
            file.write(0, &round.to_ne_bytes());
            file.unmap(map.pages());
        }
    }
    assert_eq!(map.page_sizes(map.pages()).unwrap().private, 2 * 4096);
    assert_eq!(file.read_u64(UNIT + 3 * 4096 + 8), 0);
    map.discard(map.pages());
    assert_eq!(map.page_sizes(map.pages()).unwrap().private, 0);
    assert_eq!(map.load_u64(UNIT as usize + 3 * 4096 + 8), Ok(0));
}

#[test]
fn a_copy_of_storage_is_made_where_zeroes_are_shown() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    file.write(4096, &5u64.to_ne_bytes());
    let map = file.map(PageRange::new(0, UNIT_PAGES), true, true);
    map.install(map.pages(), Target::Zero).unwrap();
    map.install(PageRange::new(1, 2), Target::Private { device: Some(4096) }).unwrap();
    map.install(PageRange::new(2, 4), Target::Private { device: None }).unwrap();
    map.install(PageRange::new(3, 5), Target::Poison).unwrap();
    map.install(PageRange::new(4, 5), Target::Private { device: Some(4096) }).unwrap();
    file.write(4096, &6u64.to_ne_bytes());
    map.install(map.pages(), Target::Storage { device: 0, writable: true }).unwrap();
    assert_eq!([1, 2, 3, 4].map(|page| map.load_u64(page * 4096).unwrap()), [5, 0, 0, 5]);
    assert_eq!(map.page_sizes(map.pages()).unwrap().private, 4 * 4096);
}

/// Stores race with changes of the file; counts stores that were lost.
fn race(lose: impl Fn(&LinuxMap) + Sync) -> u64 {
    let engine = engine().expect("checked by the caller");
    let mut random = Random::new(seed());
    let file = TestFile::new(engine, 16);
    let lost = AtomicU64::new(0);
    for _ in 0..15 {
        let map = file.map(PageRange::new(0, 2 * UNIT_PAGES), true, true);
        file.write(0, &[1]);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (map, file, stop, lost, lose) = (&map, &file, &stop, &lost, &lose);
            let storers: Vec<_> = (0..2u64)
                .map(|thread| {
                    let mut random = random.fork();
                    scope.spawn(move || {
                        let mut model = vec![0; 1024];
                        for value in 1..=3000 {
                            let page = random.below(512) as usize * 2 + thread as usize;
                            let at = page * 4096 + 64;
                            if model[page] != 0 && map.load_u64(at) != Ok(model[page]) {
                                lost.fetch_add(1, Ordering::Relaxed);
                            }
                            map.store_u64(at, value).unwrap();
                            model[page] = value;
                        }
                        for (page, value) in model.iter().enumerate().filter(|(_, v)| **v != 0) {
                            if map.load_u64(page * 4096 + 64) != Ok(*value) {
                                lost.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    })
                })
                .collect();
            let mut choices = random.fork();
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let unit = choices.below(2);
                    match choices.below(5) {
                        0 => file.relocate(unit),
                        1 => file.punch(unit),
                        2 => file.write(unit * UNIT, &[2]),
                        3 => file.unmap(unit_pages(unit)),
                        _ => lose(map),
                    }
                }
            });
            for storer in storers {
                storer.join().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        file.punch(0);
        file.punch(1);
    }
    lost.into_inner()
}

#[test]
fn racing_stores_stay() {
    if engine().is_some() {
        assert_eq!(race(|_| ()), 0);
    }
}

#[test]
fn canary_dropped_copies_are_noticed() {
    if engine().is_some() {
        assert_ne!(race(|map| map.discard(unit_pages(0))), 0);
    }
}

#[test]
fn refused_where_pages_cannot_be_mapped_alone() {
    let Some(engine) = engine() else { return };
    let options = BackingOptions { granularity: UNIT, len: UNIT, ..BackingOptions::default() };
    let backing = Backing::new(engine, memory(1), options).unwrap();
    let spec = MapSpec { pages: unit_pages(0), writable: true, private: true };
    let refused = LinuxMap::new(engine, std::sync::Arc::new(backing), spec);
    assert_eq!(refused.err(), Some(MapError::Unsupported(UNIT)));
}

const CHILD: &str = "LIMPID_TEST_SEGV";

#[test]
fn other_segmentation_faults_still_end_the_process() {
    let Some(engine) = engine() else { return };
    if let Some(kind) = std::env::var_os(CHILD) {
        let file = TestFile::new(engine, 8);
        let map = file.map(PageRange::new(0, 2), true, true);
        map.store_u64(0, 1).unwrap();
        // SAFETY: the process is here to die by the store.
        unsafe {
            if kind == "foreign" {
                std::ptr::without_provenance_mut::<u8>(8).write_volatile(1);
            }
            // The program's own protection, not ours: must not be tried for ever.
            let flags = rustix::mm::MprotectFlags::READ;
            rustix::mm::mprotect(map.as_ptr().cast(), 4096, flags).unwrap();
            map.as_ptr().write_volatile(1);
        }
        return;
    }
    for kind in ["foreign", "own"] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "other_segmentation_faults_still_end_the_process"])
            .env(CHILD, kind)
            .output()
            .unwrap();
        assert_eq!(child.status.signal(), Some(11), "{kind}: {child:?}");
    }
}
