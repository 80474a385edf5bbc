//! Writing back what programs stored through maps, and saying so if it fails.

use std::ops::Range;
use std::sync::Arc;

use fuser::Errno;

use crate::handles::Handle;
use crate::pages::PAGE;
use crate::server::{Served, Server, errno};

impl Server {
    /// Writes what programs stored through maps. The library may be waiting for it, so it waits
    /// for no gate; nor does it bring pages in. Stores through maps do not make a file longer:
    /// bytes past the end are of a file that got shorter by another way than the kernel's.
    ///
    /// What cannot be written is lost, and only that: each page is tried.
    pub fn write_from_cache(
        self: &Arc<Server>,
        number: u64,
        offset: u64,
        data: &[u8],
    ) -> Served<usize> {
        let handle = self.handle(number)?;
        self.metrics.written(data.len());
        let inside = handle.file.len().saturating_sub(offset).min(data.len() as u64);
        let mut failed = None;
        for part in self.past_end.unmasked(handle.ino, offset..offset + inside) {
            let bytes = &data[(part.start - offset) as usize..(part.end - offset) as usize];
            failed = self.write_part(&handle, part.start, bytes).or(failed);
        }
        match failed {
            Some(error) => {
                // When this is answered: the pages do not show what is not stored.
                let (server, ino) = (self.clone(), handle.ino);
                self.aside.submit(move || server.drop_pages(ino, &(offset..offset + inside)));
                Err(error)
            }
            None => Ok(data.len()),
        }
    }

    /// Writes as much as can be written; why the rest is lost.
    fn write_part(&self, handle: &Arc<Handle>, offset: u64, data: &[u8]) -> Option<Errno> {
        let all_end = offset + data.len() as u64;
        let mut failed = None;
        let mut at = offset;
        while at < all_end {
            // All at once, as long as all goes well.
            let page_end = (at / PAGE + 1) * PAGE;
            let end = all_end.min(if failed.is_some() { page_end } else { u64::MAX });
            let part = &data[(at - offset) as usize..(end - offset) as usize];
            let error = match handle.file.write_at(part, at) {
                Ok(written) if written > 0 => {
                    self.stored(handle.ino, &(at..at + written as u64));
                    at += written as u64;
                    continue;
                }
                Ok(_) => Errno::EIO,
                Err(error) => errno(error),
            };
            self.lost.add(handle, at..page_end.min(end), error);
            failed = Some(error);
            at = page_end.min(end);
        }
        failed
    }

    /// Bytes have been written.
    pub fn stored(&self, ino: u64, bytes: &Range<u64>) {
        self.pages.filled(ino, bytes);
        self.lost.settle(ino, bytes);
    }

    /// Bytes are what somebody wanted them to be, by a call.
    pub fn determined(&self, ino: u64, bytes: Range<u64>) {
        self.stored(ino, &bytes);
        self.past_end.unmask(ino, &bytes);
    }

    /// Fails if stores into a file are lost.
    pub fn all_stored(&self, ino: u64) -> Served<()> {
        self.lost.error(ino, &(0..u64::MAX)).map_or(Ok(()), Err)
    }

    /// Fails if some of the bytes to be read are lost.
    pub fn none_lost(&self, ino: u64, bytes: &Range<u64>) -> Served<()> {
        self.lost.error(ino, bytes).map_or(Ok(()), |_| Err(Errno::EIO))
    }
}
