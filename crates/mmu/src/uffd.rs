//! userfaultfd: the thin layer over its ioctls.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use linux_raw_sys::general as raw;
use linux_raw_sys::ioctl::{
    UFFDIO_API, UFFDIO_COPY, UFFDIO_REGISTER, UFFDIO_UNREGISTER, UFFDIO_WAKE, UFFDIO_WRITEPROTECT,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, opcode};
use rustix::mm::UserfaultfdFlags;

use crate::error::EngineError;
use crate::mm::{Region, Span};

/// `UFFDIO_POISON` (Linux 6.6), not yet among the generated constants.
const UFFDIO_POISON: Opcode = opcode::read_write::<raw::uffdio_poison>(0xaa, 8);
/// `USERFAULTFD_IOC_NEW` of /dev/userfaultfd.
const USERFAULTFD_IOC_NEW: Opcode = opcode::none(0xaa, 0);
/// Write mode bit of `UFFDIO_WRITEPROTECT`.
const WRITEPROTECT_MODE_WP: u64 = 1;

/// What the engine's synchronous descriptor needs.
pub(crate) const SYNC_FEATURES: u64 = (raw::UFFD_FEATURE_PAGEFAULT_FLAG_WP
    | raw::UFFD_FEATURE_EVENT_REMAP
    | raw::UFFD_FEATURE_POISON) as u64;
/// What the tracker of written pages needs.
pub(crate) const TRACK_FEATURES: u64 =
    (raw::UFFD_FEATURE_WP_ASYNC | raw::UFFD_FEATURE_WP_UNPOPULATED) as u64;

/// What the descriptor needs that refuses stores (`loads_only.rs`).
pub(crate) const REFUSE_FEATURES: u64 = (raw::UFFD_FEATURE_PAGEFAULT_FLAG_WP
    | raw::UFFD_FEATURE_EVENT_REMAP
    | raw::UFFD_FEATURE_SIGBUS) as u64;

/// Which faults of a range are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Missing,
    MissingAndProtected,
    Protected,
}

/// A message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Fault { address: usize, store: bool },
    Other,
}

/// A userfaultfd descriptor.
#[derive(Debug)]
pub(crate) struct Uffd {
    fd: OwnedFd,
}

impl Uffd {
    /// Opens a descriptor with the given features; tells whether it gets the faults of system
    /// calls too.
    pub fn open(features: u64) -> Result<(Uffd, bool), EngineError> {
        let (fd, kernel_faults) = open_any()?;
        let uffd = Uffd { fd };
        let mut api = raw::uffdio_api { api: raw::UFFD_API as u64, features, ioctls: 0 };
        uffd.ioctl::<UFFDIO_API, _>(&mut api)
            .map_err(|errno| EngineError::OldUserfaultfd { wanted: features, errno })?;
        Ok((uffd, kernel_faults))
    }

    /// Has `read` answer EAGAIN rather than wait, which poll(2) asks of a userfaultfd.
    pub fn make_pollable(&self) -> Result<(), Errno> {
        rustix::io::ioctl_fionbio(&self.fd, true)
    }

    pub fn register(&self, region: &Region, span: Span, report: Report) -> Result<(), Errno> {
        region.check(span);
        let mode = match report {
            Report::Missing => raw::UFFDIO_REGISTER_MODE_MISSING,
            Report::Protected => raw::UFFDIO_REGISTER_MODE_WP,
            Report::MissingAndProtected => {
                raw::UFFDIO_REGISTER_MODE_MISSING | raw::UFFDIO_REGISTER_MODE_WP
            }
        };
        let mut argument =
            raw::uffdio_register { range: range(span), mode: mode as u64, ioctls: 0 };
        self.ioctl::<UFFDIO_REGISTER, _>(&mut argument)
    }

    /// Ends the reporting of a range and wakes who waits there.
    pub fn unregister(&self, region: &Region, span: Span) -> Result<(), Errno> {
        region.check(span);
        self.ioctl::<UFFDIO_UNREGISTER, _>(&mut range(span))
    }

    /// Wakes who waits for a page of the span; harmless wherever it points.
    pub fn wake(&self, span: Span) {
        // An error would mean that the span is no range of addresses at all.
        let _ = self.ioctl::<UFFDIO_WAKE, _>(&mut range(span));
    }

    /// Write-protects the pages that are present in the span.
    pub fn write_protect(&self, region: &Region, span: Span) -> Result<(), Errno> {
        region.check(span);
        retry(|| {
            let mut argument =
                raw::uffdio_writeprotect { range: range(span), mode: WRITEPROTECT_MODE_WP };
            self.ioctl::<UFFDIO_WRITEPROTECT, _>(&mut argument)
        })
    }

