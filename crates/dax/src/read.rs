//! Reading: copies from the medium, found through the block map.

use core::ops::Range;

use limpid_pmem::{Media as _, Persist};

use crate::buffer::Sink;
use crate::canary::{Step, left_out};
use crate::copy::Lock2;
use crate::error::DaxError;
use crate::fault::IomapError;
use crate::iomap::{Backing, Intent, Iomap};
use crate::mapping::{Config, Mapping};
use crate::seam::RwLock as _;
use crate::units::{PAGE_SIZE, PageRange};

impl<C: Config> Mapping<C> {
    /// Reads from `offset` on, up to the length of `sink` or the end of the file; returns the
    /// number of bytes read. Takes lock 1 shared, so no block moves or is freed meanwhile.
    ///
    /// After an error the sink holds an unspecified mix of old and new bytes.
    pub fn read<K>(&self, offset: u64, sink: &mut K) -> Result<u64, DaxError<IomapError<C>>>
    where
        K: Sink<C::Media> + ?Sized,
    {
        let _inode = self.inode_lock.shared();
        let end = offset.saturating_add(sink.len()).min(self.iomap.size());
        let mut at = offset;
        while at < end {
            let rest = PageRange::covering(&(at..end));
            let extent = self.iomap.begin(rest, Intent::Read).map_err(DaxError::Iomap)?;
            let stop = extent.pages.end.offset().min(end);
            let part = at - offset..stop - offset;
            match extent.backing {
                Backing::Mapped | Backing::Shared => {
                    sink.copy_from(part, &self.media, extent.device_at(at))?
                }
                _ => sink.zero(part)?,
            }
            at = stop;
        }
        Ok(end.saturating_sub(offset))
    }

    /// Zeroes bytes that lie within one page, if there is data: in place, unless the block is
    /// shared. Wants lock 1 exclusive, takes lock 2 if it must. Nothing has to be invalidated.
    pub(crate) fn zero_in_page(
        &self,
        bytes: Range<u64>,
        lock2: Lock2,
    ) -> Result<(), DaxError<IomapError<C>>> {
        if bytes.start >= bytes.end {
            return Ok(());
        }
        let pages = PageRange::covering(&bytes);
        assert_eq!(pages.len(), 1, "the bytes lie within one page");
        let extent = self.iomap.begin(pages, Intent::Read).map_err(DaxError::Iomap)?;
        match extent.backing {
            Backing::Mapped => {
                let device = extent.device_at(bytes.start);
                self.media.zero(device..device + (bytes.end - bytes.start), Persist::Yes)?;
                Ok(())
            }
            Backing::Shared => self.zero_in_copy(bytes, lock2),
            _ => Ok(()),
        }
    }

    /// Zeroes what lies between the end of the file and `new_end` in the last page, before the
    /// file grows to `new_end`: stores through maps may have left bytes there (C5).
    pub(crate) fn zero_past_end(&self, new_end: u64) -> Result<(), DaxError<IomapError<C>>> {
        if left_out(Step::ZeroPastEnd) {
            return Ok(());
        }
        let size = self.iomap.size();
        let page_end = size.next_multiple_of(PAGE_SIZE);
        self.zero_in_page(size..page_end.min(new_end), Lock2::Free)
    }
}
