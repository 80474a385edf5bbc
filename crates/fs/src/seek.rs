//! Looking over a file's block map: data, holes, extents.

use limpid_dax::{Backing, Extent, PageRange};

use crate::error::Result;
use crate::inode::Inode;
use crate::iomap::extent;
use crate::layout::BLOCK;
use crate::map;

impl Inode {
    /// Offset of the first byte at or after `offset` that may hold data; none if only a hole
    /// follows before the end of the file. Pages never written count as a hole, as elsewhere.
    pub fn seek_data(&self, offset: u64) -> Result<Option<u64>> {
        let size = self.size();
        let mut page = offset / BLOCK;
        let map = self.map()?;
        while offset < size && page < size.div_ceil(BLOCK) {
            page = match map::find(&map, page) {
                Ok(run) if run.unwritten => run.end(),
                Ok(_) => return Ok(Some(offset.max(page * BLOCK))),
                Err(u64::MAX) => return Ok(None),
                Err(next) => next,
            };
        }
        Ok(None)
    }

    /// Offset of the first byte at or after `offset` that lies in a hole, the end of the file at
    /// the latest; none if `offset` lies past it.
    pub fn seek_hole(&self, offset: u64) -> Result<Option<u64>> {
        let size = self.size();
        if offset >= size {
            return Ok(None);
        }
        let mut page = offset / BLOCK;
        let map = self.map()?;
        while page < size.div_ceil(BLOCK) {
            match map::find(&map, page) {
                Ok(run) if !run.unwritten => page = run.end(),
                _ => return Ok(Some(offset.max(page * BLOCK))),
            }
        }
        Ok(Some(size))
    }

    /// Calls `each` for the extents in `pages` that have blocks, in order, until it returns
    /// false. The map is locked, shared, meanwhile: `each` must not change the file.
    pub fn extents(&self, pages: PageRange, each: &mut dyn FnMut(Extent) -> bool) -> Result<()> {
        let map = self.map()?;
        for run in map::runs_in(&map, pages.start.0, pages.end.0) {
            let backing = if run.unwritten { Backing::Unwritten } else { Backing::Mapped };
            if !each(extent(run, backing)) {
                break;
            }
        }
        Ok(())
    }
}
