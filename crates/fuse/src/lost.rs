//! Stores through maps that could not be written back: there was no space, or the medium failed.
//!
//! FUSE has no request with which a file system could claim space when a page becomes writable, so
//! a store into a hole of a full pool succeeds, and only its writeback fails. The kernel tells
//! that once, to whoever syncs first, and shows the bytes as if they were stored until it needs the
//! page for something else. So it is remembered here which bytes are lost, and why:
//!
//! 1. Each fsync(2), msync(2) and close(2) of the file fails, by whomever, until all these bytes
//!    are written, cut off or made a hole.
//! 2. The kernel's pages of them are dropped, and reading them fails; through a map that is SIGBUS.
//!
//! The file is kept open meanwhile, so that its number stays its own.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fuser::Errno;
use limpid_locks::{Class, Mutex, mutex};
use rustc_hash::FxHashMap;

use crate::handles::Handle;

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

    #[test]
    fn bytes_are_lost_until_each_of_them_is_settled() {
        let pool = Pool::memory(16 << 20).unwrap();
        let ino = pool.write("/f", b"").map(|()| pool.metadata("/f").unwrap().ino).unwrap();
        let file = pool.inodes().open(ino, Opening::BOTH).unwrap();
        let handle = Arc::new(Handle { file, ino, appended: None, writes: true, maps: true });
        let lost = Lost::default();
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
