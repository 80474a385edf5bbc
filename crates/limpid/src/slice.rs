//! The one unsafe door: a map as a slice.
#![allow(unsafe_code)]

use crate::map::Map;

impl Map {
    /// The map's bytes as a slice.
    ///
    /// # Safety
    /// As long as the slice lives nobody may change the bytes: no store through any map, no write,
    /// truncate or punch of the range, in this process or another. And no load of a byte past the
    /// end of the file's last page may be made: it raises SIGBUS.
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: the map reserves `len` readable bytes as long as `self` lives; that they do not
        // change is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// The map's bytes as a mutable slice.
    ///
    /// # Safety
    /// As for [`as_slice`](Map::as_slice), and the map must take stores, and nobody else may read
    /// the bytes while the slice lives.
    pub unsafe fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr(), self.len()) }
    }
}
