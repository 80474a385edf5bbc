//! Goal: whatever the trait `Media` says is durable after any sequence of calls is durable. That is
//! what crash tests rely on: they take it from the log of a [`Recorder`].
//! Method: random calls, typed records among them, on a recorder over a region over instructions
//! that keep account. The log is read by the words of the trait; the account must agree.

use core::ops::Range;

use super::Random;
use super::emulated::{Account, BUGS, Bug, Emulated, LEN, PERSISTENT, region};
use crate::media::{Durability, Media, MediaError, Persist};
use crate::persist;
use crate::recorder::{Event, Op, Recorder};
use crate::region::Region;

/// A region as a medium.
struct Bench(Region<Emulated>);

impl Media for Bench {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn granularity(&self) -> u64 {
        4096
    }

    fn durability(&self) -> Durability {
        Durability::Power
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.0.read(at, into)
    }

    fn write(&self, at: u64, from: &[u8], persist: Persist) -> Result<(), MediaError> {
        self.0.write(at, from, persist)
    }

    fn zero(&self, range: Range<u64>, persist: Persist) -> Result<(), MediaError> {
        self.0.zero(range, persist)
    }

    fn copy(&self, from: u64, to: u64, len: u64, persist: Persist) -> Result<(), MediaError> {
        self.0.copy(from, to, len, persist)
    }

    fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        self.0.load_u64(at)
    }

    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        self.0.store_u64(at, value)
    }

    fn flush(&self, range: Range<u64>) {
        self.0.flush(range);
    }

    fn fence(&self) {
        self.0.fence();
    }

    fn sync(&self, _: Range<u64>) -> Result<(), MediaError> {
        Ok(())
    }
}

/// How far a byte is on its way, by the words of the trait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Stored,
    Flushed,
    Durable,
}

fn follow(ways: &mut [Way], log: Vec<Event>) {
    for event in log {
        match event.op {
            Op::Store { at, bytes } => ways[at as usize..][..bytes.len()].fill(Way::Stored),
            Op::Flush(range) => {
                for way in &mut ways[range.start as usize..range.end as usize] {
                    if *way == Way::Stored {
                        *way = Way::Flushed;
                    }
                }
            }
            Op::Fence => ways.iter_mut().filter(|way| **way == Way::Flushed).for_each(|way| {
                *way = Way::Durable;
            }),
            Op::Sync(_) => {}
        }
    }
}

fn step(media: &Recorder<Bench>, random: &mut Random) -> Result<(), MediaError> {
    let limit = random.of(&[16, 80, 300, 3000]);
    let len = random.below(limit);
    let at = random.below(LEN - len);
    let range = at as u64..(at + len) as u64;
    let bytes = vec![random.below(256) as u8; len];
    let persist = random.of(&[Persist::Yes, Persist::No]);
    match random.below(9) {
        0 => media.write(range.start, &bytes, persist)?,
        1 => media.zero(range, persist)?,
        2 => {
            let from = random.below(LEN - len);
            if from.abs_diff(at) >= len {
                media.copy(from as u64, range.start, len as u64, persist)?;
            }
        }
        3 => media.store_u64(range.start & !7, len as u64)?,
        4 => media.flush(range),
        5 => media.fence(),
        6 => _ = persist::store(media, range.start, &bytes, ())?.flush().fence(),
        7 => {
            let word = persist::store_u64(media, range.start & !7, 1, ())?.flush();
            _ = word.and(persist::store_through(media, range.start, &bytes, ())?).fence();
        }
        _ => drop(persist::store(media, range.start, &bytes, ())?.flush()),
    }
    Ok(())
}

/// Makes random calls until the account disagrees with the words; the number of calls until then.
fn disagree(bug: Option<Bug>, calls: usize) -> Option<usize> {
    let mut random = Random::new();
    let (region, account): (_, &Account) = region(PERSISTENT, bug);
    let media = Recorder::new(Bench(region));
    let mut ways = vec![Way::Durable; LEN];
    (0..calls).find(|_| {
        step(&media, &mut random).unwrap();
        follow(&mut ways, media.take());
        let lines = account.state().lines.clone();
        let at = |way: Way, at: usize| match way {
            Way::Durable => lines.durable(at..at + 1),
            Way::Flushed => lines.on_its_way(at..at + 1),
            Way::Stored => true,
        };
        !ways.iter().enumerate().all(|(byte, way)| at(*way, byte))
    })
}

#[test]
fn what_a_recorder_tells_is_what_the_processor_is_told() {
    assert_eq!(disagree(None, 20_000), None);
}

#[test]
fn every_planted_bug_is_told() {
    for bug in BUGS {
        let told = disagree(Some(bug), 20_000);
        eprintln!("{bug:?}: after {told:?} calls");
        assert!(told.is_some(), "nobody noticed {bug:?}");
    }
}
