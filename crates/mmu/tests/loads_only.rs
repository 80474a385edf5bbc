//! Goal: a store that could have no storage raises SIGBUS, one of a system call fails with EFAULT;
//! loads of the page go on, whatever it showed before; and stores work when there is storage.
//! Method: a file that is full for a while. Stores of the guarded kind and of system calls, in this
//! process; a store through a pointer, in a child that has to die by SIGBUS.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use common::*;
use limpid_dax::{Mmu, PageRange, Target};
use limpid_mmu::{AccessError, LinuxMap};
use rustix::io::Errno;

/// Has a system call store 8 bytes.
fn read_into(map: &LinuxMap, offset: usize) -> Result<usize, Errno> {
    let (from, to) = rustix::pipe::pipe().unwrap();
    rustix::io::write(&to, &7u64.to_ne_bytes()).unwrap();
    // SAFETY: the bytes lie in the live map; the kernel stores to them, or fails with EFAULT.
    unsafe { rustix::io::read(&from, std::slice::from_raw_parts_mut(map.as_ptr().add(offset), 8)) }
}

#[test]
fn refused_stores_leave_the_page_to_loads() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    let map = file.map(PageRange::new(0, 2 * UNIT_PAGES), true, false);
    file.set_full(true);
    // The first unit shows zero pages already, the second nothing.
    assert_eq!(map.load_u64(0), Ok(0));
    for offset in [4096, UNIT as usize + 4096] {
        for _ in 0..3 {
            assert_eq!(map.store_u64(offset, 1), Err(AccessError::Bus));
            assert_eq!(map.fetch_add_u64(offset, 1), Err(AccessError::Bus));
            assert_eq!(map.compare_exchange_u64(offset, 0, 1), Err(AccessError::Bus));
            assert_eq!(read_into(&map, offset), Err(Errno::FAULT));
            for around in [offset - 4096, offset, offset + 4096] {
                assert_eq!(map.load_u64(around), Ok(0), "{around}");
            }
        }
    }
    // The rest of the life of such a page: replaced, unmapped, given up, closed.
    let storage = Target::Storage { device: 0, writable: true };
    for target in [Target::Zero, Target::Poison, Target::LoadsOnly, storage] {
        map.install(PageRange::new(3, 6), Target::LoadsOnly).unwrap();
        map.install(PageRange::new(4, 5), target).unwrap();
        assert_eq!((map.load_u64(3 * 4096), map.load_u64(5 * 4096)), (Ok(0), Ok(0)));
        map.unmap(PageRange::new(0, UNIT_PAGES));
        assert_eq!(map.load_u64(4 * 4096), Ok(0));
    }
    drop(map);
    assert_eq!(file.read_u64(4096), 0, "nothing was stored");
}

#[test]
fn stores_work_when_there_is_storage() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    let map = file.map(PageRange::new(0, 2 * UNIT_PAGES), true, false);
    let give_up = Instant::now() + Duration::from_secs(20);
    for unit in 0..2 {
        let offset = unit * UNIT as usize + 4096;
        file.set_full(true);
        assert_eq!(map.store_u64(offset, 1), Err(AccessError::Bus));
        file.set_full(false);
        while map.store_u64(offset, 2).is_err() {
            assert!(Instant::now() < give_up, "the page stays refused");
        }
        assert_eq!((map.load_u64(offset), file.read_u64(offset as u64)), (Ok(2), 2));
    }
}

/// Many threads store to refused pages of several maps while these are unmapped: whoever moves
/// pages waits for the thread that ends refusals, and that one never for a map.
#[test]
fn nobody_hangs() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    let maps = [0; 3].map(|_| file.map(PageRange::new(0, UNIT_PAGES), true, false));
    file.set_full(true);
    let end = Instant::now() + Duration::from_millis(300);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (maps, file) = (&maps, &file);
            scope.spawn(move || {
                let mut random = Random::new(seed() + number);
                while Instant::now() < end {
                    let map = &maps[random.below(3) as usize];
                    let offset = random.below(UNIT_PAGES) as usize * 4096;
                    assert_eq!(map.store_u64(offset, 1), Err(AccessError::Bus));
                    assert_eq!(map.load_u64(offset), Ok(0));
                    if random.below(8) == 0 {
                        let page = random.below(UNIT_PAGES - 8);
                        file.unmap(PageRange::new(page, page + 8));
                    }
                }
            });
        }
    });
}

const CHILD: &str = "LIMPID_TEST_STORE_WITHOUT_STORAGE";

#[test]
fn a_store_through_a_pointer_is_sigbus() {
    let Some(engine) = engine() else { return };
    if std::env::var_os(CHILD).is_some() {
        let file = TestFile::new(engine, 8);
        file.set_full(true);
        let map = file.map(PageRange::new(0, 2), true, false);
        // SAFETY: the page lies in the live map; the process is here to die by the store.
        unsafe {
            assert_eq!(map.as_ptr().read_volatile(), 0);
            map.as_ptr().write_volatile(1);
        }
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_store_through_a_pointer_is_sigbus"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert_eq!(child.status.signal(), Some(7), "{child:?}");
}
