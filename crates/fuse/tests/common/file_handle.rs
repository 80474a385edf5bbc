//! Handles of files as name_to_handle_at(2) gives them out, and NFS servers use them.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "each user has its part")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Largest handle in bytes (MAX_HANDLE_SZ).
const MOST: usize = 128;

/// A handle: `struct file_handle` with room for the largest.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct FileHandle {
    bytes: u32,
    kind: i32,
    handle: [u8; MOST],
}

impl FileHandle {
    /// name_to_handle_at(2).
    pub fn of(path: &Path) -> io::Result<FileHandle> {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        let mut handle = FileHandle { bytes: MOST as u32, kind: 0, handle: [0; MOST] };
        let mut mount = 0i32;
        // SAFETY: the path ends in a zero byte; the kernel writes at most `bytes` bytes of handle
        // and one number, for which there is room.
        let result = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                libc::AT_FDCWD,
                path.as_ptr(),
                &raw mut handle,
                &raw mut mount,
                0,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(handle) }
    }

    /// open_by_handle_at(2) for reading; `mount` is any file of the mount. For root only.
    pub fn open(&self, mount: &File) -> io::Result<File> {
        let handle = self.clone();
        // SAFETY: the handle is as long as it says, and the kernel only reads it.
        let result = unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                mount.as_raw_fd(),
                &raw const handle,
                libc::O_RDONLY | libc::O_CLOEXEC,
            )
        };
        let fd = i32::try_from(result).expect("a file descriptor or -1");
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made it for us.
        Ok(unsafe { File::from_raw_fd(fd) })
    }
}
