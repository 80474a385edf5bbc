//! Goal: on a device that maps only in units of 2 MiB, what owns whole units is mapped and agrees
//! with read and write; what does not is refused with the reason, and nothing else suffers.
//!
//! Method: pools on those media of `LIMPID_TEST_MEDIA` that have such units; each other medium is
//! passed over.

mod common;

use common::{HUGE, PAGE, byte, maps_work};
use limpid::{Error, File, MapOptions, Pool, PoolOptions};

fn coarse_pools() -> Vec<Pool> {
    let mut pools = common::named_pools(&PoolOptions::new(), 64 << 20);
    pools.retain(|pool| pool.info().medium_line.contains("2048 KiB units"));
    if pools.is_empty() {
        eprintln!("skipped: LIMPID_TEST_MEDIA names no device with units of 2 MiB");
    }
    pools
}

#[test]
fn whole_units_are_mapped_and_agree() {
    if !maps_work() {
        return;
    }
    for pool in coarse_pools() {
        let file = File::create(&pool, "/whole").unwrap();
        file.write_all_at(&vec![1; 3 * HUGE], 0).unwrap();
        let (read, write) = common::both_maps(&file);
        for at in [0, HUGE + 5, 3 * HUGE - 1] {
            assert_eq!((byte(&read, at), byte(&write, at)), (1, 1));
            write.write(at, &[2]).unwrap();
            file.write_at(&[3], at as u64 ^ 8).unwrap();
            assert_eq!((byte(&read, at), byte(&read, at ^ 8), byte(&write, at ^ 8)), (2, 3, 3));
        }
        let sizes = write.page_sizes().unwrap().sizes;
        assert_eq!(sizes.storage_huge, 3 * HUGE as u64, "{sizes:?}");
        write.flush(0..3 * HUGE).unwrap();
        file.punch_hole(HUGE as u64, HUGE as u64).unwrap();
        assert_eq!((byte(&read, HUGE + 5), byte(&write, 2 * HUGE)), (0, 1));
        // A store into the hole takes a whole unit again.
        write.write(HUGE + 9, &[4]).unwrap();
        assert_eq!((byte(&read, HUGE + 9), byte(&read, HUGE + 5)), (4, 0));
        drop((read, write));
        assert_eq!(pool.check().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn a_punch_inside_a_unit_keeps_the_rest() {
    if !maps_work() {
        return;
    }
    for pool in coarse_pools() {
        let file = File::create(&pool, "/punched").unwrap();
        file.write_all_at(&vec![1; HUGE], 0).unwrap();
        let (read, write) = common::both_maps(&file);
        assert_eq!((byte(&read, 0), byte(&write, PAGE)), (1, 1));
        file.punch_hole(PAGE as u64, PAGE as u64).unwrap();
        // The unit is no longer whole; its other bytes are still the file's.
        let error = read.read(0, &mut [0]).unwrap_err();
        assert!(matches!(error, Error::Granularity { at: 0, .. }), "{error}");
        let mut bytes = vec![9; 3 * PAGE];
        file.read_at(&mut bytes, 0).unwrap();
        assert!(bytes[..PAGE].iter().chain(&bytes[2 * PAGE..]).all(|byte| *byte == 1));
        assert!(bytes[PAGE..2 * PAGE].iter().all(|byte| *byte == 0));
        drop((read, write));
        assert_eq!(pool.check().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn what_shares_a_unit_is_refused_with_the_reason() {
    if !maps_work() {
        return;
    }
    for pool in coarse_pools() {
        let file = File::create(&pool, "/small").unwrap();
        file.write_all_at(&vec![1; 2 * PAGE], 0).unwrap();
        let (read, write) = common::both_maps(&file);
        let refused = [read.read(0, &mut [0]), write.write(5, &[2])];
        for error in refused.map(Result::unwrap_err) {
            assert!(matches!(error, Error::Granularity { .. }), "{error}");
            assert!(!error.to_string().contains('\n'));
        }
        let mut bytes = vec![0; 2 * PAGE];
        file.read_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 1));
        let error = MapOptions::new().write(true).private(true).map(&file).unwrap_err();
        assert!(error.to_string().contains("private"), "{error}");
    }
}
