//! Which of the words that may be lost are lost: all choices if they are few, else a sample.

use std::time::Duration;

/// How many states are built at one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Points with no more states than this are searched through all of them.
    pub exhaustive: u64,
    /// How many states of another point are looked at.
    pub samples: u64,
    /// Every how many states the recovery itself is crashed.
    pub recoveries: u64,
    /// How many states of each point of such a recovery are looked at.
    pub recovery_samples: u64,
}

impl Bound {
    /// For a million states in a few minutes.
    pub const CI: Bound =
        Bound { exhaustive: 256, samples: 160, recoveries: 100, recovery_samples: 40 };
    /// For a look at every workload.
    pub const QUICK: Bound =
        Bound { exhaustive: 64, samples: 40, recoveries: 100, recovery_samples: 40 };
    /// As much as some workloads can be looked at in about this time on two processors.
    pub fn for_time(time: Duration, workloads: usize) -> Bound {
        // A state takes about 100 us of one processor; a workload has some ten points.
        let states = time.as_micros() as u64 / 50;
        let samples = (states / (workloads.max(1) as u64 * 10)).clamp(20, 20_000);
        Bound { exhaustive: samples * 3 / 2, samples, ..Bound::CI }
    }

    /// For planted bugs.
    pub const CANARY: Bound =
        Bound { exhaustive: 64, samples: 60, recoveries: 10, recovery_samples: 30 };
}

/// A small generator of numbers that look random (SplitMix64).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}

/// Spreads the bits of a number over all of the result.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// One choice per word: 0 for the value on the medium, else the number of one of its later values.
pub(crate) type Choice = Vec<u8>;

/// Number of states, if it is not above `bound`.
pub(crate) fn states(counts: &[u8], bound: u64) -> Option<u64> {
    counts.iter().try_fold(1_u64, |all, count| {
        all.checked_mul(u64::from(*count) + 1).filter(|all| *all <= bound)
    })
}

/// All choices, in order.
pub(crate) fn all(counts: &[u8]) -> impl Iterator<Item = Choice> {
    let mut next = Some(vec![0; counts.len()]);
    std::iter::from_fn(move || {
        let current = next.take()?;
        let mut following = current.clone();
        for (choice, count) in following.iter_mut().zip(counts) {
            if *choice < *count {
                *choice += 1;
                next = Some(following);
                break;
            }
            *choice = 0;
        }
        Some(current)
    })
}

/// A sample of about `len` choices: nothing lost, all lost, a single word lost, a single word kept,
/// everything from some store on lost, everything before it lost, and random ones.
pub(crate) fn sample(counts: &[u8], len: u64, random: &mut Random) -> Vec<Choice> {
    let words = counts.len();
    let mut list: Vec<Choice> = vec![counts.to_vec(), vec![0; words]];
    let each = (len / 6).clamp(1, words as u64) as usize;
    for turn in 0..each {
        // Every word in turn while there are enough turns, else one of each stretch.
        let stretch = words as u64 / each as u64;
        let index = turn * words / each + random.below(stretch.max(1)) as usize;
        let index = index.min(words - 1);
        let mut without = counts.to_vec();
        without[index] = random.below(u64::from(counts[index])) as u8;
        let mut only = vec![0; words];
        only[index] = 1 + random.below(u64::from(counts[index])) as u8;
        let mut prefix = counts.to_vec();
        prefix[index..].fill(0);
        let mut suffix = counts.to_vec();
        suffix[..index].fill(0);
        list.extend([without, only, prefix, suffix]);
    }
    while (list.len() as u64) < len {
        let percent = [3, 20, 50, 80, 97][random.below(5) as usize];
        let pick = |count: &u8| match random.below(100) < percent {
            true => 1 + random.below(u64::from(*count)) as u8,
            false => 0,
        };
        list.push(counts.iter().map(pick).collect());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_choices_are_made_once() {
        let counts = [1, 2, 1];
        let mut found: Vec<Choice> = all(&counts).collect();
        assert_eq!(states(&counts, 12), Some(12));
        assert_eq!(states(&counts, 11), None);
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 12);
        assert_eq!(all(&[]).collect::<Vec<Choice>>(), [Choice::new()]);
    }

    #[test]
    fn samples_are_choices() {
        let counts: Vec<u8> = (0..100).map(|word| 1 + word % 3).collect();
        let list = sample(&counts, 300, &mut Random::new(1));
        assert!(list.len() >= 300 && list.len() < 320);
        for choice in list {
            assert!(choice.iter().zip(&counts).all(|(choice, count)| choice <= count));
        }
    }
}
