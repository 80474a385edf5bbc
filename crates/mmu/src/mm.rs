//! Regions of this process's addresses, and the system calls that change what they show.
//!
//! A [`Region`] owns its addresses: nothing else in the process may map there, and no Rust
//! reference ever points there (access goes through raw copies, `access.rs`). Every method takes
//! a [`Span`] and asserts that it lies in the region; that is the reason why each call is sound.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr::null_mut;

use limpid_pmem::Origin;
use rustix::io::Errno;
use rustix::mm::{self, Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};

/// Bytes of a 2 MiB page.
pub(crate) const HUGE: usize = 2 << 20;
const PAGE: usize = 4096;

/// A page-aligned range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: usize,
    pub len: usize,
}

impl Span {
    pub fn end(self) -> usize {
        self.start + self.len
    }

    fn ptr(self) -> *mut c_void {
        self.start as *mut c_void
    }
}

/// How a file range is mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileMapping {
    pub writable: bool,
    /// Stores go to private copies instead of the file.
    pub private: bool,
    /// MAP_SYNC.
    pub sync: bool,
}

/// Addresses owned by this object; unmapped when it is dropped.
#[derive(Debug)]
pub(crate) struct Region {
    span: Span,
    origin: Origin,
}

impl Region {
    /// Reserves `len` bytes of anonymous memory whose address is congruent to `residue` modulo
    /// 2 MiB: huge pages wanted, not inherited by fork, no memory committed.
    pub fn reserve(len: usize, residue: usize, writable: bool) -> Result<Region, Errno> {
        let (region, head, tail) = Region::reserve_guarded(len, residue, writable)?;
        // SAFETY: the guards are parts of the fresh mapping outside the region, used by nobody.
        unsafe {
            mm::munmap(head.ptr(), head.len)?;
            mm::munmap(tail.ptr(), tail.len)?;
        }
        Ok(region)
    }

    /// As `reserve`, with inaccessible memory on either side, which is returned: the kernel never
    /// merges the region with a neighbour as long as that stays.
    ///
    /// The region is made inside of it, since a mapping that is born next to one of the program's
    /// heaps could merge with it, inherit its `anon_vma`, and then what is moved out of it would
    /// not merge where it arrives.
    pub fn reserve_guarded(
        len: usize,
        residue: usize,
        writable: bool,
    ) -> Result<(Region, Span, Span), Errno> {
        assert!(len.is_multiple_of(PAGE) && residue.is_multiple_of(PAGE) && residue < HUGE);
        let padded = len.checked_add(2 * HUGE).ok_or(Errno::NOMEM)?;
        // SAFETY: a fresh mapping at an address of the kernel's choice disturbs nothing.
        let base = unsafe {
            mm::mmap_anonymous(null_mut(), padded, ProtFlags::empty(), anonymous())? as usize
        };
        let mut shift = (residue + HUGE - base % HUGE) % HUGE;
        if shift == 0 {
            shift = HUGE;
        }
        let origin = Origin::here();
        let region = Region { span: Span { start: base + shift, len }, origin };
        if let Err(errno) = region.renew(region.span, writable) {
            // All of the fresh mapping goes back, the region in it included.
            drop(Region { span: Span { start: base, len: padded }, origin });
            std::mem::forget(region);
            return Err(errno);
        }
        let head = Span { start: base, len: shift };
        let tail = Span { start: region.span.end(), len: 2 * HUGE - shift };
        Ok((region, head, tail))
    }

    pub fn span(&self) -> Span {
        self.span
    }

    /// Replaces a span by fresh anonymous memory, unregistered, as `reserve` makes it.
    pub fn renew(&self, span: Span, writable: bool) -> Result<(), Errno> {
        self.check(span);
        // SAFETY: the span lies in this region, which nothing else uses.
        unsafe {
            let flags = anonymous() | MapFlags::FIXED;
            mm::mmap_anonymous(span.ptr(), span.len, ProtFlags::empty(), flags)?;
        }
        // After mlockall(MCL_FUTURE) it would be filled with pages as soon as it can be accessed,
        // and nothing in it would ever fault.
        self.unlock(span)?;
        self.advise_as_ours(span)?;
        self.protect(span, writable)
    }

