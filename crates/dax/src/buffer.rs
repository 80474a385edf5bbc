//! The caller's memory, as read and write see it.
//!
//! It may be a map of the very file that is read or written, so touching it may fault. It is
//! touched only inside these methods, and they are called with the inode lock at most (I9).

use core::ops::Range;

use limpid_pmem::{Media, MediaError, Persist};

/// Bytes to write.
pub trait Source<M: Media + ?Sized> {
    /// Number of bytes.
    fn len(&self) -> u64;

    /// True if there is nothing to write.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies bytes `part` of the source to the medium at `device`.
    fn copy_to(&self, part: Range<u64>, media: &M, device: u64) -> Result<(), MediaError>;
}

/// Room for bytes that are read.
pub trait Sink<M: Media + ?Sized> {
    /// Number of bytes.
    fn len(&self) -> u64;

    /// True if there is no room.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills bytes `part` of the sink from the medium at `device`.
    fn copy_from(&mut self, part: Range<u64>, media: &M, device: u64) -> Result<(), MediaError>;

    /// Fills bytes `part` of the sink with zeroes.
    fn zero(&mut self, part: Range<u64>) -> Result<(), MediaError>;
}

impl<M: Media + ?Sized> Source<M> for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn copy_to(&self, part: Range<u64>, media: &M, device: u64) -> Result<(), MediaError> {
        media.write(device, &self[part.start as usize..part.end as usize], Persist::Yes)
    }
}

impl<M: Media + ?Sized> Sink<M> for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn copy_from(&mut self, part: Range<u64>, media: &M, device: u64) -> Result<(), MediaError> {
        media.read(device, &mut self[part.start as usize..part.end as usize])
    }

    fn zero(&mut self, part: Range<u64>) -> Result<(), MediaError> {
        self[part.start as usize..part.end as usize].fill(0);
        Ok(())
    }
}
