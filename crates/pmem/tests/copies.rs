//! Goal: what is stored is what is read, and nothing beside it changes, for every length and
//! alignment near the edges of the routines, and at random.
//! Method: a plain byte array does the same; both are compared whole. On memory with and without
//! persistence and on the heap, so that cached and non-temporal paths run.

use limpid_pmem::{Media, MediaError, Medium, OpenOptions, Persist, VecMedia};

const SIZE: usize = 256 << 10;

fn media() -> Vec<(&'static str, Box<dyn Media>)> {
    let memory = |assume_persistent| {
        let options = OpenOptions { assume_persistent, ..OpenOptions::default() };
        Box::new(Medium::memory(SIZE as u64, &options).unwrap())
    };
    vec![
        ("memory", memory(false)),
        ("persistent memory", memory(true)),
        ("heap", Box::new(VecMedia::new(SIZE as u64))),
    ]
}

/// xorshift64*: small, and good enough to pick offsets.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % below
    }
}

fn contents(media: &dyn Media) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    media.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn every_short_length_at_every_alignment() {
    let source: Vec<u8> = (0..1024_u32).map(|i| (i % 251) as u8 + 1).collect();
    for (name, media) in media() {
        for len in (0..300).chain([511, 512, 513, 767]) {
            for shift in [0, 1, 3, 8, 15, 16, 31, 33, 63] {
                let at = 4096 - 200 + shift;
                let mut expected = vec![0xEE; 2048];
                media.write(at - 512, &expected, Persist::No).unwrap();
                expected[512..512 + len].copy_from_slice(&source[shift as usize..][..len]);
                media.write(at, &source[shift as usize..][..len], Persist::Yes).unwrap();
                media.fence();
                let mut found = vec![0; 2048];
                media.read(at - 512, &mut found).unwrap();
                assert_eq!(found, expected, "{name}: write of {len} at {at}");

                expected[512..512 + len].fill(0);
                media.zero(at..at + len as u64, Persist::Yes).unwrap();
                media.fence();
                // Read in two parts, so that odd lengths are read too.
                let (first, second) = found.split_at_mut(512 + len / 2);
                media.read(at - 512, first).unwrap();
                media.read(at + len as u64 / 2, second).unwrap();
                assert_eq!(found, expected, "{name}: zero of {len} at {at}");
            }
        }
    }
}

#[test]
fn random_operations_agree_with_an_array() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_170_504);
    eprintln!("SEED={seed}");
    for (name, media) in media() {
        let mut random = Random(seed);
        let mut model = vec![0; SIZE];
        for round in 0..3000 {
            let limit = [16, 300, 5000, 70_000][random.next(4)];
            let len = random.next(limit);
            let at = random.next(SIZE - len);
            let persist = if random.next(2) == 0 { Persist::Yes } else { Persist::No };
            match random.next(4) {
                0 => {
                    let bytes: Vec<u8> = (0..len).map(|i| (i + round) as u8).collect();
                    media.write(at as u64, &bytes, persist).unwrap();
                    model[at..at + len].copy_from_slice(&bytes);
                }
                1 => {
                    media.zero(at as u64..(at + len) as u64, persist).unwrap();
                    model[at..at + len].fill(0);
                }
                2 => {
                    let from = random.next(SIZE - len);
                    if from.abs_diff(at) >= len {
                        media.copy(from as u64, at as u64, len as u64, persist).unwrap();
                        model.copy_within(from..from + len, at);
                    }
                }
                _ => {
                    let at = at & !7;
                    media.store_u64(at as u64, round as u64).unwrap();
                    model[at..at + 8].copy_from_slice(&(round as u64).to_ne_bytes());
                    assert_eq!(media.load_u64(at as u64), Ok(round as u64));
                }
            }
            media.flush(at as u64..(at + len) as u64);
            media.fence();
            if round % 100 == 0 {
                assert!(contents(&*media) == model, "{name}: round {round}");
            }
        }
        assert!(contents(&*media) == model, "{name}: at the end");
    }
}

#[test]
fn ranges_outside_are_refused() {
    let size = SIZE as u64;
    for (name, media) in media() {
        for (at, len) in [(size, 1), (size - 1, 2), (u64::MAX, 1), (u64::MAX - 3, 8), (size + 9, 0)]
        {
            let refused = Err(MediaError::OutOfRange { at, len, size });
            assert_eq!(media.read(at, &mut vec![0; len as usize]), refused, "{name}");
            assert_eq!(media.write(at, &vec![0; len as usize], Persist::No), refused, "{name}");
            assert_eq!(media.copy(at, 0, len, Persist::No), refused, "{name}");
            assert_eq!(media.copy(0, at, len, Persist::No), refused, "{name}");
            if let Some(end) = at.checked_add(len) {
                assert_eq!(media.zero(at..end, Persist::No), refused, "{name}");
            }
            // Has no way to tell, and must do no harm.
            media.flush(at..u64::MAX);
        }
        let last = Err(MediaError::OutOfRange { at: size, len: 8, size });
        assert_eq!(media.load_u64(size), last.map(|()| 0));
        assert_eq!(media.store_u64(size, 1), last);
        assert_eq!(media.read(size, &mut []), Ok(()), "{name}: nothing at the end is something");
        assert_eq!(media.sync(0..size), Ok(()), "{name}");
        assert!(media.sync(0..size + 1).is_err(), "{name}");
    }
}

/// Stores of 4 MiB and more go round the caches where there are huge pages; other threads must see
/// them at once all the same.
#[test]
fn large_stores_are_seen_by_other_threads() {
    let medium = Medium::memory(16 << 20, &OpenOptions::default()).unwrap();
    let bytes: Vec<u8> = (0..5_000_001_u32).map(|i| (i % 253) as u8 + 1).collect();
    let mut expected = vec![0; 12 << 20];
    for at in [0, 1, 64, 4095] {
        medium.write(at, &bytes, Persist::No).unwrap();
        expected[at as usize..][..bytes.len()].copy_from_slice(&bytes);
        medium.zero(at + 100..at + 4_500_077, Persist::No).unwrap();
        expected[at as usize..][100..4_500_077].fill(0);
        medium.copy(at, 6 << 20, bytes.len() as u64, Persist::No).unwrap();
        expected.copy_within(at as usize..at as usize + bytes.len(), 6 << 20);
        let found = std::thread::scope(|scope| {
            let read = || {
                let mut found = vec![0; expected.len()];
                medium.read(0, &mut found).unwrap();
                found
            };
            scope.spawn(read).join().unwrap()
        });
        assert!(found == expected, "at {at}");
    }
}

#[test]
fn words_never_tear() {
    let media = Medium::memory(4096, &OpenOptions::default()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200_000_u64 {
                let half = round & 0xFFFF_FFFF;
                media.store_u64(64, half << 32 | half).unwrap();
            }
        });
        scope.spawn(|| {
            for _ in 0..200_000 {
                let word = media.load_u64(64).unwrap();
                assert_eq!(word >> 32, word & 0xFFFF_FFFF);
            }
        });
    });
}