    /// Shows a file range in a span, in one step for other threads; not inherited by fork.
    pub fn map_file(
        &self,
        span: Span,
        file: BorrowedFd<'_>,
        offset: u64,
        how: FileMapping,
    ) -> Result<(), Errno> {
        self.check(span);
        let sharing = match how {
            FileMapping { private: true, .. } => MapFlags::PRIVATE,
            FileMapping { sync: true, .. } => MapFlags::SHARED_VALIDATE | MapFlags::SYNC,
            _ => MapFlags::SHARED,
        };
        let flags = sharing | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: the span lies in this region, which nothing else uses; no reference points there.
        unsafe { mm::mmap(span.ptr(), span.len, prot(how.writable), flags, file, offset)? };
        self.advise(span, Advice::LinuxDontFork)
    }

    /// Moves what `source` shows from address `from` on over `span` of this region, with its
    /// registration and protection, in one step for other threads. The source stays mapped and
    /// registered, but empty. Sleeps until the REMAP event was read.
    ///
    /// Refused for want of mappings it has changed nothing (`ballast.rs`).
    pub fn receive(&self, span: Span, source: &Region, from: usize) -> Result<(), Errno> {
        self.check(span);
        source.check(Span { start: from, len: span.len });
        let flags = MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP;
        let from = from as *mut c_void;
        // SAFETY: both spans lie in regions we own, which nothing else uses.
        unsafe { mm::mremap_fixed(from, span.len, span.len, flags, span.ptr())? };
        Ok(())
    }

    /// Drops the pages of a span: the next access faults (registered) or finds a fresh page.
    pub fn drop_pages(&self, span: Span) -> Result<(), Errno> {
        self.advise(span, Advice::LinuxDontneedLocked)
    }

    /// Fills a span with the pages a load would find, huge ones where possible.
    pub fn populate_for_loads(&self, span: Span) -> Result<(), Errno> {
        self.advise(span, Advice::LinuxPopulateRead)
    }

    /// Allows or forbids stores to a span.
    pub fn protect(&self, span: Span, writable: bool) -> Result<(), Errno> {
        self.check(span);
        let mut flags = MprotectFlags::READ;
        flags.set(MprotectFlags::WRITE, writable);
        // SAFETY: the span lies in this region; a store that is not allowed raises a signal.
        unsafe { mm::mprotect(span.ptr(), span.len, flags) }
    }

    /// Ends what mlockall(2) may have asked for: that the span is filled with pages.
    pub fn unlock(&self, span: Span) -> Result<(), Errno> {
        self.check(span);
        // SAFETY: the span lies in this region; its contents stay.
        unsafe { mm::munlock(span.ptr(), span.len) }
    }

    /// Forbids all access to a span.
    pub fn bar(&self, span: Span) -> Result<(), Errno> {
        self.check(span);
        // SAFETY: the span lies in this region; an access that is not allowed raises a signal.
        unsafe { mm::mprotect(span.ptr(), span.len, MprotectFlags::empty()) }
    }

    /// Gives the addresses back; nothing of the region is left.
    pub fn release(&mut self) {
        // Regions are not inherited: a child may have something else at these addresses.
        if self.span.len > 0 && !self.origin.is_inherited() {
            // SAFETY: the span is this region's, and its owner is being dropped.
            let result = unsafe { mm::munmap(self.span.ptr(), self.span.len) };
            // Refused if a neighbour of the program merged with both ends, and the limit of
            // mappings is reached: then the addresses are lost, but show nothing.
            if let Err(errno) = result
                && self.bar(self.span).is_err()
            {
                fatal("munmap of a whole region", errno);
            }
            self.span.len = 0;
        }
    }

    pub fn check(&self, span: Span) {
        let inside = self.span.start <= span.start && span.end() <= self.span.end();
        assert!(inside && span.len > 0, "{span:x?} is not in {:x?}", self.span);
    }

    fn advise_as_ours(&self, span: Span) -> Result<(), Errno> {
        // A kernel without transparent huge pages answers EINVAL; small pages do then.
        let _ = self.advise(span, Advice::LinuxHugepage);
        self.advise(span, Advice::LinuxDontFork)
    }

    fn advise(&self, span: Span, advice: Advice) -> Result<(), Errno> {
        self.check(span);
        // SAFETY: the span lies in this region; dropping or adding pages is what the caller wants.
        unsafe { mm::madvise(span.ptr(), span.len, advice) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.release();
    }
}

fn prot(writable: bool) -> ProtFlags {
    let mut flags = ProtFlags::READ;
    flags.set(ProtFlags::WRITE, writable);
    flags
}

fn anonymous() -> MapFlags {
    MapFlags::PRIVATE | MapFlags::NORESERVE
}

/// Ends the process: the tables can be neither changed nor left as they are.
pub(crate) fn fatal(what: &str, errno: Errno) -> ! {
    eprintln!("limpid: {what} failed ({errno}); a map would go stale, ending the process");
    std::process::abort()
}
