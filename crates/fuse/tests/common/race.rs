//! Words of one file that several parties change at once, and the check that no change is ever
//! missed by anybody.
//!
//! Each word of the file has one owner, who stores ever larger numbers in it. The owner notes the
//! number in shared memory before it begins (`begun`) and after it has finished (`done`). Whoever
//! reads the word must see at least what was done before the read began, and at most what was
//! begun when it ended: each word is linearizable, whatever path it is changed and read by.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::kernel_map::KernelMap;

/// Words per page and party; neighbours in a page have different owners.
pub const WORDS: usize = 48;
/// Pages of the file.
pub const PAGES: usize = 4;
/// Length of the file in bytes.
pub const LEN: usize = PAGES * 4096;

/// So many changes that were missed are told.
const MOST_TOLD: u32 = 8;
static TOLD: AtomicU32 = AtomicU32::new(0);

/// What the parties know of each other: for each word what was begun, then what was done.
pub struct Notes(KernelMap);

impl Notes {
    /// Length in bytes.
    pub const LEN: usize = 2 * WORDS * 8;

    pub fn open(path: &str) -> Notes {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        Notes(KernelMap::new(&file, Notes::LEN))
    }

    fn begun(word: usize) -> usize {
        word * 8
    }

    fn done(word: usize) -> usize {
        (WORDS + word) * 8
    }

    /// Changes a word by `change`.
    pub fn change(&self, word: usize, value: u64, change: impl FnOnce(u64)) {
        self.0.store(Notes::begun(word), value);
        change(value);
        self.0.store(Notes::done(word), value);
    }

    /// Reads a word by `read`; 1 if that missed a change, else 0. A change that is missed is told,
    /// with the path `by` which the word was read.
    pub fn missed(&self, word: usize, by: &str, read: impl FnOnce() -> u64) -> u64 {
        let least = self.0.load(Notes::done(word));
        let seen = read();
        let most = self.0.load(Notes::begun(word));
        let is_missed = !(least..=most).contains(&seen);
        if is_missed && TOLD.fetch_add(1, Ordering::Relaxed) < MOST_TOLD {
            let owner = ["the library", "a call", "a map"][word % 3];
            eprintln!("word {word} of {owner}, by {by}: {seen} of {least} to {most}");
        }
        u64::from(is_missed)
    }
}

/// Byte of the file at which a word lies: neighbouring words share a page.
pub fn place(word: usize) -> usize {
    (word % PAGES) * 4096 + (word / PAGES) * 8
}

/// The words of a party out of three.
pub fn owned(party: usize) -> impl Iterator<Item = usize> {
    (0..WORDS).filter(move |word| word % 3 == party)
}

fn read_word(file: &File, at: usize) -> u64 {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at as u64).unwrap();
    u64::from_ne_bytes(bytes)
}

/// The program's part: party 1 writes by calls, party 2 stores through a map, and both look at all
/// words by both paths. The number of changes that were missed.
pub fn run_program(words: &[&str]) -> u64 {
    let [path, notes, rounds] = words else { panic!("race PATH NOTES ROUNDS") };
    let rounds: u64 = rounds.parse().unwrap();
    let open = || OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (file, notes) = (open(), Notes::open(notes));
    let map = KernelMap::new(&file, LEN);
    std::thread::scope(|scope| {
        let parties = [1, 2].map(|party| {
            let (file, map, notes) = (&file, &map, &notes);
            scope.spawn(move || {
                let mut missed = 0;
                for value in 1..=rounds {
                    for word in owned(party) {
                        let at = place(word);
                        notes.change(word, value, |value| match party {
                            1 => file.write_all_at(&value.to_ne_bytes(), at as u64).unwrap(),
                            _ => map.store(at, value),
                        });
                    }
                    for word in 0..WORDS {
                        let at = place(word);
                        missed += match (word as u64 + value) % 2 {
                            0 => notes.missed(word, "a call", || read_word(file, at)),
                            _ => notes.missed(word, "a map", || map.load(at)),
                        };
                    }
                }
                missed
            })
        });
        parties.into_iter().map(|party| party.join().unwrap()).sum()
    })
}
