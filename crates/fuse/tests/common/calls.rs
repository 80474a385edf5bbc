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

/// Writes that a queue has room for.
pub const PARTS: usize = 8;

/// As the kernel has them, see io_submit(2).
#[repr(C)]
struct Control {
    data: u64,
    key: u32,
    flags: u32,
    operation: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    len: u64,
    offset: i64,
    reserved: u64,
    control_flags: u32,
    result_file: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    data: u64,
    control: u64,
    result: i64,
    second: i64,
}

/// Writes that are submitted, then waited for.
pub struct Queue(libc::c_ulong);

impl Queue {
    /// None where the kernel has no such calls.
    pub fn new() -> Option<Queue> {
        let mut queue = 0;
        // SAFETY: the call writes one word.
        let done = unsafe { libc::syscall(libc::SYS_io_setup, PARTS, &raw mut queue) };
        (done == 0).then_some(Queue(queue))
    }

    /// Writes a buffer to the beginning of a file, in so many parts at once as the queue has room
    /// for.
    pub fn write(&self, file: &File, buffer: &[u8]) {
        let part_len = buffer.len() / PARTS;
        let mut controls: Vec<Control> = (0..PARTS)
            .map(|part| Control {
                data: part as u64,
                key: 0,
                flags: 0,
                operation: 1,
                priority: 0,
                file: file.as_raw_fd() as u32,
                buffer: buffer[part * part_len..].as_ptr() as u64,
                len: part_len as u64,
                offset: (part * part_len) as i64,
                reserved: 0,
                control_flags: 0,
                result_file: 0,
            })
            .collect();
        let mut pointers: Vec<*mut Control> = controls.iter_mut().map(std::ptr::from_mut).collect();
        // SAFETY: as many controls as are told, each of a buffer that lives until its write ended,
        // which is waited for below.
        let submitted =
            unsafe { libc::syscall(libc::SYS_io_submit, self.0, PARTS, pointers.as_mut_ptr()) };
        assert_eq!(submitted, PARTS as i64, "{}", std::io::Error::last_os_error());
        let mut events = [Event::default(); PARTS];
        let none = std::ptr::null::<libc::timespec>();
        // SAFETY: room for as many events as are told.
        let ended = unsafe {
            let events = events.as_mut_ptr();
            libc::syscall(libc::SYS_io_getevents, self.0, PARTS, PARTS, events, none)
        };
        assert_eq!(ended, PARTS as i64);
        assert!(events.iter().all(|event| event.result == part_len as i64), "all is written");
    }
}
