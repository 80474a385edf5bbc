//! Threads that race on one file, with every byte checked.
//!
//! Each thread owns every fourth line of 64 bytes, so it alone knows what its lines must hold,
//! while all threads share pages, maps and 2 MiB units. One unit is punched again and again by its
//! only user, so that holes, zero pages and freed blocks take part.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use limpid::{File, Map, MapOptions};

const UNIT: usize = 2 << 20;
const LINE: usize = 64;
const THREADS: usize = 4;

/// What the race found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Operations done.
    pub ops: u64,
    /// Bytes that were not what they had to be.
    pub stale: u64,
}

/// Races on `file`, which is given a size of its own, for `time`.
pub fn run(file: &File, time: Duration) -> limpid::Result<Outcome> {
    file.set_len(((2 + THREADS) * UNIT) as u64)?;
    let maps = [file.map()?, MapOptions::new().write(true).map(file)?];
    let end = Instant::now() + time;
    let (ops, stale) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let mut racer = Racer {
                    file,
                    maps: &maps,
                    number,
                    own: vec![0; 2 * UNIT / THREADS],
                    state: 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1),
                };
                let (ops, stale) = (&ops, &stale);
                scope.spawn(move || -> limpid::Result<()> {
                    while Instant::now() < end {
                        stale.fetch_add(racer.shared_lines()?, Ordering::Relaxed);
                        stale.fetch_add(racer.own_unit()?, Ordering::Relaxed);
                        ops.fetch_add(64 + 6, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })?;
    Ok(Outcome { ops: ops.into_inner(), stale: stale.into_inner() })
}

struct Racer<'a> {
    file: &'a File,
    maps: &'a [Map; 2],
    number: usize,
    own: Vec<u8>,
    state: u64,
}

impl Racer<'_> {
    fn random(&mut self, below: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as usize % below
    }

    /// 64 operations on this thread's lines of the shared units; returns wrong bytes.
    fn shared_lines(&mut self) -> limpid::Result<u64> {
        let mut stale = 0;
        for _ in 0..64 {
            let line = self.random(self.own.len() / LINE);
            let at = (line * THREADS + self.number) * LINE;
            let mut bytes = [0; LINE];
            let kind = self.random(4);
            match kind {
                0 | 1 => {
                    bytes.fill(self.random(255) as u8 + 1);
                    self.own[line * LINE..][..LINE].copy_from_slice(&bytes);
                    if kind == 0 {
                        self.file.write_all_at(&bytes, at as u64)?;
                    } else {
                        self.maps[1].write(at, &bytes)?;
                    }
                }
                2 => self.file.read_exact_at(&mut bytes, at as u64)?,
                _ => self.maps[self.number % 2].read(at, &mut bytes)?,
            }
            let own = &self.own[line * LINE..][..LINE];
            stale += bytes.iter().zip(own).filter(|(got, want)| got != want).count() as u64;
        }
        Ok(stale)
    }

    /// Hole, zero page, write or store, look through both maps, punch: on a unit of its own.
    fn own_unit(&mut self) -> limpid::Result<u64> {
        let at = (2 + self.number) * UNIT + self.random(UNIT / 8) * 8;
        let value = self.state | 1;
        let mut stale = 0;
        let mut expect = |got: u64, want: u64| stale += if got == want { 0 } else { 8 };
        expect(self.maps[0].load_u64(at)?, 0);
        expect(self.maps[1].load_u64(at)?, 0);
        if value & 2 == 0 {
            self.file.write_all_at(&value.to_ne_bytes(), at as u64)?;
        } else {
            self.maps[1].store_u64(at, value)?;
        }
        expect(self.maps[0].load_u64(at)?, value);
        expect(self.maps[1].load_u64(at)?, value);
        self.file.punch_hole(((2 + self.number) * UNIT) as u64, UNIT as u64)?;
        Ok(stale)
    }
}
