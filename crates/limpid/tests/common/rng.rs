//! Random numbers with a seed that is printed, so that a failure can be run again.

/// xorshift64*: small, and good enough to choose operations.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From `LIMPID_SEED` if set, else from the clock; printed either way.
    pub fn announced(test: &str) -> Rng {
        let seed = match std::env::var("LIMPID_SEED") {
            Ok(text) => text.parse().expect("LIMPID_SEED is a number"),
            Err(_) => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |since| since.as_nanos() as u64 | 1),
        };
        eprintln!("{test}: run again with LIMPID_SEED={seed}");
        Rng::new(seed)
    }

    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}
