//! Requests about the bytes of files.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use fuser::{Errno, ReplyEmpty, ReplyWrite};
use rustix::fs::FallocateFlags;

use crate::handles::Handle;
use crate::metrics::Op;
use crate::names::opening;
use crate::pages::pages_of;
use crate::privileges::Changer;
use crate::server::{MAX_TRANSFER, Served, Server, errno};

/// Bytes copied by one request of copy_file_range at most; the caller goes on with the rest.
const MAX_COPY: u64 = 16 << 20;

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

    /// Reads and hands the bytes to `reply`; fewer than wanted only at the end of the file. If they
    /// are read for the kernel's cache, `cached` is the number of the request.
    pub fn read(
        &self,
        number: u64,
        (offset, size): (u64, u32),
        cached: Option<u64>,
        reply: impl FnOnce(Served<&[u8]>),
    ) {
        let handle = match self.handle(number) {
            Ok(handle) => handle,
            Err(error) => return reply(Err(error)),
        };
        let bytes = offset..offset.saturating_add(size.into());
        loop {
            // Before it looks for gates, see `stale.rs`.
            if let Some(request) = cached {
                self.stale.read(handle.ino, &pages_of(&bytes), request);
            }
            if !self.gates.pass(handle.ino, bytes.clone()) {
                break;
            }
        }
        let noted = self.none_lost(handle.ino, &bytes).and_then(|()| match cached {
            Some(_) => self.note_pages(&handle, &bytes),
            None => Ok(()),
        });
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

    /// The kernel is about to get pages.
    fn note_pages(&self, handle: &Handle, bytes: &Range<u64>) -> Served<()> {
        self.note_end(handle.ino, &handle.file, bytes);
        self.note_holes(handle.ino, &handle.file, bytes.clone())
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
        self.stale.no_write(handle.ino);
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
        } else {
            // The kernel passes on no others, such as collapse and insert.
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
            let at = from.1 + copied;
            if let Err(error) = self.none_lost(source.ino, &(at..at + part as u64)) {
                if copied == 0 {
                    return Err(error);
                }
                break;
            }
            let written = with_buffer(part, |buffer| {
                let read = source.file.read_at(buffer, at)?;
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
