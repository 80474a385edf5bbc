//! Requests about the bytes of files.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fuser::{Errno, ReplyEmpty, ReplyWrite};
use rustix::fs::FallocateFlags;

use crate::handles::Handle;
use crate::metrics::Op;
use crate::names::opening;
use crate::pages::{PAGE, pages_of};
use crate::privileges::Changer;
use crate::server::{MAX_TRANSFER, Served, Server, errno};

/// Bytes copied by one request of copy_file_range at most; the caller goes on with the rest.
const MAX_COPY: u64 = 16 << 20;

/// How long a write waits for pages to be dropped that missed it. They are not locked for that
/// very write, unless the kernel has needed their memory for something else since they were read.
const STALE_MOMENT: Duration = Duration::from_millis(250);

/// How a program writes.
#[derive(Clone, Copy)]
pub(crate) struct Writing {
    /// With which the file is open.
    pub flags: i32,
    /// Past the kernel's cache.
    pub is_direct: bool,
    pub changer: Changer,
}

thread_local! {
    /// Where the bytes of a read lie between the pool and the kernel.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with a buffer of `len` bytes that this thread keeps.
fn with_buffer<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        work(&mut buffer[..len])
    })
}

impl Server {
    /// The open file of a number.
    pub fn handle(&self, number: u64) -> Served<Arc<Handle>> {
        self.handles.get(number).ok_or(Errno::EBADF)
    }

    /// Opens a file; the number of the open file.
    pub fn open(&self, ino: u64, flags: i32) -> Served<u64> {
        let mut opening = opening(flags);
        // The kernel fills pages that are written in part by reading them first, and checks
        // itself what the program may do.
        let (writes, maps) = (opening.write, opening.read && opening.write);
        opening.read = true;
        let file = self.inodes.open(ino, opening).map_err(errno)?;
        let appended = self.appended(ino, flags)?;
        let number = self.handles.add(Handle { file, ino, appended, writes, maps });
        if maps {
            self.mappable(ino);
        }
        Ok(number)
    }

    /// Reads and hands the bytes to `reply`; fewer than wanted only at the end of the file.
    pub fn read(&self, number: u64, offset: u64, size: u32, reply: impl FnOnce(Served<&[u8]>)) {
        let handle = match self.handle(number) {
            Ok(handle) => handle,
            Err(error) => return reply(Err(error)),
        };
        let bytes = offset..offset.saturating_add(size.into());
        self.gates.pass(handle.ino, bytes.clone());
        let noted = self.none_lost(handle.ino, &bytes);
        let noted = noted.and_then(|()| self.note_holes(handle.ino, &handle.file, bytes.clone()));
        self.note_end(handle.ino, &handle.file, &bytes);
        self.stale.read(handle.ino, &pages_of(&bytes));
        if let Err(error) = noted {
            return reply(Err(error));
        }
        with_buffer(size as usize, |buffer| match handle.file.read_at(buffer, offset) {
            Ok(len) => {
                self.metrics.read(len);
                reply(Ok(&buffer[..len]));
            }
            Err(error) => reply(Err(errno(error))),
        });
    }

    /// Serves a write of a program: at once, or aside if it has to wait for the kernel.
    pub fn serve_write(
        self: &Arc<Server>,
        number: u64,
        (offset, data): (u64, &[u8]),
        how: Writing,
        reply: ReplyWrite,
    ) {
        let handle = match self.handle(number) {
            Ok(handle) => handle,
            Err(error) => return self.reply_written(Op::Write, Err(error), reply),
        };
        if !how.is_direct {
            self.cached.note(handle.ino);
        }
        if let Some(junk) = self.junk(handle.ino, &handle.file, offset) {
            let (server, data) = (self.clone(), data.to_vec());
            return self.aside.submit(move || {
                let is_locked = junk.start / PAGE == offset / PAGE;
                server.drop_junk(handle.ino, junk, is_locked);
                let written = server.write(&handle, offset, &data, how);
                let bytes = offset..offset + data.len() as u64;
                server.finish_write(handle, bytes, how.is_direct, written, reply);
            });
        }
        let written = self.write(&handle, offset, data, how);
        if !matches!(written, Ok((_, true))) {
            return self.reply_written(Op::Write, written.map(|(len, _)| len), reply);
        }
        let (server, bytes) = (self.clone(), offset..offset + data.len() as u64);
        let is_direct = how.is_direct;
        self.aside.submit(move || server.finish_write(handle, bytes, is_direct, written, reply));
    }

    /// Answers a write after the kernel's pages that may have missed it have been dropped.
    fn finish_write(
        self: Arc<Server>,
        handle: Arc<Handle>,
        bytes: Range<u64>,
        is_direct: bool,
        written: Served<(usize, bool)>,
        reply: ReplyWrite,
    ) {
        if is_direct && matches!(written, Ok((_, true))) {
            // The kernel has no page locked for this write.
            self.drop_pages(handle.ino, &bytes);
        } else if matches!(written, Ok((_, true))) {
            // One that is locked for this write is not stale: nobody has all of it.
            if let Ok(Some(number)) = self.drop_within(STALE_MOMENT, handle.ino, bytes) {
                self.stale.between_writes(handle.ino, number);
            }
        }
        let written = self.counted(Op::Write, written.map(|(len, _)| len));
        drop((handle, self));
        match written {
            Ok(len) => reply.written(len as u32),
            Err(error) => reply.error(error),
        }
    }

