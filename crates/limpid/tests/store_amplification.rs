//! Goal: a store through a map into a hole takes what it stores to, where that is the choice;
//! stores that follow one another fault seldom all the same; and what lies ahead at most doubles
//! what the file has.
//! Method: blocks and faults counted after stores in several orders, with each store unit chosen
//! for the pool and for a map; contents against what was stored.

mod common;

use common::*;
use limpid::{File, MapOptions, Pool, PoolOptions, StoreUnit};

const LEN: usize = 16 << 20;

fn pool(unit: StoreUnit) -> Pool {
    PoolOptions::new().store_unit(unit).memory(64 << 20).unwrap()
}

fn file(pool: &Pool, name: &str) -> File {
    let file = File::create(pool, name).unwrap();
    file.set_len(LEN as u64).unwrap();
    file
}

fn blocks(file: &File) -> u64 {
    file.metadata().unwrap().blocks
}

#[test]
fn scattered_stores_take_a_page_each() {
    if !maps_work() {
        return;
    }
    let pool = pool(StoreUnit::Page);
    let file = file(&pool, "/file");
    let map = file.map_mut().unwrap();
    for at in (0..LEN).step_by(HUGE) {
        assert_eq!(map.load_u64(at + HUGE / 2).unwrap(), 0);
        map.store_u64(at + HUGE / 2, 1).unwrap();
    }
    let with_tree = |pages| pages..=pages + 8;
    assert!(with_tree(8).contains(&blocks(&file)), "{} blocks", blocks(&file));
    // Before what is there, and in front of each other.
    for at in (0..HUGE / 2).step_by(PAGE).rev() {
        map.store_u64(at, 2).unwrap();
    }
    assert!(with_tree(8 + 256).contains(&blocks(&file)), "{} blocks", blocks(&file));
    assert_eq!(map.load_u64(HUGE / 2).unwrap(), 1);
    assert!(pool.check().unwrap().is_empty());
}

#[test]
fn stores_in_order_fault_seldom() {
    if !maps_work() {
        return;
    }
    let pool = pool(StoreUnit::Page);
    let file = file(&pool, "/file");
    let map = file.map_mut().unwrap();
    let mut most = 0;
    for (stored, at) in (0..LEN).step_by(PAGE).enumerate() {
        map.store_u64(at, at as u64).unwrap();
        let taken = blocks(&file);
        assert!(taken <= 2 * (stored as u64 + 1), "{taken} blocks for {} stores", stored + 1);
        most = taken.max(most);
    }
    assert_eq!(most, (LEN / PAGE) as u64);
    let faults = file.dax_stats().faults;
    assert!(faults < 40, "{faults} faults for 8 units");
    for at in (0..LEN).step_by(PAGE) {
        assert_eq!(map.load_u64(at).unwrap(), at as u64);
    }
    drop(map);
    let mut bytes = vec![0; LEN];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes.chunks(8).enumerate().all(|(at, word)| {
        let wanted = if at * 8 % PAGE == 0 { at as u64 * 8 } else { 0 };
        word == wanted.to_ne_bytes()
    }));
    assert!(pool.check().unwrap().is_empty());
}

#[test]
fn the_choice_is_the_pools_and_each_maps() {
    if !maps_work() {
        return;
    }
    for unit in [StoreUnit::Page, StoreUnit::Huge] {
        let pool = pool(unit);
        let taken = |name: &str, chosen: Option<StoreUnit>| {
            let file = file(&pool, name);
            let mut options = MapOptions::new();
            options.write(true);
            if let Some(chosen) = chosen {
                options.store_unit(chosen);
            }
            options.map(&file).unwrap().store_u64(0, 1).unwrap();
            blocks(&file)
        };
        let of_pool = if unit == StoreUnit::Page { 1 } else { 512 };
        assert_eq!(taken("/pool", None), of_pool);
        assert_eq!(taken("/page", Some(StoreUnit::Page)), 1);
        assert_eq!(taken("/huge", Some(StoreUnit::Huge)), 512);
    }
}

#[test]
fn nothing_is_taken_ahead_where_that_is_the_choice() {
    if !maps_work() {
        return;
    }
    let options = PoolOptions::new().store_unit(StoreUnit::Page).store_ahead(0);
    let pool = options.memory(64 << 20).unwrap();
    let file = file(&pool, "/file");
    let map = file.map_mut().unwrap();
    for (stored, at) in (0..HUGE).step_by(PAGE).enumerate() {
        map.store_u64(at, 1).unwrap();
        assert_eq!(blocks(&file), stored as u64 + 1);
    }
}
