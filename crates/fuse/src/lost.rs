//! Stores through maps that could not be written back: there was no space, or the medium failed.
//!
//! FUSE has no request with which a file system could claim space when a page becomes writable, so
//! a store into a hole of a full pool succeeds, and only its writeback fails. The kernel tells
//! that once, to whoever syncs first, and shows the bytes as if they were stored until it needs the
//! page for something else. So it is remembered here which bytes are lost, and why:
//!
//! 1. Each fsync(2), msync(2) and close(2) of the file fails, by whomever, until all these bytes
//!    are written, cut off or made a hole.
//! 2. The kernel's pages of them are dropped, and reading them fails, as copying them does; through
//!    a map that is SIGBUS.
//! 3. They count as data, not as the hole that the pool has there: who skips holes would take them
//!    for zeroes.
//!
//! The file is kept open meanwhile, so that its number stays its own.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fuser::Errno;
use limpid_locks::{Class, Mutex, mutex};
use rustc_hash::FxHashMap;

use crate::handles::Handle;
use crate::pages::pages_of;

/// The class of the lock.
static LOST: Class = Class::new("fuse: lost stores");

/// Bytes that are lost, and why.
struct Part {
    bytes: Range<u64>,
    error: Errno,
}

/// The lost bytes of a file.
struct File {
    parts: Vec<Part>,
    handle: Arc<Handle>,
}

/// What was lost on a mount, by inode. The lock is a leaf; files are closed outside.
pub(crate) struct Lost {
    /// Number of files: spares all others the lock.
    count: AtomicUsize,
    files: Mutex<FxHashMap<u64, File>>,
}

impl Default for Lost {
    fn default() -> Lost {
        Lost { count: AtomicUsize::new(0), files: mutex(&LOST, FxHashMap::default()) }
    }
}

impl Lost {
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Bytes are lost.
    pub fn add(&self, handle: &Arc<Handle>, bytes: Range<u64>, error: Errno) {
        let mut files = self.files.lock();
        let file = files.entry(handle.ino);
        let file = file.or_insert_with(|| File { parts: Vec::new(), handle: handle.clone() });
        cut(&mut file.parts, &bytes);
        match file.parts.last_mut() {
            Some(last) if last.bytes.end == bytes.start && same(last.error, error) => {
                last.bytes.end = bytes.end;
            }
            _ => file.parts.push(Part { bytes, error }),
        }
        self.count.store(files.len(), Ordering::Release);
    }

    /// Bytes have been written, or cut off, or are a hole by somebody's will.
    pub fn settle(&self, ino: u64, bytes: &Range<u64>) {
        if self.is_empty() {
            return;
        }
        let mut files = self.files.lock();
        let Some(file) = files.get_mut(&ino) else { return };
        cut(&mut file.parts, bytes);
        let settled = if file.parts.is_empty() { files.remove(&ino) } else { None };
        self.count.store(files.len(), Ordering::Release);
        drop(files);
        drop(settled);
    }

    /// Why some of these bytes of a file are lost, if any are.
    pub fn error(&self, ino: u64, bytes: &Range<u64>) -> Option<Errno> {
        if self.is_empty() {
            return None;
        }
        let files = self.files.lock();
        let part = files.get(&ino)?.parts.iter().find(|part| overlap(&part.bytes, bytes))?;
        Some(part.error)
    }

    /// The first lost bytes of a file that end behind `at`.
    pub fn next(&self, ino: u64, at: u64) -> Option<Range<u64>> {
        if self.is_empty() {
            return None;
        }
        let files = self.files.lock();
        let parts = files.get(&ino)?.parts.iter().map(|part| part.bytes.clone());
        parts.filter(|bytes| bytes.end > at).min_by_key(|bytes| bytes.start)
    }

    /// How many pages of a file have lost bytes, or more.
    pub fn pages(&self, ino: u64) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let files = self.files.lock();
        let parts = files.get(&ino).map_or(&[][..], |file| &file.parts);
        let pages = parts.iter().map(|part| pages_of(&part.bytes));
        pages.map(|pages| pages.end - pages.start).sum()
    }

    /// Bytes were taken out of a file, and what followed moved down.
    pub fn collapsed(&self, ino: u64, bytes: &Range<u64>) {
        self.settle(ino, bytes);
        self.shift(ino, bytes.end, |at| at - (bytes.end - bytes.start));
    }

    /// A hole was put into a file, and what followed moved up.
    pub fn inserted(&self, ino: u64, bytes: &Range<u64>) {
        self.shift(ino, bytes.start, |at| at.saturating_add(bytes.end - bytes.start));
    }

    /// Moves what is lost from byte `from` on.
    fn shift(&self, ino: u64, from: u64, to: impl Fn(u64) -> u64) {
        if self.is_empty() {
            return;
        }
        let mut files = self.files.lock();
        let Some(file) = files.get_mut(&ino) else { return };
        for Part { bytes, error } in std::mem::take(&mut file.parts) {
            let stay = bytes.start..bytes.end.min(from);
            let go = bytes.start.max(from)..bytes.end.max(from);
            for bytes in [stay, to(go.start)..to(go.end)] {
                if bytes.start < bytes.end {
                    file.parts.push(Part { bytes, error });
                }
            }
        }
    }

    /// The kernel has forgotten an inode: if it has no name, nobody will ask for it again.
    pub fn forget(&self, ino: u64) {
        if self.is_empty() {
            return;
        }
        let handle = self.files.lock().get(&ino).map(|file| file.handle.clone());
        let nameless = |handle: &Arc<Handle>| handle.file.metadata().is_ok_and(|of| of.nlink == 0);
        if handle.as_ref().is_some_and(nameless) {
            self.settle(ino, &(0..u64::MAX));
        }
    }

    /// The mount is gone.
    pub fn clear(&self) {
        let files = std::mem::take(&mut *self.files.lock());
        self.count.store(0, Ordering::Release);
        drop(files);
    }
}

