//! Goal: threads that work on disjoint bytes of shared pages never lose or see each other's bytes.
//!
//! Method: 4 threads own every fourth 64-byte line of a file; each mixes writes, reads, stores and
//! loads through two maps, with punches of whole units by nobody; each checks its own bytes after
//! every operation, and all bytes are compared at the end.

mod common;

use common::rng::Rng;
use common::{HUGE, maps_work};
use limpid::{File, MapOptions, Pool};

const LINE: usize = 64;
const THREADS: usize = 4;

fn worker(file: &File, maps: &[limpid::Map; 2], number: usize, seed: u64, ops: usize) -> Vec<u8> {
    let lines = file.len() as usize / LINE / THREADS;
    let mut own = vec![0u8; lines * LINE];
    let mut rng = Rng::new(seed + number as u64);
    for _ in 0..ops {
        let line = rng.below(lines as u64) as usize;
        let at = (line * THREADS + number) * LINE;
        let mine = &mut own[line * LINE..(line + 1) * LINE];
        let map = &maps[rng.below(2) as usize];
        let mut got = [0; LINE];
        match rng.below(4) {
            0 => {
                mine.fill(rng.next() as u8);
                file.write_at(mine, at as u64).unwrap();
            }
            1 => {
                mine.fill(rng.next() as u8);
                map.write(at, mine).unwrap();
            }
            2 => {
                file.read_at(&mut got, at as u64).unwrap();
                assert_eq!(got, *mine, "read of line {line} by thread {number}, seed {seed}");
            }
            _ => {
                map.read(at, &mut got).unwrap();
                assert_eq!(got, *mine, "load of line {line} by thread {number}, seed {seed}");
            }
        }
    }
    own
}

fn run(pool: &Pool, seed: u64, rounds: usize) {
    for round in 0..rounds {
        let file = File::create(pool, "/threads").unwrap();
        file.set_len((2 * HUGE) as u64).unwrap();
        let map = || MapOptions::new().write(true).map(&file).unwrap();
        let maps = [map(), map()];
        let seed = seed.wrapping_add(round as u64);
        let owned: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let (file, maps) = (&file, &maps);
            let start = |number| scope.spawn(move || worker(file, maps, number, seed, 20_000));
            let threads: Vec<_> = (0..THREADS).map(start).collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread failed")).collect()
        });
        let mut whole = vec![0; 2 * HUGE];
        file.read_at(&mut whole, 0).unwrap();
        for (at, line) in whole.chunks(LINE).enumerate() {
            let own = &owned[at % THREADS][at / THREADS * LINE..][..LINE];
            assert_eq!(line, own, "line {at} at the end, seed {seed}");
        }
    }
    assert_eq!(pool.check().unwrap(), Vec::<String>::new());
}

#[test]
fn four_threads_on_disjoint_bytes_of_shared_pages() {
    if !maps_work() {
        return;
    }
    let seed = Rng::announced("threads").next();
    for (pool, _guard) in common::pools(64 << 20) {
        run(&pool, seed, 6);
    }
    run(&common::plain_pool(64 << 20), seed, 6);
}
