//! Races on real page tables: two threads meet at one page, thousands of times. Each race returns
//! how many rounds ended with a byte that the coherence contract forbids. The same races run
//! against the protocol as it is (no round may fail) and with one step left out (some must).

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use limpid::{File, Map, MapOptions, Pool};

use super::rng::Rng;
use super::{HUGE, PAGE, byte};

/// Lets two threads start at the same moment, over and over.
pub struct Meeting {
    arrived: AtomicUsize,
}

impl Meeting {
    pub fn new() -> Meeting {
        Meeting { arrived: AtomicUsize::new(0) }
    }

    /// Waits for the other thread; `turn` counts the meetings from 1. On one processor the
    /// yields let the other come.
    pub fn meet(&self, turn: usize) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        let mut spins = 0u32;
        while self.arrived.load(Ordering::SeqCst) < 2 * turn {
            spins += 1;
            if spins.is_multiple_of(1000) {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
}

fn pause(rng: &mut Rng) {
    for _ in 0..rng.below(4) * rng.below(4) * rng.below(600) {
        std::hint::spin_loop();
    }
}

/// Runs `left` and `right` at the same time, `rounds` times, then `check`; counts failed checks.
/// `prepare` and `check` run alone. Stops early once `enough` rounds have failed.
pub fn race(
    rounds: usize,
    seed: u64,
    enough: usize,
    prepare: impl Fn(usize) + Sync,
    left: impl Fn(usize) + Sync,
    right: impl Fn(usize) + Sync,
    check: impl Fn(usize) -> bool + Sync,
) -> usize {
    let meeting = Meeting::new();
    let stop = AtomicUsize::new(usize::MAX);
    let mut failed = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = Rng::new(seed ^ 1);
            for round in 0..rounds {
                meeting.meet(3 * round + 1);
                if stop.load(Ordering::SeqCst) <= round {
                    break;
                }
                meeting.meet(3 * round + 2);
                pause(&mut rng);
                right(round);
                meeting.meet(3 * round + 3);
            }
        });
        let mut rng = Rng::new(seed);
        for round in 0..rounds {
            if failed >= enough {
                stop.store(round, Ordering::SeqCst);
            } else {
                prepare(round);
            }
            meeting.meet(3 * round + 1);
            if failed >= enough {
                break;
            }
            meeting.meet(3 * round + 2);
            pause(&mut rng);
            left(round);
            meeting.meet(3 * round + 3);
            failed += usize::from(!check(round));
        }
    });
    failed
}

const UNITS: usize = 16;

/// A file of holes with a map for loads and one for stores.
struct Field {
    file: File,
    load: Map,
    store: Map,
}

impl Field {
    fn new(pool: &Pool, name: &str) -> Field {
        let file = File::create(pool, name).unwrap();
        file.set_len((UNITS * HUGE) as u64).unwrap();
        let load = MapOptions::new().map(&file).unwrap();
        let store = MapOptions::new().write(true).map(&file).unwrap();
        Field { file, load, store }
    }

    /// Where round `round` plays; units are used in turn and made holes again before.
    fn at(&self, round: usize) -> usize {
        (round % UNITS) * HUGE + (round % 7) * PAGE
    }

    fn clear(&self, round: usize) {
        let unit = (round % UNITS) * HUGE;
        self.file.punch_hole(unit as u64, HUGE as u64).unwrap();
    }
}

/// A load fault on a hole meets a write into it: afterwards the map shows the write.
pub fn load_fault_meets_write(pool: &Pool, rounds: usize, enough: usize, seed: u64) -> usize {
    let field = Field::new(pool, "/load-write");
    race(
        rounds,
        seed,
        enough,
        |round| field.clear(round),
        |round| _ = byte(&field.load, field.at(round)),
        |round| _ = field.file.write_at(&[7], field.at(round) as u64).unwrap(),
        |round| byte(&field.load, field.at(round)) == 7,
    )
}

/// A store fault on a hole meets a load fault through another map: afterwards both show the
/// store.
pub fn store_fault_meets_load_fault(pool: &Pool, rounds: usize, enough: usize, seed: u64) -> usize {
    let field = Field::new(pool, "/store-load");
    race(
        rounds,
        seed,
        enough,
        |round| field.clear(round),
        |round| field.store.write(field.at(round), &[9]).unwrap(),
        |round| _ = byte(&field.load, field.at(round)),
        |round| {
            let at = field.at(round);
            byte(&field.load, at) == 9 && byte(&field.store, at) == 9
        },
    )
}

