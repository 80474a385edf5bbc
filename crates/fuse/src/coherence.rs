//! What the library changes, told to the kernel.
//!
//! The kernel's page cache, its attributes and its names are a cache outside the library
//! ([`OutsideCache`]). Notifications are sent by the thread that makes the change, while it holds
//! no lock. What the kernel answers to them does not matter: it may have forgotten what it is told
//! of, and when the mount is gone there is nobody to tell.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use fuser::{INodeNo, Notifier};
use limpid::{Held, OutsideCache};
use limpid_locks::assert_none_held;

use crate::pages::pages_of;
use crate::server::Server;

/// The offset with which a notification is about attributes alone.
const ATTRIBUTES_ONLY: i64 = -1;

impl Server {
    /// The way to the kernel, if it knows the inode. Wants no lock: the kernel may answer what it
    /// is told only when requests are served that it has under way.
    fn notifier_for(&self, ino: u64) -> Option<&Notifier> {
        assert_none_held("the kernel is told of a change");
        let known = ino == self.inodes.root() || self.known.contains(ino);
        self.notifier.get().filter(|_| known)
    }

    /// Drops the kernel's pages of `bytes`; those with stores of programs are written first.
    pub(crate) fn drop_pages(&self, ino: u64, bytes: &Range<u64>) {
        let Some(notifier) = self.notifier_for(ino) else { return };
        let offset = i64::try_from(bytes.start).unwrap_or(i64::MAX);
        // A length of 0 means all that follows.
        let len = bytes.end.saturating_sub(bytes.start);
        let len = i64::try_from(len).unwrap_or(0);
        let number = self.stale.begin(ino, pages_of(bytes));
        let _ = notifier.inval_inode(INodeNo(ino), offset, len);
        // Who has copied a write before has the file open.
        self.stale.done(ino, number, self.handles.writers(ino) > 0);
    }

    /// The kernel asks for the attributes again. It drops no page, so it waits for no request.
    pub(crate) fn forget_attributes(&self, ino: u64) {
        if let Some(notifier) = self.notifier_for(ino) {
            let _ = notifier.inval_inode(INodeNo(ino), ATTRIBUTES_ONLY, 0);
        }
    }
}

impl OutsideCache for Server {
    fn write_back(&self, ino: u64, bytes: Range<u64>) {
        // Only a file that is open for writing can have pages that are newer than the pool.
        if self.handles.writers(ino) > 0 {
            self.drop_pages(ino, &bytes);
        }
    }

    fn write_back_holes(&self, ino: u64, bytes: Range<u64>) {
        self.fetch_holes(ino, bytes);
    }

    fn determined(&self, ino: u64, bytes: Range<u64>) {
        self.lost.settle(ino, &bytes);
        self.past_end.unmask(ino, &bytes);
    }

    fn collapsed(&self, ino: u64, bytes: Range<u64>) {
        self.lost.collapsed(ino, &bytes);
    }

    fn inserted(&self, ino: u64, bytes: Range<u64>) {
        self.lost.inserted(ino, &bytes);
    }

    fn lost(&self, ino: u64) -> Option<i32> {
        self.all_stored(ino).err().map(|error| error.code())
    }

    fn keep_out(&self, ino: u64, bytes: Range<u64>) -> u64 {
        self.gates.close(ino, bytes.clone(), || self.drop_pages(ino, &bytes))
    }

    fn readmit(&self, ino: u64, kept_out: u64) {
        self.gates.open(kept_out);
        self.attributes_changed(ino);
    }

    fn attributes_changed(&self, ino: u64) {
        self.forget_attributes(ino);
    }

    fn name_changed(&self, dir: u64, name: &[u8]) {
        if let Some(notifier) = self.notifier_for(dir) {
            let _ = notifier.inval_entry(INodeNo(dir), OsStr::from_bytes(name));
            // The listing that the kernel may have kept.
            let _ = notifier.inval_inode(INodeNo(dir), 0, 0);
        }
    }

    fn last_name_gone(&self, held: Held) {
        self.known.hold(held);
    }
}
