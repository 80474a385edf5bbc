//! What happens at the limit of kernel mappings (`vm.max_map_count`), and the ballast.
//!
//! A process may have so many mappings, whoever makes them: the program can use up at any moment
//! what the budget (`budget.rs`) left, also between two system calls of ours. What the kernel
//! refuses then (mm/mmap.c, mm/vma.c, mm/mremap.c of Linux 6.7 to 6.18), with `n` mappings and the
//! limit `max`:
//! - mmap, with MAP_FIXED too and whatever it would replace: if n > max;
//! - mremap to a fixed address: if n + 2 >= max - 3, before anything was changed;
//! - splitting a mapping, which mprotect, madvise and registration do where a range begins or ends
//!   inside of one: if n >= max. mmap itself may get to n = max + 1.
//!
//! Never refused for the count: mprotect and registration of whole mappings, MADV_DONTNEED,
//! munmap of whole mappings.
//!
//! So there are two kinds of steps. What *may* fail (installing, evicting) is tried, then tried
//! again with the ballast given up and old ranges evicted, and at last refused: the access gets an
//! error, or SIGBUS. What *must not* fail (taking away what a map shows) ends, when the kernel
//! still refuses the ordinary way, in one that needs no mapping: the storage is *barred*
//! ([`LinuxMap::bar`](crate::map::LinuxMap)): mprotect(PROT_NONE) over the whole segments that the
//! range touches. A segment's ends are ends of kernel mappings, for neighbours that differ in
//! device offset, in registration or in being storage at all never merge; so nothing is split.
//! Nobody waits, and nothing depends on who is quicker. Barred pages are unmapped pages to
//! everybody, only that an access to them raises SIGSEGV instead of a userfault: our handler asks
//! a thread of the engine to make the range empty in the ordinary way (`sigsegv.rs`), and has the
//! access made again, or fail if there is still no room.
//!
//! The ballast makes the ordinary way work in all but a race: mappings that are held for nothing,
//! pages of alternating protection which therefore cannot merge. One mprotect gives them all back.
//! Emptying ranges then joins more mappings, so the ballast can be taken again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use crate::mm::{Region, Span};

/// Pages that stand apart; each costs two mappings.
const PAGES: usize = 64;
const PAGE: usize = 4096;

#[derive(Debug)]
pub(crate) struct Ballast {
    region: Region,
    /// Pages that stand apart now. The innermost lock.
    held: Mutex<usize>,
    low: AtomicBool,
}

impl Ballast {
    /// Takes as much as there is.
    pub fn new() -> Result<Ballast, Errno> {
        let region = Region::reserve(2 * PAGES * PAGE, 0, false)?;
        region.bar(region.span())?;
        let ballast = Ballast { region, held: Mutex::new(0), low: AtomicBool::new(true) };
        ballast.refill();
        Ok(ballast)
    }

    /// Gives the mappings back; false if there were none.
    pub fn give_up(&self) -> bool {
        let mut held = self.held.lock().expect("nothing panics with this lock held");
        if *held == 0 || self.region.bar(self.region.span()).is_err() {
            return false;
        }
        *held = 0;
        self.low.store(true, Ordering::Relaxed);
        true
    }

    /// Takes mappings until all are there again or the system refuses.
    pub fn refill(&self) {
        if !self.low.load(Ordering::Relaxed) {
            return;
        }
        let mut held = self.held.lock().expect("nothing panics with this lock held");
        while *held < PAGES {
            let start = self.region.span().start + (2 * *held + 1) * PAGE;
            if self.region.protect(Span { start, len: PAGE }, false).is_err() {
                return;
            }
            *held += 1;
        }
        self.low.store(false, Ordering::Relaxed);
    }
}

/// Whether the process may have some more mappings: enough for a thread with its heap.
pub(crate) fn is_room() -> bool {
    const TRIED: usize = 16;
    let Ok(region) = Region::reserve(2 * TRIED * PAGE, 0, false) else { return false };
    (0..TRIED).all(|page| {
        let start = region.span().start + (2 * page + 1) * PAGE;
        region.bar(Span { start, len: PAGE }).is_ok()
    })
}
