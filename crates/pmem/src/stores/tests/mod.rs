//! What of a medium is durable after which fence.
//!
//! Bytes that are not written back read like those that are, so no test that reads can tell. Here
//! every instruction that reaches a medium is taken account of, byte by byte ([`Lines`]), in two
//! ways: [`emulated`] puts an account below the code that decides what to store how, so that each
//! length at each alignment is looked at; [`stepped`] steps through the machine code itself, which
//! is slow, and looks at samples of the same. Each has bugs planted below it that it must tell.

mod emulated;
mod sequences;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod stepped;
mod sweep;

use core::ops::Range;

use crate::arch::LINE;

/// The account of one cache line: a bit for each byte that is not durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    /// Stored, and in the caches only.
    cached: u64,
    /// Stored round the caches, and not fenced.
    streaming: u64,
    /// Written back, and not fenced.
    written_back: u64,
}

/// The account of the first bytes of a medium: which are durable, and what the others lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lines<const LINES: usize> {
    lines: [Line; LINES],
    /// Write-backs of lines, lines touched by streams, and fences so far.
    pub(super) write_backs: usize,
    pub(super) streams: usize,
    pub(super) fences: usize,
}

impl<const LINES: usize> Lines<LINES> {
    pub(super) const LEN: usize = LINES * LINE;

    /// All durable.
    pub(super) const fn new() -> Self {
        let line = Line { cached: 0, streaming: 0, written_back: 0 };
        Lines { lines: [line; LINES], write_backs: 0, streams: 0, fences: 0 }
    }

    fn change(&mut self, range: Range<usize>, mut change: impl FnMut(&mut Line, u64)) {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at - at % LINE + LINE);
            let bits = (u64::MAX >> (LINE - (end - at))) << (at % LINE);
            change(&mut self.lines[at / LINE], bits);
            at = end;
        }
    }

    pub(super) fn store(&mut self, range: Range<usize>) {
        self.change(range, |line, bits| {
            line.cached |= bits;
            line.streaming &= !bits;
            line.written_back &= !bits;
        });
    }

    pub(super) fn stream(&mut self, range: Range<usize>) {
        let mut lines = 0;
        self.change(range, |line, bits| {
            lines += 1;
            line.cached &= !bits;
            line.streaming |= bits;
            line.written_back &= !bits;
        });
        self.streams += lines;
    }

    /// Of the one line that holds the byte.
    pub(super) fn write_back(&mut self, at: usize) {
        let line = &mut self.lines[at / LINE];
        line.written_back |= line.cached;
        line.cached = 0;
        self.write_backs += 1;
    }

    pub(super) fn fence(&mut self) {
        for line in &mut self.lines {
            line.streaming = 0;
            line.written_back = 0;
        }
        self.fences += 1;
    }

    fn any(&self, range: Range<usize>, of: impl Fn(&Line) -> u64) -> bool {
        let lines = range.start / LINE..range.end.div_ceil(LINE).min(LINES);
        lines.into_iter().any(|index| {
            let from = range.start.saturating_sub(index * LINE);
            let to = (range.end - index * LINE).min(LINE);
            let bits = if from < to { (u64::MAX >> (LINE - (to - from))) << from } else { 0 };
            of(&self.lines[index]) & bits != 0
        })
    }

    /// Whether nothing of the range is in the caches only.
    pub(super) fn on_its_way(&self, range: Range<usize>) -> bool {
        !self.any(range, |line| line.cached)
    }

    /// Whether nothing of the range waits for anything.
    pub(super) fn durable(&self, range: Range<usize>) -> bool {
        !self.any(range, |line| line.cached | line.streaming | line.written_back)
    }

    /// Whether other threads see all that was stored.
    pub(super) fn seen_by_all(&self) -> bool {
        !self.any(0..Self::LEN, |line| line.streaming)
    }
}

/// xorshift64*: small, and good enough to pick offsets.
pub(super) struct Random(u64);

impl Random {
    /// From `LIMPID_SEED`, or else from one that is always the same. Printed.
    pub(super) fn new() -> Random {
        let seed = std::env::var("LIMPID_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(20_261_128);
        eprintln!("LIMPID_SEED={seed}");
        Random(seed)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }

    pub(super) fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}
