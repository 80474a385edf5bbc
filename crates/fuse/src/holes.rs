//! Requests whose answer depends on where a file has holes, while the kernel may hold stores into
//! them (`pages.rs`).
//!
//! lseek(2) has the pages of the holes it passes written and dropped before it answers, aside from
//! the threads that serve requests (`aside.rs`): the kernel holds no page locked for that request,
//! only the inode. Attributes are asked for too often for that: st_blocks counts each page
//! that the kernel may have over a hole as if it were stored to. So it may be too high, never too
//! low, and the kernel is told to ask again each time as long as there are such pages.
//!
//! Stores that are lost (`lost.rs`) are data: whoever copies a file has to meet the error.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fuser::{Errno, FileAttr, ReplyLseek};
use limpid::{File, Metadata};

use crate::attr::{SECTORS_PER_BLOCK, file_attr};
use crate::metrics::Op;
use crate::pages::{PAGE, bytes_of, pages_of};
use crate::server::{Served, Server, errno};

const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;
/// If the pages to be dropped lie in more runs, all between the first and the last are dropped.
const MANY_RUNS: usize = 256;

impl Server {
    /// The kernel is about to get the pages of `bytes`, with some that lie over holes.
    pub fn note_holes(&self, ino: u64, file: &File, bytes: Range<u64>) -> Served<()> {
        let (mut at, size) = (bytes.start / PAGE * PAGE, file.len());
        while at < bytes.end {
            let hole = file.seek_hole(at).map_err(errno)?;
            let Some(hole) = hole.filter(|hole| *hole < bytes.end.min(size)) else { break };
            let data = file.seek_data(hole).map_err(errno)?.unwrap_or(u64::MAX);
            at = data.min(bytes.end);
            if self.pages.note(ino, pages_of(&(hole..at))) && self.handles.mappers(ino) > 0 {
                self.forget_attributes(ino);
            }
        }
        Ok(())
    }

    /// A program opened a file so that it can store through maps.
    pub fn mappable(&self, ino: u64) {
        self.past_end.mappable(ino);
        if self.pages.any(ino) {
            self.forget_attributes(ino);
        }
    }

    /// Attributes as the kernel gets them, and how long it may keep them.
    pub fn told(&self, metadata: &Metadata) -> (FileAttr, Duration) {
        let mut attr = file_attr(metadata, &self.options);
        let lost = self.lost.pages(metadata.ino);
        let has_pages = self.handles.mappers(metadata.ino) > 0 && self.pages.any(metadata.ino);
        if lost == 0 && !has_pages {
            return (attr, self.ttl);
        }
        let all = metadata.size.div_ceil(PAGE);
        let stored = if has_pages { self.pages.count(metadata.ino, &(0..all)) } else { 0 };
        let most = metadata.blocks.max(all);
        attr.blocks = (metadata.blocks + stored + lost).min(most) * SECTORS_PER_BLOCK;
        (attr, Duration::ZERO)
    }

    /// Has the kernel's pages over holes in `bytes` written and dropped, as far as programs may
    /// have stored into them. Waits for requests to be served.
    pub fn fetch_holes(&self, ino: u64, bytes: Range<u64>) {
        if self.handles.mappers(ino) == 0 {
            return;
        }
        let mut runs = self.pages.held(ino, &pages_of(&bytes));
        if runs.len() > MANY_RUNS {
            runs = vec![runs[0].start..runs[runs.len() - 1].end];
        }
        for run in runs {
            let since = self.pages.dropping();
            self.drop_pages(ino, &bytes_of(&run));
            self.pages.dropped(ino, run, since);
        }
    }

    /// lseek(2) for data and holes, as the pool has them, and what is lost as data.
    fn seek(&self, file: &File, ino: u64, offset: u64, whence: i32) -> Served<Option<u64>> {
        match whence {
            SEEK_DATA => {
                let found = file.seek_data(offset).map_err(errno)?;
                let lost = self.lost.next(ino, offset).map(|lost| lost.start.max(offset));
                let lost = lost.filter(|lost| *lost < file.len());
                Ok(found.into_iter().chain(lost).min())
            }
            SEEK_HOLE => {
                let mut found = file.seek_hole(offset).map_err(errno)?;
                while let Some(hole) = found
                    && let Some(lost) = self.lost.next(ino, hole)
                    && lost.start <= hole
                    && hole < file.len()
                {
                    let end = lost.end.min(file.len());
                    found = file.seek_hole(end).map_err(errno)?.or(Some(end));
                }
                Ok(found)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// The hole that an answer to lseek(2) takes for granted.
    fn passed(&self, file: &File, ino: u64, offset: u64, whence: i32) -> Served<Range<u64>> {
        let found = self.seek(file, ino, offset, whence)?;
        if whence == SEEK_DATA {
            return Ok(offset..found.unwrap_or(file.len()));
        }
        let Some(hole) = found else { return Ok(0..0) };
        Ok(hole..file.seek_data(hole).map_err(errno)?.unwrap_or(file.len()))
    }

    /// The number of the file, if the kernel may have stores into the hole that lseek(2) passes.
    fn stored_where(&self, file: &File, ino: u64, offset: u64, whence: i32) -> Served<bool> {
        if self.handles.mappers(ino) == 0 || !self.pages.any(ino) {
            return Ok(false);
        }
        let passed = pages_of(&self.passed(file, ino, offset, whence)?);
        Ok(!self.pages.held(ino, &passed).is_empty())
    }

    /// Serves lseek(2).
    pub fn serve_seek(self: &Arc<Server>, fh: u64, offset: i64, whence: i32, reply: ReplyLseek) {
        let found = self.handle(fh).and_then(|handle| {
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            let stored = self.stored_where(&handle.file, handle.ino, offset, whence)?;
            match stored {
                true => Ok(Err((handle, offset))),
                false => self.seek(&handle.file, handle.ino, offset, whence).map(Ok),
            }
        });
        match found {
            Ok(Ok(found)) => answer(self, Ok(found), reply),
            Err(error) => answer(self, Err(error), reply),
            Ok(Err((handle, offset))) => {
                let server = self.clone();
                self.aside.submit(move || {
                    let found = server.seek_stored(&handle.file, handle.ino, offset, whence);
                    let found = server.counted(Op::Attributes, found);
                    drop((handle, server));
                    told(found, reply);
                });
            }
        }
    }

    /// lseek(2) after the stores that came before it have been fetched.
    fn seek_stored(&self, file: &File, ino: u64, offset: u64, whence: i32) -> Served<Option<u64>> {
        // Data that turns up ends the hole that was passed; another may follow, if holes are
        // looked for.
        let all = match whence {
            SEEK_DATA => self.passed(file, ino, offset, whence)?,
            _ => offset..file.len(),
        };
        self.fetch_holes(ino, all);
        self.seek(file, ino, offset, whence)
    }
}

fn answer(server: &Server, found: Served<Option<u64>>, reply: ReplyLseek) {
    told(server.counted(Op::Attributes, found), reply);
}

fn told(found: Served<Option<u64>>, reply: ReplyLseek) {
    let found = found.and_then(|found| found.ok_or(Errno::ENXIO));
    match found.and_then(|found| i64::try_from(found).map_err(|_| Errno::EOVERFLOW)) {
        Ok(found) => reply.offset(found),
        Err(error) => reply.error(error),
    }
}
