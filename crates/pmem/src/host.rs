//! The host's file system below a pool in a plain file: room for what is stored, and loads that
//! need none.
//!
//! A pool's file has holes, as a rule. The host finds storage for one when it is stored to, and
//! where it has none the store raises SIGBUS, as it does where a medium fails. So after a
//! fault the host is asked for storage by name, and its answer tells one from the other. On
//! tmpfs even a load gives storage to a hole; a read(2) does not.

use core::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate, fstat, fstatvfs};
use rustix::io::{Errno, pread, retry_on_intr};

use crate::media::MediaError;

const PAGE: u64 = 4096;
/// Pages that one piece of [`Room`] covers: 128 MiB.
const PIECE: u64 = 32_768;

type Piece = [AtomicU64; PIECE as usize / 64];

/// fallocate(FALLOC_FL_KEEP_SIZE): storage for the page of a byte; its contents stay.
fn give_storage(fd: BorrowedFd<'_>, at: u64) -> Result<(), Errno> {
    let start = at - at % PAGE;
    retry_on_intr(|| fallocate(fd, FallocateFlags::KEEP_SIZE, start, PAGE))
}

/// Whether the host refuses for want of room, its own or what it grants this user.
pub(crate) fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT)
}

/// What became of a fault at byte `at` of a file: nothing if there is storage now and the access
/// may be tried again.
#[cold]
pub(crate) fn after_fault(fd: BorrowedFd<'_>, at: u64) -> Result<(), MediaError> {
    let failed = MediaError::Io { at };
    // Behind its end a file that was cut has no storage for a map, whatever it is given.
    let size = fstat(fd).map_err(|_| failed)?.st_size as u64;
    if at - at % PAGE + PAGE > size {
        return Err(failed);
    }
    match give_storage(fd, at) {
        Ok(()) => Ok(()),
        Err(errno) if is_full(errno) => Err(MediaError::Full { at }),
        // A host that gives no storage by name is asked how much it has.
        Err(Errno::OPNOTSUPP | Errno::NOSYS)
            if fstatvfs(fd).is_ok_and(|host| host.f_bavail == 0) =>
        {
            Err(MediaError::Full { at })
        }
        Err(_) => Err(failed),
    }
}

/// pread(2) of bytes that could not be loaded through the map.
#[cold]
pub(crate) fn read(fd: BorrowedFd<'_>, mut at: u64, mut into: &mut [u8]) -> bool {
    while !into.is_empty() {
        match retry_on_intr(|| pread(fd, &mut *into, at)) {
            Ok(0) | Err(_) => return false,
            Ok(len) => {
                at += len as u64;
                into = &mut into[len..];
            }
        }
    }
    true
}

/// How many bytes of storage the host can still give to the file, and how many the file has.
pub(crate) fn storage(fd: BorrowedFd<'_>) -> Option<(u64, u64)> {
    let (host, file) = (fstatvfs(fd).ok()?, fstat(fd).ok()?);
    let given = u64::try_from(file.st_blocks).ok()?.saturating_mul(512);
    Some((host.f_bavail.saturating_mul(host.f_frsize), given))
}

/// Which pages of a file have storage for sure, because it was asked for. Never forgotten: nobody
/// takes storage from the file of an open pool.
#[derive(Debug)]
pub(crate) struct Room(Box<[OnceLock<Box<Piece>>]>);

impl Room {
    /// Of a file of `len` bytes; nothing is known yet.
    pub(crate) fn new(len: u64) -> Room {
        Room((0..len.div_ceil(PAGE * PIECE)).map(|_| OnceLock::new()).collect())
    }

    /// Sees to it that stores to the range find storage. The range lies in the file.
    pub(crate) fn reserve(&self, fd: BorrowedFd<'_>, range: Range<u64>) -> Result<(), MediaError> {
        for page in range.start / PAGE..range.end.div_ceil(PAGE) {
            let piece = self.0[(page / PIECE) as usize]
                .get_or_init(|| Box::new([const { AtomicU64::new(0) }; PIECE as usize / 64]));
            let (word, bit) = (&piece[(page % PIECE) as usize / 64], 1 << (page % 64));
            if word.load(Ordering::Relaxed) & bit != 0 {
                continue;
            }
            match give_storage(fd, page * PAGE) {
                Err(errno) if is_full(errno) => return Err(MediaError::Full { at: page * PAGE }),
                // A host that gives no storage by name gives it to the store, or not.
                _ => word.fetch_or(bit, Ordering::Relaxed),
            };
        }
        Ok(())
    }
}
