//! Files: positioned and streaming reads and writes, sizes and holes.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use limpid_dax::{MAX_FILE_SIZE, PageRange, Sink, Source, WriteAt};
use limpid_fs::{FileKind, FsError};
use limpid_locks::{Class, Mutex, mutex};
use limpid_pmem::Media;

use crate::error::{Error, Result};
use crate::inodes::AccessTimes;
use crate::metadata::Metadata;
use crate::node::Node;
use crate::open::OpenOptions;
use crate::pool::{Inner, Pool};

/// The class of the positions of handles, held while their bytes are read and written.
static POSITION: Class = Class::new("limpid: position of a handle");

/// What a handle may be used for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mode {
    pub read: bool,
    pub write: bool,
    pub append: bool,
}

/// An open file of a pool.
///
/// Reads, writes and maps of one file always agree, whichever handle or thread they come from.
/// Like `std::fs::File` it implements `Read`, `Write` and `Seek`; [`read_at`](File::read_at) and
/// [`write_at`](File::write_at) do not touch the position.
///
/// ```
/// use limpid::{File, Pool};
/// let pool = Pool::memory(16 << 20)?;
/// let file = File::create(&pool, "/log")?;
/// file.write_at(b"world", 6)?;
/// let mut bytes = [0xff; 11];
/// assert_eq!(file.read_at(&mut bytes, 0)?, 11);
/// assert_eq!(&bytes, b"\0\0\0\0\0\0world");
/// # Ok::<(), limpid::Error>(())
/// ```
pub struct File {
    pub(crate) pool: Arc<Inner>,
    pub(crate) node: Arc<Node>,
    pub(crate) mode: Mode,
    pub(crate) access_times: AccessTimes,
    /// It belongs to a cache outside the library, which knows what it does.
    pub(crate) is_outside: bool,
    position: Mutex<u64>,
}

impl File {
    pub(crate) fn new(pool: Arc<Inner>, node: Arc<Node>, mode: Mode) -> File {
        let access_times = AccessTimes::Relative;
        let position = mutex(&POSITION, 0);
        File { pool, node, mode, access_times, is_outside: false, position }
    }

    /// Opens a file for reading.
    pub fn open(pool: &Pool, path: impl AsRef<Path>) -> Result<File> {
        OpenOptions::new().read(true).open(pool, path)
    }

