//! Values by position, run-length coded: 2 MiB units cost as little as single pages.

use core::ops::Range;
use std::hash::{Hash, Hasher};

use crate::memo::Memo;

/// A value for each position of `0..len`. Neighbours of equal value share a run.
#[derive(Clone, Debug)]
pub(crate) struct Runs<V> {
    /// (first position, value), sorted; the first run begins at 0, no two neighbours are equal.
    runs: Vec<(u32, V)>,
    len: u32,
    /// Of the runs.
    memo: Memo,
}

impl<V: Copy + Eq> Runs<V> {
    pub fn new(len: u32, value: V) -> Self {
        Runs { runs: vec![(0, value)], len, memo: Memo::default() }
    }

    /// Sets every position to `value`.
    pub fn reset(&mut self, value: V) {
        self.memo.forget();
        self.runs.clear();
        self.runs.push((0, value));
    }

    fn at(&self, position: u32) -> usize {
        self.runs.partition_point(|run| run.0 <= position) - 1
    }

    pub fn get(&self, position: u32) -> V {
        assert!(position < self.len, "position {position} lies in 0..{}", self.len);
        self.runs[self.at(position)].1
    }

    /// Sets `range` to `value`.
    pub fn fill(&mut self, range: Range<u32>, value: V) {
        assert!(range.end <= self.len, "{range:?} lies in 0..{}", self.len);
        if range.is_empty() {
            return;
        }
        let last = self.at(range.end - 1);
        let first = self.at(range.start);
        let behind = self.runs[last].1;
        if first == last && behind == value {
            return;
        }
        self.memo.forget();
        let behind_start = self.runs.get(last + 1).map_or(self.len, |run| run.0);
        let mut new = [(0, value); 3];
        let mut count = 0;
        let before = first.checked_sub(1).map(|at| self.runs[at].1);
        let head = self.runs[first];
        if head.0 < range.start {
            new[count] = head;
            count += 1;
        }
        let left = if count > 0 { Some(head.1) } else { before };
        if left != Some(value) {
            new[count] = (range.start, value);
            count += 1;
        }
        let mut stop = last + 1;
        if range.end < behind_start {
            if behind != value {
                new[count] = (range.end, behind);
                count += 1;
            }
        } else if self.runs.get(stop).is_some_and(|run| run.1 == value) {
            stop += 1;
        }
        self.runs.splice(first..stop, new[..count].iter().copied());
    }

    /// The runs within `range`.
    pub fn within(&self, range: Range<u32>) -> impl Iterator<Item = (Range<u32>, V)> + '_ {
        let first = if range.is_empty() { self.runs.len() } else { self.at(range.start) };
        (first..self.runs.len()).map_while(move |at| {
            let (start, value) = self.runs[at];
            let end = self.runs.get(at + 1).map_or(self.len, |run| run.0).min(range.end);
            let start = start.max(range.start);
            (start < end).then_some((start..end, value))
        })
    }

    /// All runs.
    pub fn iter(&self) -> impl Iterator<Item = (Range<u32>, V)> + '_ {
        self.within(0..self.len)
    }
}

impl<V: Hash> Hash for Runs<V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let hash = self.memo.hash(|hasher| self.runs.hash(hasher));
        state.write_u64(hash);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use rustc_hash::FxBuildHasher;

    use super::*;

    #[test]
    fn agrees_with_an_array() {
        let mut runs = Runs::new(40, 0u8);
        let mut array = [0u8; 40];
        let hash = |runs: &Runs<u8>| FxBuildHasher.hash_one(runs);
        let mut seed = 0x1234_5678u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (a, b, v) = ((seed >> 33) % 41, (seed >> 40) % 41, (seed >> 50) % 3);
            let range = a.min(b) as u32..a.max(b) as u32;
            runs.fill(range.clone(), v as u8);
            array[range.start as usize..range.end as usize].fill(v as u8);
            for (at, value) in array.iter().enumerate() {
                assert_eq!(runs.get(at as u32), *value);
            }
            let mut anew = runs.clone();
            anew.memo.forget();
            assert_eq!(hash(&runs), hash(&anew), "the kept hash is that of the runs");
            assert!(runs.runs.windows(2).all(|pair| pair[0].1 != pair[1].1));
            assert_eq!(
                runs.within(range.clone()).map(|run| run.0.len()).sum::<usize>(),
                range.len()
            );
        }
    }
}
