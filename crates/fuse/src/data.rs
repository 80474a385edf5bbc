//! Requests about the bytes of files.

use std::cell::RefCell;
use std::sync::Arc;

use fuser::Errno;
use rustix::fs::FallocateFlags;

use crate::handles::Handle;
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

    /// Reads and hands the bytes to `reply`; fewer than wanted only at the end of the file.
    pub fn read(&self, number: u64, offset: u64, size: u32, reply: impl FnOnce(Served<&[u8]>)) {
        let handle = match self.handle(number) {
            Ok(handle) => handle,
            Err(error) => return reply(Err(error)),
        };
        let bytes = offset..offset.saturating_add(size.into());
        self.gates.pass(handle.ino, bytes.clone());
        if let Err(error) = self.note_holes(handle.ino, &handle.file, bytes) {
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

    /// Writes, for a program, or from the kernel's cache without a `changer`.
    pub fn write(
        &self,
        number: u64,
        offset: u64,
        data: &[u8],
        flags: i32,
        changer: Option<Changer>,
    ) -> Served<usize> {
        let handle = self.handle(number)?;
        let Some(changer) = changer else {
            self.metrics.written(data.len());
            let written = write_from_cache(&handle.file, offset, data)?;
            self.filled(handle.ino, offset, written);
            return Ok(written);
        };
        self.about_to_change(&handle, changer)?;
        self.gates.pass(handle.ino, offset..offset.saturating_add(data.len() as u64));
        let written = handle.file.write_at(data, offset).map_err(errno)?;
        self.filled(handle.ino, offset, written);
        self.wrote(&handle, written, flags)
    }

    /// What a change of an open file's bytes begins with.
    pub fn about_to_change(&self, handle: &Handle, changer: Changer) -> Served<()> {
        self.take_privileges(&handle.file.metadata().map_err(errno)?, changer)
    }

    /// Pages that were written are no holes any more.
    fn filled(&self, ino: u64, offset: u64, len: usize) {
        if len > 0 && self.pages.any(ino) {
            self.pages.filled(ino, pages_of(&(offset..offset + len as u64)));
        }
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
        synced.map_err(errno)
    }

    /// fallocate(2) with the modes the kernel passes on.
    pub fn allocate(
        &self,
        changer: Changer,
        number: u64,
        (offset, len): (u64, u64),
        mode: i32,
    ) -> Served<()> {
        let handle = self.handle(number)?;
        self.about_to_change(&handle, changer)?;
        let file = &handle.file;
        let mode = FallocateFlags::from_bits_retain(mode as u32);
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
        done.map_err(errno)
    }

    /// Copies bytes from one open file to another; the number of bytes copied.
    pub fn copy(
        &self,
        changer: Changer,
        from: (u64, u64),
        to: (u64, u64),
        len: u64,
    ) -> Served<usize> {
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
        Ok(copied as usize)
    }
}

/// Writes what programs stored through maps. The library may be waiting for it, so it waits for
/// no gate; nor does it bring pages in. Stores through maps do not make a file longer: bytes past
/// the end are of a file that got shorter by another way than the kernel's.
fn write_from_cache(file: &limpid::File, offset: u64, data: &[u8]) -> Served<usize> {
    let inside = file.len().saturating_sub(offset).min(data.len() as u64) as usize;
    if inside > 0 {
        file.write_all_at(&data[..inside], offset).map_err(errno)?;
    }
    Ok(data.len())
}