/// Two store faults on one hole, at different bytes: no store is lost.
pub fn two_store_faults(pool: &Pool, rounds: usize, enough: usize, seed: u64) -> usize {
    let field = Field::new(pool, "/store-store");
    let second = MapOptions::new().write(true).map(&field.file).unwrap();
    race(
        rounds,
        seed,
        enough,
        |round| field.clear(round),
        |round| field.store.write(field.at(round), &[1]).unwrap(),
        |round| second.write(field.at(round) + 100, &[2]).unwrap(),
        |round| {
            let at = field.at(round);
            let mut bytes = [0; 101];
            field.file.read_at(&mut bytes, at as u64).unwrap();
            (bytes[0], bytes[100]) == (1, 2) && byte(&field.load, at + 100) == 2
        },
    )
}

/// A store fault meets a write to other bytes of the same hole page: neither loses the other's.
pub fn store_fault_meets_write(pool: &Pool, rounds: usize, enough: usize, seed: u64) -> usize {
    let field = Field::new(pool, "/store-write");
    race(
        rounds,
        seed,
        enough,
        |round| field.clear(round),
        |round| field.store.write(field.at(round) + 3000, &[3]).unwrap(),
        |round| _ = field.file.write_at(&[4; 64], field.at(round) as u64).unwrap(),
        |round| {
            let at = field.at(round);
            byte(&field.store, at + 3000) == 3 && byte(&field.load, at) == 4
        },
    )
}

/// A fault on data meets a punch of it; another file then takes the freed blocks. Afterwards the
/// map shows zeroes: neither the old bytes nor the other file's (C3).
pub fn fault_meets_punch(pool: &Pool, rounds: usize, enough: usize, seed: u64) -> usize {
    let field = Field::new(pool, "/punch");
    let other = File::create(pool, "/punch-other").unwrap();
    race(
        rounds,
        seed,
        enough,
        |round| {
            other.set_len(0).unwrap();
            field.clear(round);
            field.file.write_at(&[5; PAGE], page_of(&field, round)).unwrap();
        },
        |round| _ = byte(&field.load, field.at(round)),
        |round| field.file.punch_hole(page_of(&field, round), PAGE as u64).unwrap(),
        |round| {
            other.write_at(&[0xee; 4 * PAGE], 0).unwrap();
            byte(&field.load, field.at(round)) == 0
        },
    )
}

fn page_of(field: &Field, round: usize) -> u64 {
    (field.at(round) / PAGE * PAGE) as u64
}

/// Loads meet a truncate; another file takes the blocks; the file grows again. No load shows the
/// other file's bytes, and at the end the page shows zero (C3, C5).
pub fn fault_meets_truncate(pool: &Pool, rounds: usize, enough: usize, seed: u64) -> usize {
    let file = File::create(pool, "/truncate").unwrap();
    file.set_len(HUGE as u64).unwrap();
    let map = file.map().unwrap();
    let other = File::create(pool, "/truncate-other").unwrap();
    let foreign = AtomicUsize::new(0);
    let look = || {
        let mut byte = [0];
        if map.read(3 * PAGE, &mut byte).is_ok() && byte[0] == 0xee {
            foreign.fetch_add(1, Ordering::SeqCst);
        }
    };
    let failed = race(
        rounds,
        seed,
        enough,
        |_| {
            other.set_len(0).unwrap();
            file.set_len(HUGE as u64).unwrap();
            file.write_at(&[6; 4 * PAGE], 0).unwrap();
        },
        |_| (0..20).for_each(|_| look()),
        |_| {
            file.set_len(PAGE as u64).unwrap();
            other.write_at(&[0xee; 8 * PAGE], 0).unwrap();
        },
        |_| {
            let past_end = map.read(3 * PAGE, &mut [0]).is_err();
            file.set_len(HUGE as u64).unwrap();
            past_end && byte(&map, 3 * PAGE) == 0
        },
    );
    failed + foreign.load(Ordering::SeqCst)
}

/// A map that showed SIGBUS past the end shows data once the file has grown by a write: to safe
/// calls, and to system calls, which see the page tables as they are.
pub fn growth_is_seen(pool: &Pool, rounds: usize) -> usize {
    let file = File::create(pool, "/growth").unwrap();
    file.set_len((64 * PAGE) as u64).unwrap();
    let map = file.map().unwrap();
    let (mut out, mut back) = std::io::pipe().map(|(back, out)| (out, back)).unwrap();
    let mut failed = 0;
    for round in 0..rounds {
        file.set_len(0).unwrap();
        let at = (round % 60 + 1) * PAGE;
        // SAFETY: only the kernel reads the byte, for which the map's page may be missing.
        let bytes = unsafe { std::slice::from_raw_parts(map.as_ptr().add(at), 1) };
        assert!(map.read(at, &mut [0]).is_err(), "past the end");
        assert!(out.write_all(bytes).is_err(), "past the end");
        file.write_at(&[8], at as u64).unwrap();
        let mut byte = [0];
        let seen = out.write_all(bytes).and_then(|()| back.read_exact(&mut byte));
        failed += usize::from(seen.is_err() || byte[0] != 8);
        failed += usize::from(map.read(at, &mut byte).is_err() || byte[0] != 8);
    }
    failed
}
