//! PAGEMAP_SCAN: what the page tables really hold.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::{AsFd, OwnedFd};

use linux_raw_sys::general as raw;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};

use crate::error::EngineError;
use crate::mm::Span;

/// A category of pages.
pub(crate) mod is {
    use linux_raw_sys::general as raw;
    pub const WRITTEN: u64 = raw::PAGE_IS_WRITTEN as u64;
    pub const FILE: u64 = raw::PAGE_IS_FILE as u64;
    pub const PRESENT: u64 = raw::PAGE_IS_PRESENT as u64;
    pub const SWAPPED: u64 = raw::PAGE_IS_SWAPPED as u64;
    pub const ZERO: u64 = raw::PAGE_IS_PFNZERO as u64;
    pub const HUGE: u64 = raw::PAGE_IS_HUGE as u64;
}

/// Bits of an entry of `/proc/self/pagemap`.
const SWAPPED: u64 = 1 << 62;
const FILE: u64 = 1 << 61;
/// Mapped by this process alone, and a page the kernel counts references of.
const EXCLUSIVE: u64 = 1 << 56;

/// Which pages a scan reports, and what it does to them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Query {
    /// All of these categories.
    pub all: u64,
    /// At least one of these, unless zero.
    pub any: u64,
    /// None of these.
    pub none: u64,
    /// Categories to tell apart in the answer.
    pub tell: u64,
    /// Write-protect the reported pages in the same step.
    pub protect: bool,
}

/// The process's page tables.
#[derive(Debug)]
pub(crate) struct Pagemap {
    fd: OwnedFd,
}

impl Pagemap {
    pub fn open() -> Result<Pagemap, EngineError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let pagemap = rustix::fs::open("/proc/self/pagemap", flags, Mode::empty())
            .map(|fd| Pagemap { fd })
            .map_err(EngineError::NoPagemapScan)?;
        let query = Query { any: is::PRESENT, tell: is::PRESENT, ..Query::default() };
        // Any page-aligned address does as a trial: an old kernel answers ENOTTY.
        let trial = Span { start: 0x1_0000, len: 4096 };
        pagemap.scan(trial, query, |_, _| ()).map_err(EngineError::NoPagemapScan)?;
        Ok(pagemap)
    }

    /// Calls `found` for each run of pages that the query matches, with its told categories.
    pub fn scan(
        &self,
        span: Span,
        query: Query,
        mut found: impl FnMut(Span, u64),
    ) -> Result<(), Errno> {
        let mut regions = [raw::page_region { start: 0, end: 0, categories: 0 }; 64];
        let mut from = span.start as u64;
        let end = span.end() as u64;
        while from < end {
            let mut flags = 0;
            if query.protect {
                flags |= raw::PM_SCAN_WP_MATCHING | raw::PM_SCAN_CHECK_WPASYNC;
            }
            let argument = raw::pm_scan_arg {
                size: size_of::<raw::pm_scan_arg>() as u64,
                flags: flags as u64,
                start: from,
                end,
                walk_end: 0,
                vec: regions.as_mut_ptr() as u64,
                vec_len: regions.len() as u64,
                max_pages: 0,
                category_inverted: query.none,
                category_mask: query.all | query.none,
                category_anyof_mask: query.any,
                return_mask: query.tell,
            };
            // SAFETY: `vec` and `vec_len` describe a live array, the only memory written to;
            // protecting pages makes stores be noted, nothing else.
            let (filled, walk_end) =
                unsafe { rustix::ioctl::ioctl(self.fd.as_fd(), Scan(argument))? };
            for region in &regions[..filled] {
                let len = (region.end - region.start) as usize;
                found(Span { start: region.start as usize, len }, region.categories);
            }
            from = walk_end;
        }
        Ok(())
    }
}

impl Pagemap {
    /// Calls `found` for each page of `span` that is memory of this process's own, in memory or
    /// swapped out: a private copy.
    ///
    /// Before Linux 6.15 a page of a DAX device counts as no kind of page at all, so that a scan
    /// cannot tell it from a copy; but only a copy is EXCLUSIVE.
    pub fn own_pages(&self, span: Span, mut found: impl FnMut(Span)) -> Result<(), Errno> {
        let mut entries = [0; 64 * 8];
        let mut from = span.start;
        while from < span.end() {
            let wanted = ((span.end() - from) / 4096 * 8).min(entries.len());
            let place = (from / 4096 * 8) as u64;
            let filled = rustix::io::pread(&self.fd, &mut entries[..wanted], place)?;
            if filled < 8 {
                return Err(Errno::IO);
            }
            for entry in entries[..filled].chunks_exact(8) {
                let entry = u64::from_ne_bytes(entry.try_into().expect("chunks of 8 bytes"));
                let copy = entry & FILE == 0 && entry & EXCLUSIVE != 0;
                if copy || entry & SWAPPED != 0 {
                    found(Span { start: from, len: 4096 });
                }
                from += 4096;
            }
        }
        Ok(())
    }
}

struct Scan(raw::pm_scan_arg);

// SAFETY: the opcode and the structure are those of PAGEMAP_SCAN, which returns the number of
// regions it filled in and writes `walk_end`.
unsafe impl Ioctl for Scan {
    type Output = (usize, u64);
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<raw::pm_scan_arg>(b'f', 16)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        argument: *mut c_void,
    ) -> rustix::io::Result<Self::Output> {
        // SAFETY: the pointer is the one that `as_ptr` gave.
        let argument = unsafe { &*argument.cast::<raw::pm_scan_arg>() };
        Ok((out as usize, argument.walk_end))
    }
}
