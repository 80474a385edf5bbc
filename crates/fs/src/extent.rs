//! A run of blocks of a file, as it is kept in maps and on the medium.

use crate::layout::Geometry;

/// Pages of a file on consecutive blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// First page of the file.
    pub page: u64,
    /// Number of pages.
    pub len: u64,
    /// First block.
    pub block: u64,
    /// Never written: reads as zeroes.
    pub unwritten: bool,
}

const UNWRITTEN: u64 = 1 << 63;

impl Run {
    pub const EMPTY: Run = Run { page: 0, len: 0, block: 0, unwritten: false };

    /// Page after the last.
    pub fn end(&self) -> u64 {
        self.page + self.len
    }

    /// The part in `start..end`, which must overlap the run.
    pub fn clip(&self, start: u64, end: u64) -> Run {
        let first = self.page.max(start);
        let len = self.end().min(end) - first;
        Run { page: first, len, block: self.block + (first - self.page), ..*self }
    }

    /// True if `next` continues this run, in the file and on the medium.
    pub fn joins(&self, next: &Run) -> bool {
        self.end() == next.page
            && self.block + self.len == next.block
            && self.unwritten == next.unwritten
    }

    /// Block, with the flag "unwritten" in bit 63, and length: the value beside the key `page`.
    pub fn value(&self) -> [u8; 16] {
        let flag = if self.unwritten { UNWRITTEN } else { 0 };
        let mut value = [0; 16];
        value[..8].copy_from_slice(&(self.block | flag).to_le_bytes());
        value[8..].copy_from_slice(&self.len.to_le_bytes());
        value
    }

    /// Checks and decodes what [`value`](Run::value) made.
    pub fn decode(page: u64, value: &[u8], geometry: &Geometry) -> Result<Run, &'static str> {
        let value: &[u8; 16] = value.try_into().map_err(|_| "an extent of impossible length")?;
        let (block, len) = value.split_at(8);
        let word = u64::from_le_bytes(block.try_into().expect("8 bytes"));
        let len = u64::from_le_bytes(len.try_into().expect("8 bytes"));
        let block = word & !UNWRITTEN;
        if !geometry.is_data(block, len) {
            return Err("an extent outside the data area");
        }
        if page.checked_add(len).is_none_or(|end| end > crate::layout::MAX_PAGES) {
            return Err("an extent past the largest file");
        }
        Ok(Run { page, len, block, unwritten: word & UNWRITTEN != 0 })
    }
}