    /// Writes, for a program; how much, and whether the kernel may have a page that missed it.
    fn write(
        &self,
        handle: &Handle,
        offset: u64,
        data: &[u8],
        how: Writing,
    ) -> Served<(usize, bool)> {
        let begun = self.stale.write();
        self.about_to_change(handle, how.changer)?;
        let bytes = offset..offset.saturating_add(data.len() as u64);
        self.gates.pass(handle.ino, bytes.clone());
        let written = handle.file.write_at(data, offset).map_err(errno)?;
        self.determined(handle.ino, offset..offset + written as u64);
        let is_stale = self.stale.written(handle.ino, &pages_of(&bytes), begun);
        // See `direct.rs`.
        let is_stale = is_stale || (how.is_direct && self.cached.contains(handle.ino));
        Ok((self.wrote(handle, written, how.flags)?, is_stale))
    }

    /// What a change of an open file's bytes begins with.
    pub fn about_to_change(&self, handle: &Handle, changer: Changer) -> Served<()> {
        self.take_privileges(&handle.file.metadata().map_err(errno)?, changer)
    }

    /// What follows a write of a program.
    pub fn wrote(&self, handle: &Handle, written: usize, flags: i32) -> Served<usize> {
        self.metrics.written(written);
        self.written_durably(handle, flags)?;
        Ok(written)
    }

    /// Makes a file durable.
    pub fn sync(&self, number: u64, data_only: bool) -> Served<()> {
        let handle = self.handle(number)?;
        let synced = if data_only { handle.file.sync_data() } else { handle.file.sync_all() };
        synced.map_err(errno)?;
        self.all_stored(handle.ino)
    }

    /// Before an open file is closed, by the one who has it open or by another.
    pub fn flush(&self, number: u64) -> Served<()> {
        self.all_stored(self.handle(number)?.ino)
    }

    /// Serves fallocate(2).
    pub fn serve_allocate(
        self: &Arc<Server>,
        changer: Changer,
        number: u64,
        (offset, len): (u64, u64),
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mode = FallocateFlags::from_bits_retain(mode as u32);
        let keeps_size = mode.contains(FallocateFlags::KEEP_SIZE);
        let until = if keeps_size { 0 } else { offset.saturating_add(len) };
        let work = move |server: &Server| {
            let done = server.allocate(changer, number, (offset, len), mode);
            server.counted(Op::Allocate, done)
        };
        self.growing(number, until, work, |done| match done {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        });
    }

    /// Serves copy_file_range(2).
    pub fn serve_copy(
        self: &Arc<Server>,
        changer: Changer,
        from: (u64, u64),
        to: (u64, u64),
        len: u64,
        reply: ReplyWrite,
    ) {
        let work =
            move |server: &Server| server.counted(Op::Copy, server.copy(changer, from, to, len));
        self.growing(to.0, to.1, work, |copied| match copied {
            Ok(len) => reply.written(len as u32),
            Err(error) => reply.error(error),
        });
    }

    /// fallocate(2) with the modes the kernel passes on.
    fn allocate(
        &self,
        changer: Changer,
        number: u64,
        (offset, len): (u64, u64),
        mode: FallocateFlags,
    ) -> Served<()> {
        let handle = self.handle(number)?;
        self.about_to_change(&handle, changer)?;
        let file = &handle.file;
        let keep_size = mode.contains(FallocateFlags::KEEP_SIZE);
        let what = mode.difference(FallocateFlags::KEEP_SIZE);
        let done = if what.is_empty() {
            match keep_size {
                true => file.allocate_keep_size(offset, len),
                false => file.allocate(offset, len),
            }
        } else if what == FallocateFlags::PUNCH_HOLE {
            file.punch_hole(offset, len)
        } else if what == FallocateFlags::ZERO_RANGE {
            file.zero_range(offset, len, keep_size)
        } else if what == FallocateFlags::COLLAPSE_RANGE {
            file.collapse_range(offset, len)
        } else if what == FallocateFlags::INSERT_RANGE {
            file.insert_range(offset, len)
        } else {
            return Err(Errno::EOPNOTSUPP);
        };
        done.map_err(errno)?;
        if what.intersects(FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE) {
            self.determined(handle.ino, offset..offset.saturating_add(len));
        }
        Ok(())
    }

    /// Copies bytes from one open file to another; the number of bytes copied.
    fn copy(&self, changer: Changer, from: (u64, u64), to: (u64, u64), len: u64) -> Served<usize> {
        let (source, target) = (self.handle(from.0)?, self.handle(to.0)?);
        self.about_to_change(&target, changer)?;
        let len = len.min(MAX_COPY);
        let mut copied = 0;
        while copied < len {
            let part = (len - copied).min(u64::from(MAX_TRANSFER)) as usize;
            let written = with_buffer(part, |buffer| {
                let read = source.file.read_at(buffer, from.1 + copied)?;
                match read {
                    0 => Ok(0),
                    read => target.file.write_at(&buffer[..read], to.1 + copied),
                }
            });
            match written {
                Ok(0) => break,
                Ok(written) => copied += written as u64,
                Err(error) if copied == 0 => return Err(errno(error)),
                Err(_) => break,
            }
        }
        self.determined(target.ino, to.1..to.1 + copied);
        Ok(copied as usize)
    }
}
