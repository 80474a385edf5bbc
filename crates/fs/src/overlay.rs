//! A medium under blocks that differ: a pool opened read-only while its journal still has work,
//! or one whose repair is prepared.

use std::ops::Range;
use std::sync::Arc;

use limpid_locks::{RwLock, rw_lock};
use limpid_pmem::{Durability, Media, MediaError, Persist};

use crate::classes::OVERLAY;
use crate::layout::{BLOCK, BLOCK_LEN};
use crate::recovery::Blocks;

/// Shows `blocks` instead of what the medium holds there. What is written, if that is allowed, goes
/// to `blocks`; the medium is never changed.
pub(crate) struct Overlay {
    media: Arc<dyn Media>,
    blocks: RwLock<Blocks>,
    writable: bool,
}

impl Overlay {
    /// Refuses all stores.
    pub fn read_only(media: Arc<dyn Media>, blocks: Blocks) -> Overlay {
        Overlay { media, blocks: rw_lock(&OVERLAY, blocks), writable: false }
    }

    /// Keeps all stores in memory.
    pub fn writable(media: Arc<dyn Media>) -> Overlay {
        Overlay { media, blocks: rw_lock(&OVERLAY, Blocks::default()), writable: true }
    }

    /// The blocks that differ, or may.
    pub fn blocks(&self) -> Blocks {
        self.blocks.read().clone()
    }

    /// Blocks that were written or shown from the start.
    pub fn changed(&self) -> usize {
        self.blocks.read().len()
    }

    fn check(&self, at: u64, len: u64) -> Result<(), MediaError> {
        let size = self.len();
        match at.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(MediaError::OutOfRange { at, len, size }),
        }
    }

    /// Stores what `fill` makes of each piece of a range that lies in one block: it gets the
    /// piece's place in the range.
    fn store(
        &self,
        at: u64,
        len: u64,
        fill: &mut dyn FnMut(usize, &mut [u8]),
    ) -> Result<(), MediaError> {
        self.check(at, len)?;
        if !self.writable {
            return Err(MediaError::ReadOnly);
        }
        let mut blocks = self.blocks.write();
        for (block, start, part) in pieces(at, len) {
            let bytes = match blocks.entry(block) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let mut bytes = Box::new([0; BLOCK_LEN]);
                    if part.len() < BLOCK_LEN {
                        self.media.read(block * BLOCK, &mut bytes[..])?;
                    }
                    entry.insert(bytes)
                }
            };
            fill(start, &mut bytes[part]);
        }
        Ok(())
    }
}

/// Cuts a range of bytes at the ends of blocks: block, place in the range, range in the block.
fn pieces(at: u64, len: u64) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let end = at + len;
    let blocks = if len == 0 { 0..0 } else { at / BLOCK..end.div_ceil(BLOCK) };
    blocks.map(move |block| {
        let (start, stop) = (at.max(block * BLOCK), end.min((block + 1) * BLOCK));
        let part = (start - block * BLOCK) as usize..(stop - block * BLOCK) as usize;
        (block, (start - at) as usize, part)
    })
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
        let len = into.len() as u64;
        self.check(at, len)?;
        let blocks = self.blocks.read();
        if len == 0 || blocks.range(at / BLOCK..(at + len).div_ceil(BLOCK)).next().is_none() {
            return self.media.read(at, into);
        }
        for (block, start, part) in pieces(at, len) {
            let to = &mut into[start..start + part.len()];
            match blocks.get(&block) {
                Some(bytes) => to.copy_from_slice(&bytes[part]),
                None => self.media.read(at + start as u64, to)?,
            }
        }
        Ok(())
    }

    fn write(&self, at: u64, from: &[u8], _persist: Persist) -> Result<(), MediaError> {
        self.store(at, from.len() as u64, &mut |start, bytes| {
            bytes.copy_from_slice(&from[start..start + bytes.len()]);
        })
    }

    fn zero(&self, range: Range<u64>, _persist: Persist) -> Result<(), MediaError> {
        let len = range.end.saturating_sub(range.start);
        self.store(range.start, len, &mut |_, bytes| bytes.fill(0))
    }

    fn copy(&self, from: u64, to: u64, len: u64, _persist: Persist) -> Result<(), MediaError> {
        self.check(from, len)?;
        let mut bytes = [0; BLOCK_LEN];
        for (_, start, part) in pieces(from, len) {
            self.read(from + start as u64, &mut bytes[..part.len()])?;
            self.write(to + start as u64, &bytes[..part.len()], Persist::No)?;
        }
        Ok(())
    }

    fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        self.write(at, &value.to_le_bytes(), Persist::No)
    }

    fn flush(&self, _range: Range<u64>) {}

    fn fence(&self) {}

    fn forget(&self, range: Range<u64>) {
        self.media.forget(range);
    }

    fn sync(&self, _range: Range<u64>) -> Result<(), MediaError> {
        Ok(())
    }
}
