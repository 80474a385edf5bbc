//! Loads and stores through plain pointers, the same loop for a Limpid map and for a raw shared
//! mapping. The one place of this crate with `unsafe`: the measured thing is the pointer.
#![allow(unsafe_code)]

/// Memory that a loop may run over: alive and mapped as long as the value is.
pub struct Words<'a> {
    at: *mut u64,
    len: usize,
    _owner: &'a (),
}

impl<'a> Words<'a> {
    /// The bytes of a Limpid map.
    pub fn of_map(map: &'a limpid::Map) -> Words<'a> {
        Words { at: map.as_ptr().cast(), len: map.len() / 8, _owner: &() }
    }

    /// The bytes of a medium that was mapped whole.
    pub fn of_medium(medium: &'a limpid_pmem::Medium) -> Words<'a> {
        let len = limpid_pmem::Media::len(medium) as usize / 8;
        Words { at: medium.as_ptr().cast(), len, _owner: &() }
    }

    /// Loads every word; returns the sum so that nothing is optimised away.
    pub fn sum(&self) -> u64 {
        let mut sum = 0u64;
        for word in 0..self.len {
            // SAFETY: `word` is below the length of memory that the constructor borrowed.
            sum = sum.wrapping_add(unsafe { self.at.add(word).read_volatile() });
        }
        sum
    }

    /// Stores `value` to every word.
    pub fn fill(&self, value: u64) {
        for word in 0..self.len {
            // SAFETY: as in `sum`; the memory takes stores and nobody else uses it meanwhile.
            unsafe { self.at.add(word).write_volatile(value) };
        }
    }
}
