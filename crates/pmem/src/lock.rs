//! One writer or many readers per pool, across processes and within one.
//!
//! The lock is an open-file-description lock, so that two opens in one process exclude each other
//! as well, and the system drops it when the owner dies. Such locks do not tell their owner; so
//! the length of the locked range does: it is the owner's process id plus one. All ranges start
//! at the same byte and therefore conflict there. The bytes lie far past the end of any file.
//! What an owner says of itself (see `holder.rs`) is told in the same way, by the length of a range
//! that begins at a byte of its own.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_short};

/// First byte of the locked range.
const START: i64 = 1 << 62;
/// Where what owners say begins, and how far apart: each can say a number below `SPAN` - 1.
const SAID: i64 = (1 << 62) + (1 << 61);
const SPAN: i64 = 1 << 39;

/// Why the lock was not taken.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Somebody has it; the process id is missing if they let go while we asked.
    Held(Option<u32>),
    /// The system refused.
    System(io::Error),
}

/// fcntl(F_OFD_SETLK): locks the file for as long as its open file description lives.
pub(crate) fn lock(fd: BorrowedFd<'_>, exclusive: bool) -> Result<(), LockError> {
    let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    let mut request = range(kind, START, i64::from(std::process::id()) + 1);
    match fcntl(fd, libc::F_OFD_SETLK, &mut request) {
        Ok(()) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Err(LockError::Held(owner(fd, kind))),
            _ => Err(LockError::System(error)),
        },
    }
}

/// fcntl(F_OFD_SETLK, F_UNLCK): gives the lock back now. Closing alone would not do: a process that
/// another thread is starting at this moment holds the same description open until it runs its
/// program.
pub(crate) fn unlock(fd: BorrowedFd<'_>) {
    // Zero means to the end: all that was locked, whatever the range's length told.
    let mut request = range(libc::F_UNLCK, START, 0);
    // It cannot fail on a descriptor that could be locked; if it did, closing remains.
    let _ = fcntl(fd, libc::F_OFD_SETLK, &mut request);
}

/// The process that keeps us from a lock of this kind.
fn owner(fd: BorrowedFd<'_>, kind: c_int) -> Option<u32> {
    let mut request = range(kind, START, 1);
    fcntl(fd, libc::F_OFD_GETLK, &mut request).ok()?;
    if c_int::from(request.l_type) == libc::F_UNLCK || request.l_start != START {
        return None;
    }
    request.l_len.checked_sub(1).and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid != 0)
}

/// The owner says a number to those who find the lock taken, instead of what it said before. What
/// cannot be said is not known, that is all.
pub(crate) fn say(fd: BorrowedFd<'_>, number: u64) {
    let Some(start) = place(std::process::id()) else { return };
    let Some(len) = i64::try_from(number).ok().filter(|number| *number < SPAN - 1) else { return };
    // A longer range is cut to its beginning, so that something is said at every moment.
    let _ = fcntl(fd, libc::F_OFD_SETLK, &mut range(libc::F_RDLCK, start, len + 1));
    let _ =
        fcntl(fd, libc::F_OFD_SETLK, &mut range(libc::F_UNLCK, start + len + 1, SPAN - len - 1));
}

/// What the owner of this process id says.
pub(crate) fn said(fd: BorrowedFd<'_>, pid: u32) -> Option<u64> {
    let start = place(pid)?;
    let mut request = range(libc::F_WRLCK, start, 1);
    fcntl(fd, libc::F_OFD_GETLK, &mut request).ok()?;
    let found = c_int::from(request.l_type) != libc::F_UNLCK && request.l_start == start;
    found.then(|| (request.l_len - 1) as u64)
}

/// Where a process says something. Linux has process ids below 2^22.
fn place(pid: u32) -> Option<i64> {
    (pid < 1 << 22).then(|| SAID + i64::from(pid) * SPAN)
}

fn range(kind: c_int, start: i64, len: i64) -> libc::flock {
    libc::flock {
        l_type: kind as c_short,
        l_whence: libc::SEEK_SET as c_short,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

fn fcntl(fd: BorrowedFd<'_>, command: c_int, request: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open and both commands take a pointer to a flock.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), command, std::ptr::from_mut(request)) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
