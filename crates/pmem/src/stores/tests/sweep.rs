//! Goal: whatever is stored through, and whatever is flushed, is durable after the next fence, for
//! every length up to a page at every alignment; and nothing is written back or waited for in vain.
//! Method: a region over instructions that keep account; eight planted bugs are told.

use core::ops::Range;

use super::Random;
use super::emulated::{Account, BUGS, Bug, Emulated, LEN, PERSISTENT, region};
use crate::arch::LINE;
use crate::media::{MediaError, Persist};
use crate::region::{Mode, Region};

/// The ways to store a range.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Write,
    Zero,
    Copy,
}

const KINDS: [Kind; 3] = [Kind::Write, Kind::Zero, Kind::Copy];

/// Where every range begins, less than a line further on.
const START: usize = 2 * LINE;

fn store(region: &Region<Emulated>, kind: Kind, range: Range<usize>, persist: Persist) {
    let (at, len) = (range.start as u64, range.len() as u64);
    let stored = match kind {
        Kind::Write => region.write(at, &[7; LEN][..range.len()], persist),
        Kind::Zero => region.zero(at..at + len, persist),
        Kind::Copy => region.copy(at.next_multiple_of(8) + 4096, at, len, persist),
    };
    assert_eq!(stored, Ok(()));
}

/// What is wrong with one store of a range, if anything is.
fn wrong(
    region: &Region<Emulated>,
    account: &Account,
    kind: Kind,
    range: Range<usize>,
    persist: Persist,
) -> Option<&'static str> {
    let before = account.state().lines.clone();
    store(region, kind, range.clone(), persist);
    let stored = account.state().lines.clone();
    let touched = match range.is_empty() {
        true => 0,
        false => range.end.div_ceil(LINE) - range.start / LINE,
    };
    let whole = range.end / LINE * LINE;
    let whole = whole.saturating_sub(range.start.next_multiple_of(LINE)) / LINE;
    let streams = if range.len() < LINE { 0 } else { whole };
    if persist == Persist::Yes {
        if !stored.on_its_way(range.clone()) {
            return Some("bytes stored through are not on their way");
        }
        if stored.streams - before.streams != streams {
            return Some("not the whole lines, and only those, go round the caches");
        }
        if stored.write_backs - before.write_backs != touched - streams {
            return Some("not as many write-backs as there are other lines");
        }
    } else {
        if (stored.streams, stored.write_backs) != (before.streams, before.write_backs) {
            return Some("a small store that need not persist left the caches");
        }
        region.flush(range.start as u64..range.end as u64);
        let flushed = account.state().lines.clone();
        if !flushed.on_its_way(range.clone()) {
            return Some("flushed bytes are not on their way");
        }
        if flushed.write_backs - stored.write_backs != touched {
            return Some("not as many write-backs as there are lines");
        }
    }
    if account.state().lines.fences != before.fences {
        return Some("a fence that nobody asked for");
    }
    region.fence();
    let fenced = account.state().lines.clone();
    if !fenced.durable(0..LEN) {
        return Some("something is not durable after a fence");
    }
    (fenced.fences != before.fences + 1).then_some("a fence is not one fence")
}

/// The first case in which something is wrong. `lengths` are per alignment.
fn sweep(
    bug: Option<Bug>,
    lengths: impl Fn(usize) -> Vec<usize>,
) -> Result<usize, (String, &'static str)> {
    let (region, account) = region(PERSISTENT, bug);
    let mut cases = 0;
    for shift in 0..LINE {
        for len in lengths(shift) {
            for kind in KINDS {
                let range = START + shift..START + shift + len;
                for persist in [Persist::Yes, Persist::No] {
                    cases += 1;
                    if let Some(wrong) = wrong(&region, account, kind, range.clone(), persist) {
                        return Err((format!("{kind:?} {range:?} {persist:?}"), wrong));
                    }
                }
            }
        }
    }
    Ok(cases)
}

#[test]
fn every_length_at_every_alignment_is_durable_after_a_fence() {
    let cases = sweep(None, |_| (0..=4096).collect());
    assert_eq!(cases, Ok(LINE * 4097 * KINDS.len() * 2));
}

#[test]
fn every_planted_bug_is_told() {
    for bug in BUGS {
        let told = sweep(Some(bug), |_| vec![0, 8, 64, 200]);
        eprintln!("{bug:?}: {told:?}");
        assert!(told.is_err(), "nobody noticed {bug:?}");
    }
}

#[test]
fn a_flush_reaches_to_the_end_and_no_further() {
    let (region, account) = region(PERSISTENT, None);
    store(&region, Kind::Write, LEN - 70..LEN, Persist::No);
    region.flush((LEN - 70) as u64..u64::MAX);
    region.flush(LEN as u64..u64::MAX);
    region.flush(u64::MAX..u64::MAX);
    assert_eq!(account.state().lines.write_backs, 2);
    region.fence();
    assert!(account.state().lines.durable(0..LEN));
}

#[test]
fn what_survives_no_power_loss_is_neither_written_back_nor_fenced() {
    let mode = Mode { write_through: false, ..PERSISTENT };
    let (region, account) = region(mode, None);
    for kind in KINDS {
        store(&region, kind, 100..1000, Persist::Yes);
        region.flush(100..1000);
        region.fence();
    }
    let lines = account.state().lines.clone();
    assert_eq!((lines.streams, lines.write_backs, lines.fences), (0, 0, 0));
}

/// Whoever is told of an error may give the memory to others without a fence of its own.
#[test]
fn nothing_streams_any_more_after_an_error() {
    let mut random = Random::new();
    let (region, account) = region(PERSISTENT, None);
    for _ in 0..2000 {
        let at = START + random.below(LINE);
        let len = LINE + random.below(1000);
        let lost = at + random.of(&[0, 1, LINE, len / 2, len - 1]);
        account.state().lost = Some(lost);
        let source = [1; 2000];
        let error = Err(MediaError::Io { at: lost as u64 });
        assert_eq!(region.write(at as u64, &source[..len], Persist::Yes), error);
        assert!(account.state().lines.seen_by_all(), "{len} bytes at {at}, byte {lost} is lost");
        assert_eq!(region.zero(at as u64..(at + len) as u64, Persist::Yes), error);
        assert!(account.state().lines.seen_by_all(), "{len} zeroes at {at}, byte {lost} is lost");
    }
}