    /// Makes each missing page of the span raise SIGBUS.
    pub fn poison(&self, region: &Region, span: Span) -> Result<(), Errno> {
        region.check(span);
        let mut done = 0;
        retry(|| {
            let rest = Span { start: span.start + done, len: span.len - done };
            let mut argument = raw::uffdio_poison { range: range(rest), mode: 0, updated: 0 };
            let result = self.ioctl::<UFFDIO_POISON, _>(&mut argument);
            done += usize::try_from(argument.updated).unwrap_or(0);
            if done == span.len { Ok(()) } else { result }
        })
    }

    /// Fills one missing page with `bytes`: an ordinary page of anonymous memory.
    pub fn copy(&self, region: &Region, at: usize, bytes: &[u8; 4096]) -> Result<(), Errno> {
        region.check(Span { start: at, len: 4096 });
        retry(|| {
            let mut argument = raw::uffdio_copy {
                dst: at as u64,
                src: bytes.as_ptr() as u64,
                len: 4096,
                mode: raw::UFFDIO_COPY_MODE_DONTWAKE as u64,
                copy: 0,
            };
            self.ioctl::<UFFDIO_COPY, _>(&mut argument)
        })
    }

    /// Waits for the next message.
    pub fn read(&self) -> Result<Event, Errno> {
        let mut message = [0u64; 4];
        const { assert!(size_of::<raw::uffd_msg>() == 32) };
        // SAFETY: the buffer is 32 writable bytes, the size of one message.
        let got = unsafe {
            libc::read(self.fd.as_raw_fd(), message.as_mut_ptr().cast::<libc::c_void>(), 32)
        };
        if got != 32 {
            let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
            return Err(Errno::from_raw_os_error(errno));
        }
        // The message: event in the first byte; then, for a fault, flags and address.
        if message[0] as u8 != raw::UFFD_EVENT_PAGEFAULT as u8 {
            return Ok(Event::Other);
        }
        let stores = (raw::UFFD_PAGEFAULT_FLAG_WRITE | raw::UFFD_PAGEFAULT_FLAG_WP) as u64;
        Ok(Event::Fault { address: message[2] as usize, store: message[1] & stores != 0 })
    }

    fn ioctl<const OP: Opcode, T>(&self, argument: &mut T) -> Result<(), Errno> {
        // SAFETY: each caller in this file pairs the opcode with its structure. What the kernel
        // writes to besides it are pages of a `Region` that the caller checked.
        unsafe { rustix::ioctl::ioctl(self.fd.as_fd(), Updater::<OP, T>::new(argument)) }
    }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// While some thread moves a mapping, the kernel answers EAGAIN until its event was read.
fn retry(mut call: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match call() {
            Err(Errno::AGAIN) => rustix::thread::sched_yield(),
            result => return result,
        }
    }
}

fn range(span: Span) -> raw::uffdio_range {
    raw::uffdio_range { start: span.start as u64, len: span.len as u64 }
}

/// The system call, else /dev/userfaultfd, else the mode that everybody is allowed.
fn open_any() -> Result<(OwnedFd, bool), EngineError> {
    // SAFETY: opening a descriptor affects no memory; it is used only through this file.
    if let Ok(fd) = unsafe { rustix::mm::userfaultfd(UserfaultfdFlags::CLOEXEC) } {
        return Ok((fd, true));
    }
    if let Ok(fd) = open_device() {
        return Ok((fd, true));
    }
    let flags = UserfaultfdFlags::CLOEXEC.bits() | raw::UFFD_USER_MODE_ONLY;
    // SAFETY: as above.
    match unsafe { rustix::mm::userfaultfd(UserfaultfdFlags::from_bits_retain(flags)) } {
        Ok(fd) => Ok((fd, false)),
        Err(errno) => Err(EngineError::NoUserfaultfd(errno)),
    }
}

fn open_device() -> Result<OwnedFd, Errno> {
    let device =
        rustix::fs::open("/dev/userfaultfd", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // SAFETY: this request takes the flags of the new descriptor by value and returns it.
    let fd = unsafe {
        libc::ioctl(device.as_raw_fd(), USERFAULTFD_IOC_NEW as libc::c_ulong, libc::O_CLOEXEC)
    };
    if fd < 0 {
        return Err(Errno::PERM);
    }
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
