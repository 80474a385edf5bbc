//! What a power loss may leave: for each aligned word of 8 bytes, any of the values it had since
//! the last one that is known to be on the medium.
//!
//! A store adds a value to its word. A flush remembers how many values the word has; the next
//! fence of the same thread makes the last of those the oldest that a crash can leave. A word that
//! is not flushed may have been evicted from the caches at any time, so all its values are
//! possible. Words do not wait for each other, not even within a cache line: non-temporal stores
//! give no more than that.

use std::thread::ThreadId;

use limpid_pmem::{Event, Op};
use rustc_hash::FxHashMap;

use super::scratch::Scratch;

/// A word that may be lost.
pub(crate) struct Word {
    /// Device offset, a multiple of 8.
    pub at: u64,
    /// The values it had since the one on the medium, the oldest first.
    pub values: Vec<u64>,
    /// Flushes that no fence has followed yet: whose, and how many values there were.
    flushed: Vec<(ThreadId, usize)>,
}

/// All words that may be lost, in the order of their first store. What is known to be on the
/// medium lies in a [`Scratch`].
#[derive(Default)]
pub(crate) struct Pending {
    words: Vec<Word>,
    index: FxHashMap<u64, usize>,
}

impl Pending {
    /// The words.
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// Takes one event of the log. `settle` is told of each word that is on the medium for sure
    /// from now on, with its value, and has to store it in `scratch`.
    pub fn event(&mut self, event: &Event, scratch: &Scratch, settle: &mut dyn FnMut(u64, u64)) {
        match &event.op {
            Op::Store { at, bytes } => self.store(*at, bytes, scratch),
            Op::Flush(range) => {
                let first = range.start / 8 * 8;
                for at in (first..range.end).step_by(8) {
                    if let Some(index) = self.index.get(&at) {
                        let word = &mut self.words[*index];
                        word.flushed.push((event.thread, word.values.len()));
                    }
                }
            }
            Op::Fence => self.fence(event.thread, settle),
            Op::Sync(_) => {}
        }
    }

    fn store(&mut self, at: u64, bytes: &[u8], scratch: &Scratch) {
        let end = at + bytes.len() as u64;
        let mut word_at = at / 8 * 8;
        while word_at < end {
            let index = *self.index.entry(word_at).or_insert_with(|| {
                self.words.push(Word { at: word_at, values: Vec::new(), flushed: Vec::new() });
                self.words.len() - 1
            });
            let word = &mut self.words[index];
            let old = word.values.last().copied().unwrap_or_else(|| scratch.word(word_at));
            let mut value = old.to_le_bytes();
            let (start, stop) = (at.max(word_at), end.min(word_at + 8));
            value[(start - word_at) as usize..(stop - word_at) as usize]
                .copy_from_slice(&bytes[(start - at) as usize..(stop - at) as usize]);
            word.values.push(u64::from_le_bytes(value));
            word_at += 8;
        }
    }

    fn fence(&mut self, thread: ThreadId, settle: &mut dyn FnMut(u64, u64)) {
        let words = std::mem::take(&mut self.words);
        self.index.clear();
        for mut word in words {
            let mine = word.flushed.iter().filter(|(whose, _)| *whose == thread);
            let settled = mine.map(|(_, count)| *count).max().unwrap_or(0);
            if settled > 0 {
                settle(word.at, word.values[settled - 1]);
                word.values.drain(..settled);
                word.flushed.retain(|(_, count)| *count > settled);
                word.flushed.iter_mut().for_each(|(_, count)| *count -= settled);
            }
            if !word.values.is_empty() {
                self.index.insert(word.at, self.words.len());
                self.words.push(word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words with the values they may have.
    type Left = Vec<(u64, Vec<u64>)>;

    fn settled(ops: &[Op]) -> (Vec<(u64, u64)>, Left) {
        let scratch = Scratch::new(vec![0; 4096]);
        let mut pending = Pending::default();
        let mut settled = Vec::new();
        let thread = std::thread::current().id();
        for op in ops {
            let event = Event { thread, op: op.clone() };
            pending.event(&event, &scratch, &mut |at, value| settled.push((at, value)));
        }
        let left = pending.words().iter().map(|word| (word.at, word.values.clone())).collect();
        (settled, left)
    }

    fn store(at: u64, value: u64) -> Op {
        Op::Store { at, bytes: value.to_le_bytes().into() }
    }

    #[test]
    fn only_what_was_flushed_before_the_fence_settles() {
        let ops =
            [store(8, 1), store(8, 2), store(16, 3), Op::Flush(8..16), store(8, 4), Op::Fence];
        assert_eq!(settled(&ops), (vec![(8, 2)], vec![(8, vec![4]), (16, vec![3])]));
        assert_eq!(settled(&ops[..5]).0, []);
        assert_eq!(settled(&ops[..5]).1[0], (8, vec![1, 2, 4]));
    }

    #[test]
    fn a_store_across_words_is_several_pieces() {
        let ops = [Op::Store { at: 6, bytes: [0xff; 4].into() }];
        let (_, left) = settled(&ops);
        assert_eq!(left, [(0, vec![0xffff << 48]), (8, vec![0xffff])]);
    }

    #[test]
    fn another_threads_fence_settles_nothing() {
        let scratch = Scratch::new(vec![0; 4096]);
        let mut pending = Pending::default();
        let other = std::thread::spawn(|| std::thread::current().id()).join().unwrap();
        let mine = std::thread::current().id();
        for (thread, op) in [(mine, store(8, 1)), (mine, Op::Flush(8..16)), (other, Op::Fence)] {
            pending.event(&Event { thread, op }, &scratch, &mut |_, _| panic!("not fenced"));
        }
        assert_eq!(pending.words().len(), 1);
    }
}