    /// Creates a file, or empties one, for reading and writing.
    pub fn create(pool: &Pool, path: impl AsRef<Path>) -> Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(pool, path)
    }

    pub(crate) fn wants_read(&self) -> Result<()> {
        if self.mode.read { self.wants_bytes() } else { Err(Error::NotOpenedFor("reading")) }
    }

    /// Of what is no regular file the handle gives the attributes only.
    fn wants_bytes(&self) -> Result<()> {
        self.pool.here()?;
        match self.node.inode().kind() {
            FileKind::File => Ok(()),
            FileKind::Directory => Err(FsError::IsDirectory.into()),
            _ => Err(FsError::Invalid.into()),
        }
    }

    pub(crate) fn wants_write(&self) -> Result<()> {
        self.pool.here()?;
        if !self.mode.write {
            return Err(Error::NotOpenedFor("writing"));
        }
        self.node.note_write();
        Ok(())
    }

    /// Size in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        limpid_dax::Iomap::size(&**self.node.inode())
    }

    /// Reads from byte `offset` on; returns the number of bytes, fewer only at the end of the
    /// file. The buffer may lie in a map of this very file.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.read_into(buffer, offset)
    }

    /// As [`read_at`](File::read_at), into any kind of sink.
    pub fn read_into<K: Sink<dyn Media> + ?Sized>(
        &self,
        sink: &mut K,
        offset: u64,
    ) -> Result<usize> {
        self.wants_read()?;
        self.fetch_newer(offset..offset.saturating_add(sink.len()));
        let read = self.node.mapping.read(offset, sink)?;
        match self.access_times {
            AccessTimes::Relative => self.node.note_read(),
            AccessTimes::Always => self.node.inode().touch_accessed_always(),
            AccessTimes::Never => {}
        }
        Ok(read as usize)
    }

    /// Reads exactly the buffer's length, or fails.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let len = buffer.len();
        if self.read_at(buffer, offset)? == len {
            return Ok(());
        }
        Err(Error::EndOfFile { at: offset, len: len as u64, size: self.len() })
    }

    /// Writes all bytes at byte `offset`; returns how many were written, fewer only if the pool
    /// ran out of space or the medium failed on the way. The buffer may lie in a map of this very
    /// file.
    pub fn write_at(&self, buffer: &[u8], offset: u64) -> Result<usize> {
        self.write_from(buffer, WriteAt::Offset(offset)).map(|(_, len)| len)
    }

    /// Writes at the end of the file, atomically with other appends; returns the offset at which
    /// the bytes lie, and their number.
    pub fn append(&self, buffer: &[u8]) -> Result<(u64, usize)> {
        self.write_from(buffer, WriteAt::End)
    }

    /// As [`write_at`](File::write_at) and [`append`](File::append), from any kind of source.
    pub fn write_from<K: Source<dyn Media> + ?Sized>(
        &self,
        source: &K,
        at: WriteAt,
    ) -> Result<(u64, usize)> {
        self.wants_write()?;
        let changing = self.changing(match at {
            WriteAt::Offset(offset) => offset..offset.saturating_add(source.len()),
            WriteAt::End => self.len()..u64::MAX,
        });
        let written = self.node.mapping.write(at, source)?;
        let end = written.offset + written.len;
        self.determined(changing.as_ref(), written.offset..end);
        self.changed_before(changing, written.offset);
        Ok((written.offset, written.len as usize))
    }

    /// Writes all bytes at byte `offset`, or fails.
    pub fn write_all_at(&self, buffer: &[u8], offset: u64) -> Result<()> {
        let written = self.write_at(buffer, offset)?;
        if written < buffer.len() {
            // The error that cut the write short comes again, as the first thing.
            self.write_at(&buffer[written..], offset + written as u64)?;
        }
        Ok(())
    }

    /// Sets the size; growing adds a hole.
    pub fn set_len(&self, size: u64) -> Result<()> {
        self.wants_write()?;
        let changing = self.changing(size..u64::MAX);
        self.node.mapping.truncate(size)?;
        self.determined(changing.as_ref(), size..u64::MAX);
        Ok(())
    }

    /// Gives blocks to a range, so that writes there cannot run out of space; the file grows to
    /// the end of the range.
    pub fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.wants_write()?;
        let bytes = range(offset, len)?;
        let _changing = self.changing(bytes.clone());
        Ok(self.node.mapping.allocate(bytes, false)?)
    }

    /// As [`allocate`](File::allocate), but the size stays.
    pub fn allocate_keep_size(&self, offset: u64, len: u64) -> Result<()> {
        self.wants_write()?;
        let bytes = range(offset, len)?;
        let _changing = self.changing(bytes.clone());
        Ok(self.node.mapping.allocate(bytes, true)?)
    }

    /// Makes a range a hole: it reads as zeroes and its blocks are free again.
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result<()> {
        self.wants_write()?;
        let bytes = range(offset, len)?;
        let changing = self.changing(bytes.clone());
        self.node.mapping.punch(bytes.clone())?;
        self.determined(changing.as_ref(), bytes);
        Ok(())
    }

    /// Makes a range read as zeroes, with blocks behind it. The file grows to the end of the
    /// range unless `keep_size`.
    pub fn zero_range(&self, offset: u64, len: u64, keep_size: bool) -> Result<()> {
        self.wants_write()?;
        let bytes = range(offset, len)?;
        let changing = self.changing(bytes.clone());
        self.node.mapping.zero_range(bytes.clone(), keep_size)?;
        self.determined(changing.as_ref(), bytes);
        Ok(())
    }

    /// Removes whole pages from the middle of the file; what follows moves down.
    pub fn collapse_range(&self, offset: u64, len: u64) -> Result<()> {
        self.wants_write()?;
        let bytes = range(offset, len)?;
        let changing = self.changing(bytes.start..u64::MAX);
        self.node.mapping.collapse(bytes.clone())?;
        self.collapsed(changing.as_ref(), bytes);
        Ok(())
    }

    /// Inserts a hole of whole pages into the file; what follows moves up.
    pub fn insert_range(&self, offset: u64, len: u64) -> Result<()> {
        self.wants_write()?;
        let bytes = range(offset, len)?;
        let changing = self.changing(bytes.start..u64::MAX);
        self.node.mapping.insert(bytes.clone())?;
        self.inserted(changing.as_ref(), bytes);
        Ok(())
    }

    /// First byte at or after `offset` that is not in a hole; `None` if only holes follow.
    pub fn seek_data(&self, offset: u64) -> Result<Option<u64>> {
        self.wants_bytes()?;
        self.fetch_holes(offset);
        Ok(self.node.inode().seek_data(offset)?)
    }

    /// First byte at or after `offset` that is in a hole, or the end of the file; `None` if
    /// `offset` lies past the end.
    pub fn seek_hole(&self, offset: u64) -> Result<Option<u64>> {
        self.wants_bytes()?;
        self.fetch_holes(offset);
        Ok(self.node.inode().seek_hole(offset)?)
    }

    /// Makes data and metadata of the file durable, stores through maps included. On a plain file
    /// pool this is what power loss needs; see `docs/durability.md`.
    pub fn sync_all(&self) -> Result<()> {
        self.pool.here()?;
        self.meet_outside();
        self.node.mapping.writeback(PageRange::new(0, u64::MAX >> limpid_dax::PAGE_SHIFT));
        self.node.inode().sync()?;
        self.pool.media.sync(0..self.pool.media.len())?;
        self.nothing_lost()
    }

    /// As [`sync_all`](File::sync_all), without the times.
    pub fn sync_data(&self) -> Result<()> {
        self.pool.here()?;
        self.meet_outside();
        self.node.mapping.writeback(PageRange::new(0, u64::MAX >> limpid_dax::PAGE_SHIFT));
        self.pool.media.sync(0..self.pool.media.len())?;
        self.nothing_lost()
    }

    /// Attributes.
    pub fn metadata(&self) -> Result<Metadata> {
        self.pool.here()?;
        self.fetch_holes(0);
        Ok(Metadata::from(self.node.inode().attributes()))
    }

    /// A second handle of the same open file, with its own position.
    pub fn try_clone(&self) -> Result<File> {
        self.pool.here()?;
        let file = File::new(self.pool.clone(), self.node.clone(), self.mode);
        Ok(File { access_times: self.access_times, is_outside: self.is_outside, ..file })
    }

    /// Counters of the DAX layer for this file.
    pub fn dax_stats(&self) -> limpid_dax::Stats {
        self.node.mapping.stats()
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("inode", &self.node.inode().ino().0).finish_non_exhaustive()
    }
}

/// A byte range, refused if it is empty or ends past the largest file size.
fn range(offset: u64, len: u64) -> Result<std::ops::Range<u64>> {
    match offset.checked_add(len) {
        Some(end) if len > 0 && end <= MAX_FILE_SIZE => Ok(offset..end),
        _ if len == 0 => Err(Error::EmptyRange),
        _ => Err(Error::TooLarge { at: offset, len }),
    }
}

impl io::Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pool.here()?;
        let mut position = self.position.lock();
        let read = self.read_at(buffer, *position)?;
        *position += read as u64;
        Ok(read)
    }
}

impl io::Write for &File {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.pool.here()?;
        let mut position = self.position.lock();
        let at = if self.mode.append { WriteAt::End } else { WriteAt::Offset(*position) };
        let (offset, len) = self.write_from(buffer, at)?;
        *position = offset + len as u64;
        Ok(len)
    }

    /// Nothing is buffered; durability is [`File::sync_all`]'s.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.pool.here()?;
        let mut position = self.position.lock();
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => position.checked_add_signed(by),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
        };
        match target {
            Some(at) if at <= MAX_FILE_SIZE => {
                *position = at;
                Ok(at)
            }
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }
}

impl io::Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl io::Write for File {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self).write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

impl io::Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}
