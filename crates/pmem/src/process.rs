//! Telling what a forked child inherited from what it made itself.
//!
//! A fork without exec copies the memory, not the threads: locks stay locked, and handles of a
//! pool stand for an open pool, journal and caches of which the parent is the one user. So each
//! handle keeps an [`Origin`], and refuses in the child. A process's own mark lies in a page that
//! fork wipes (MADV_WIPEONFORK); reading it costs a load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The process that something was made by.
///
/// ```
/// let origin = limpid_pmem::Origin::here();
/// assert!(!origin.is_inherited());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(u64);

impl Origin {
    /// This process.
    pub fn here() -> Origin {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mark = mark();
        if mark.load(Ordering::Relaxed) == 0 {
            // The counter is inherited: a child's mark is none of its ancestors'.
            let fresh = NEXT.fetch_add(1, Ordering::Relaxed);
            let _ = mark.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
        }
        Origin(mark.load(Ordering::Relaxed))
    }

    /// True in a process that was forked, without exec, since this was made.
    #[inline]
    pub fn is_inherited(self) -> bool {
        mark().load(Ordering::Relaxed) != self.0
    }
}

/// The mark of this process; 0 until something was made here.
#[inline]
fn mark() -> &'static AtomicU64 {
    static MARK: OnceLock<&'static AtomicU64> = OnceLock::new();
    MARK.get_or_init(|| {
        #[cfg(not(miri))]
        if let Ok(word) = wiped_on_fork() {
            return word;
        }
        // Without such a page a child is taken for its parent.
        static PLAIN: AtomicU64 = AtomicU64::new(0);
        &PLAIN
    })
}

#[cfg(not(miri))]
fn wiped_on_fork() -> rustix::io::Result<&'static AtomicU64> {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
    let len = rustix::param::page_size();
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh mapping at an address of the kernel's choice disturbs nothing.
    let page = unsafe { mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE)? };
    // SAFETY: the page is ours; the child's copy of it is to be zero.
    unsafe { madvise(page, len, Advice::LinuxWipeOnFork)? };
    // SAFETY: the page is aligned, zeroed, accessed by this reference only, and never unmapped.
    Ok(unsafe { AtomicU64::from_ptr(page.cast()) })
}
