//! The bits of one group of blocks: 32 768 of them, 1 for a block in use.

use zerocopy::{FromBytes, IntoBytes};

use crate::layout::{BLOCK_LEN, GROUP, UNIT};

#[cfg(target_endian = "big")]
compile_error!("bitmaps are kept as little-endian words");

/// Words of a group.
pub(crate) const WORDS: usize = GROUP as usize / 64;
/// Words of a 2 MiB unit.
const UNIT_WORDS: usize = UNIT as usize / 64;

/// The bits of a group.
#[derive(Clone)]
pub(crate) struct Bits(Box<[u64; WORDS]>);

impl Bits {
    /// A group of `len` blocks, all free; bits past its end count as used.
    pub fn new(len: u64) -> Bits {
        let mut bits = Bits(Box::new([0; WORDS]));
        bits.fill(len, GROUP - len, true);
        bits
    }

    /// The bits of a bitmap block.
    pub fn from_bytes(bytes: &[u8; BLOCK_LEN]) -> Bits {
        Bits(Box::new(<[u64; WORDS]>::read_from_bytes(bytes).expect("the sizes agree")))
    }

    /// The bitmap block.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub fn get(&self, bit: u64) -> bool {
        self.0[bit as usize / 64] >> (bit % 64) & 1 == 1
    }

    /// Number of free blocks.
    pub fn free(&self) -> u32 {
        GROUP as u32 - self.0.iter().map(|word| word.count_ones()).sum::<u32>()
    }

    /// The masks of a run of bits, word by word.
    fn masks(first: u64, len: u64) -> impl Iterator<Item = (usize, u64)> {
        let end = first + len;
        let words = if len == 0 { 0..0 } else { first / 64..end.div_ceil(64) };
        words.map(move |word| {
            let low = first.saturating_sub(word * 64).min(63);
            let high = (end - word * 64).min(64);
            (word as usize, (u64::MAX >> (64 - (high - low))) << low)
        })
    }

    /// Sets or clears `len` bits from `first` on.
    pub fn fill(&mut self, first: u64, len: u64, value: bool) {
        for (word, mask) in Bits::masks(first, len) {
            match value {
                true => self.0[word] |= mask,
                false => self.0[word] &= !mask,
            }
        }
    }

    /// True if all `len` bits from `first` on are `value`.
    pub fn all(&self, first: u64, len: u64, value: bool) -> bool {
        Bits::masks(first, len).all(|(word, mask)| {
            let bits = self.0[word] & mask;
            if value { bits == mask } else { bits == 0 }
        })
    }

    /// Free blocks of a 2 MiB unit.
    pub fn free_in_unit(&self, unit: usize) -> u64 {
        let words = &self.0[unit * UNIT_WORDS..(unit + 1) * UNIT_WORDS];
        UNIT - u64::from(words.iter().map(|word| word.count_ones()).sum::<u32>())
    }

    /// The first run of free blocks in `from..end`, cut to `max` blocks: its start and length.
    pub fn free_run(&self, from: u64, end: u64, max: u64) -> Option<(u64, u64)> {
        let start = self.next(from, end, false)?;
        let stop = self.next(start, end.min(start + max), true).unwrap_or(end.min(start + max));
        Some((start, stop - start))
    }

    /// The first bit in `from..end` that is `value`.
    pub fn next(&self, from: u64, end: u64, value: bool) -> Option<u64> {
        let mut at = from;
        while at < end {
            let word = self.0[at as usize / 64];
            let wanted = if value { word } else { !word } >> (at % 64);
            if wanted != 0 {
                let found = at + u64::from(wanted.trailing_zeros());
                return (found < end).then_some(found);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_single_bits() {
        let seed = fastrand::u64(..);
        eprintln!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut bits, mut model) = (Bits::new(GROUP), vec![false; GROUP as usize]);
        for _ in 0..3000 {
            let first = random.u64(..GROUP);
            let len = random.u64(1..=(GROUP - first).min(1200));
            let value = random.bool();
            let part = &mut model[first as usize..(first + len) as usize];
            assert_eq!(bits.all(first, len, true), part.iter().all(|bit| *bit));
            assert_eq!(bits.all(first, len, false), part.iter().all(|bit| !*bit));
            let next = part.iter().position(|bit| *bit == value).map(|at| first + at as u64);
            assert_eq!(bits.next(first, first + len, value), next);
            part.fill(value);
            bits.fill(first, len, value);
        }
        assert_eq!(bits.free() as usize, model.iter().filter(|bit| !**bit).count());
        assert_eq!(Bits::new(700).free(), 700);
        assert_eq!(Bits::new(700).free_in_unit(1), 188);
    }
}
