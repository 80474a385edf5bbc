//! System calls that rustix does not have.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs::File;
use std::os::fd::AsRawFd;

/// Pages of a file that the host has yet to write, or is writing.
pub fn unwritten(file: &File) -> std::io::Result<u64> {
    const CACHESTAT: libc::c_long = 451;
    let range = [0u64, 0];
    let mut counts = [0u64; 5];
    // SAFETY: a range of two and room for five 64-bit words, as the call wants them; no flags.
    let done = unsafe {
        libc::syscall(CACHESTAT, file.as_raw_fd(), range.as_ptr(), counts.as_mut_ptr(), 0u32)
    };
    if done == 0 { Ok(counts[1] + counts[2]) } else { Err(std::io::Error::last_os_error()) }
}