fn same(one: Errno, other: Errno) -> bool {
    one.code() == other.code()
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

/// Takes `bytes` out of the parts.
fn cut(parts: &mut Vec<Part>, bytes: &Range<u64>) {
    for index in (0..parts.len()).rev() {
        let Part { bytes: part, error } = &mut parts[index];
        if !overlap(part, bytes) {
            continue;
        }
        let (before, after) = (part.start..bytes.start, bytes.end..part.end);
        let error = *error;
        parts.remove(index);
        for left in [after, before] {
            if left.start < left.end {
                parts.insert(index, Part { bytes: left, error });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use limpid::{Opening, Pool};

    use super::*;

    fn parts(lost: &Lost, ino: u64) -> Vec<Range<u64>> {
        let files = lost.files.lock();
        files
            .get(&ino)
            .map_or(Vec::new(), |file| file.parts.iter().map(|part| part.bytes.clone()).collect())
    }

    /// An account of what is lost of a file.
    fn lost_of_a_file() -> (Pool, Arc<Handle>, Lost) {
        let pool = Pool::memory(16 << 20).unwrap();
        let ino = pool.write("/f", b"").map(|()| pool.metadata("/f").unwrap().ino).unwrap();
        let file = pool.inodes().open(ino, Opening::BOTH).unwrap();
        let handle = Arc::new(Handle { file, ino, appended: None, writes: true, maps: true });
        (pool, handle, Lost::default())
    }

    #[test]
    fn what_is_lost_moves_with_the_bytes_around_it() {
        let (_pool, handle, lost) = lost_of_a_file();
        let ino = handle.ino;
        lost.add(&handle, 0..8192, Errno::ENOSPC);
        lost.add(&handle, 20480..24576, Errno::EIO);
        lost.inserted(ino, &(4096..12288));
        assert_eq!(parts(&lost, ino), [0..4096, 12288..16384, 28672..32768]);
        assert_eq!(lost.next(ino, 0), Some(0..4096));
        assert_eq!(lost.next(ino, 4095), Some(0..4096));
        assert_eq!(lost.next(ino, 4096), Some(12288..16384));
        assert_eq!(lost.next(ino, 32768), None);
        assert_eq!(lost.pages(ino), 3);
        lost.collapsed(ino, &(8192..16384));
        assert_eq!(parts(&lost, ino), [0..4096, 20480..24576]);
        lost.collapsed(ino, &(0..8192));
        assert_eq!(parts(&lost, ino), [12288..16384]);
        lost.collapsed(ino, &(8192..16384));
        assert!(lost.is_empty());
    }

    #[test]
    fn bytes_are_lost_until_each_of_them_is_settled() {
        let (pool, handle, lost) = lost_of_a_file();
        let ino = handle.ino;
        lost.add(&handle, 0..100, Errno::ENOSPC);
        lost.add(&handle, 100..200, Errno::ENOSPC);
        lost.add(&handle, 300..400, Errno::EIO);
        assert_eq!(parts(&lost, ino), [0..200, 300..400]);
        lost.settle(ino, &(50..60));
        assert_eq!(parts(&lost, ino), [0..50, 60..200, 300..400]);
        let error = |bytes: Range<u64>| lost.error(ino, &bytes).map(|error| error.code());
        assert_eq!(error(50..60), None);
        assert_eq!(error(59..61), Some(Errno::ENOSPC.code()));
        assert_eq!(error(399..500), Some(Errno::EIO.code()));
        assert_eq!(lost.error(ino + 1, &(0..u64::MAX)).map(|error| error.code()), None);
        lost.settle(ino, &(60..1000));
        lost.forget(ino);
        assert_eq!(parts(&lost, ino), [0..50], "it has a name");
        pool.remove_file("/f").unwrap();
        lost.forget(ino);
        assert!(lost.is_empty());
        assert_eq!(Arc::strong_count(&handle), 1, "nothing keeps it open");
    }
}
