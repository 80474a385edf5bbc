//! A medium under blocks that differ: a pool opened read-only while its journal still has work.

use std::ops::Range;
use std::sync::Arc;

use limpid_pmem::{Durability, Media, MediaError, Persist};

use crate::layout::BLOCK;
use crate::recovery::Blocks;

/// Shows `blocks` instead of what the medium holds there. Changes are refused by its user.
pub(crate) struct Overlay {
    pub media: Arc<dyn Media>,
    pub blocks: Blocks,
}

impl Media for Overlay {
    fn len(&self) -> u64 {
        self.media.len()
    }

    fn granularity(&self) -> u64 {
        self.media.granularity()
    }

    fn durability(&self) -> Durability {
        self.media.durability()
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.media.read(at, into)?;
        let end = at + into.len() as u64;
        for (block, bytes) in self.blocks.range(at / BLOCK..end.div_ceil(BLOCK)) {
            let (start, stop) = (at.max(block * BLOCK), end.min((block + 1) * BLOCK));
            let part = &bytes[(start - block * BLOCK) as usize..(stop - block * BLOCK) as usize];
            into[(start - at) as usize..(stop - at) as usize].copy_from_slice(part);
        }
        Ok(())
    }

    fn write(&self, at: u64, from: &[u8], persist: Persist) -> Result<(), MediaError> {
        self.media.write(at, from, persist)
    }

    fn zero(&self, range: Range<u64>, persist: Persist) -> Result<(), MediaError> {
        self.media.zero(range, persist)
    }

    fn copy(&self, from: u64, to: u64, len: u64, persist: Persist) -> Result<(), MediaError> {
        self.media.copy(from, to, len, persist)
    }

    fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        self.media.load_u64(at)
    }

    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        self.media.store_u64(at, value)
    }

    fn flush(&self, range: Range<u64>) {
        self.media.flush(range);
    }

    fn fence(&self) {
        self.media.fence();
    }

    fn sync(&self, range: Range<u64>) -> Result<(), MediaError> {
        self.media.sync(range)
    }
}
