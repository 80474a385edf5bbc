//! Goal: where the file system that holds a pool's file is full, changes are refused with "no
//! space", told as what it is; all that was written stays, and can be read; and when there is room
//! again the pool goes on, without being opened anew.
//!
//! Method: sparse pools on small file systems of the host, which are filled.

mod common;

use std::io;

use common::small_disk::{KINDS, SmallDisk};
use limpid::{Error, File, Pool, PoolOptions};

/// Larger than the disk.
const SIZE: u64 = 128 << 20;

fn with_each_kind(test: impl Fn(&SmallDisk, Pool)) {
    for kind in KINDS {
        let Some(disk) = SmallDisk::new(kind) else { continue };
        eprintln!("on {kind}");
        let pool = Pool::create(disk.path("pool"), SIZE).unwrap();
        pool.write("/before", &[7; 100_000]).unwrap();
        test(&disk, pool);
    }
}

/// The host is told to be full, and nothing else.
fn is_full(error: Error) {
    assert!(error.host_is_full(), "{error:?}");
    assert_eq!(error.errno(), 28, "ENOSPC: {error}");
    assert!(error.to_string().contains("disk that holds the pool's file is full"), "{error}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::StorageFull);
}

/// All is well with the pool and with what was written.
fn in_order(pool: &Pool) {
    assert_eq!(pool.read("/before").unwrap(), [7; 100_000]);
    assert_eq!(pool.info().stopped_at, None);
    assert_eq!(pool.check().unwrap(), Vec::<String>::new());
}

#[test]
fn writes_fail_as_long_as_the_host_is_full() {
    with_each_kind(|disk, pool| {
        disk.fill();
        for round in 0..3 {
            is_full(pool.write(format!("/{round}"), &[1; 1 << 20]).unwrap_err());
            in_order(&pool);
        }
        assert_eq!(pool.statfs().unwrap().available >> 8, 0, "less than a MiB is left");
        disk.make_room();
        for round in 0..3 {
            pool.write(format!("/{round}"), &[2; 1 << 20]).unwrap();
            assert_eq!(pool.read(format!("/{round}")).unwrap(), [2; 1 << 20]);
        }
        pool.sync().unwrap();
        in_order(&pool);
    });
}

#[test]
fn names_are_made_until_their_tree_finds_no_room() {
    with_each_kind(|disk, pool| {
        disk.fill();
        let name = |number: u32| format!("/{number:0200}");
        // Each new node of a tree wants a page of the host.
        let made = (0..100_000).find_map(|number| {
            File::create(&pool, name(number)).err().map(|error| (number, error))
        });
        let (number, error) = made.expect("the host's room ends");
        is_full(error);
        is_full(File::create(&pool, name(number)).unwrap_err());
        in_order(&pool);
        // What frees space is possible, and what was made is there.
        for number in 0..number {
            pool.remove_file(name(number)).unwrap();
        }
        in_order(&pool);
        disk.make_room();
        for number in 0..2 * number {
            File::create(&pool, name(number)).unwrap();
        }
        in_order(&pool);
    });
}

#[test]
fn who_only_reads_needs_no_room() {
    with_each_kind(|disk, pool| {
        File::create(&pool, "/hole").unwrap().set_len(8 << 20).unwrap();
        drop(pool);
        disk.fill();
        for _ in 0..2 {
            let pool = PoolOptions::new().read_only(true).open(disk.path("pool")).unwrap();
            in_order(&pool);
            assert_eq!(pool.read("/hole").unwrap(), vec![0; 8 << 20]);
            drop(pool);
            let pool = Pool::open(disk.path("pool")).unwrap();
            in_order(&pool);
            is_full(pool.write("/more", &[1; 1 << 20]).unwrap_err());
        }
        disk.make_room();
        let pool = Pool::open(disk.path("pool")).unwrap();
        pool.write("/more", &[1; 1 << 20]).unwrap();
        in_order(&pool);
    });
}

#[test]
fn a_pool_that_finds_no_room_is_not_made() {
    for kind in KINDS {
        let Some(disk) = SmallDisk::new(kind) else { continue };
        disk.fill();
        is_full(Pool::create(disk.path("new"), SIZE).unwrap_err());
    }
}
