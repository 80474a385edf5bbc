//! What programs stored behind the end of a file through a map, in the last page, when the file
//! grows.
//!
//! Such bytes are nobody's, but the kernel keeps them in its page: if the file grows over them they
//! would turn up as content. So before a file grows by a request, leaving a gap behind its old end,
//! the kernel's page of that end is dropped, aside from the threads that serve requests
//! (`aside.rs`); what is written back of it ends where the file does. Growth by the library keeps
//! the page out while it is made (`gates.rs`).
//!
//! With ftruncate(2) the kernel holds back all that is to be written back until the request is
//! answered, so the page cannot be dropped before. But the kernel drops all the file's pages itself
//! before the call returns. What it writes back then is masked: the bytes behind the old
//! end are not stored, until the page is read in again.
//!
//! An account is kept of the files whose last page the kernel has read since it was dropped: no
//! other page has bytes behind the end that the pool does not know of. For a write that begins in
//! that page counts besides that the kernel may have it locked, if it does not have all
//! of it; so it is waited for a moment only, since there is no junk in such a page.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use limpid::File;
use limpid_locks::{Class, Mutex, mutex};
use rustc_hash::FxHashMap;

use crate::pages::{PAGE, bytes_of, pages_of};
use crate::server::Server;

/// How long a write waits for a page to be dropped that may be locked for that very write.
pub(crate) const LOCKED_MOMENT: Duration = Duration::from_secs(1);

/// The classes of the locks.
static ENDS: Class = Class::new("fuse: last pages");
static MASKS: Class = Class::new("fuse: masks of last pages");

const SHARDS: usize = 16;

/// The last pages of files. The locks are leaves.
pub(crate) struct PastEnd {
    /// Files whose last page the kernel has read, and whether it could be stored to since.
    read: [Mutex<FxHashMap<u64, bool>>; SHARDS],
    /// Number of files that have masks: spares all others the lock.
    masked: AtomicUsize,
    /// Bytes that are not to be written back, in order.
    masks: Mutex<FxHashMap<u64, Vec<Range<u64>>>>,
}

impl Default for PastEnd {
    fn default() -> PastEnd {
        PastEnd {
            read: std::array::from_fn(|_| mutex(&ENDS, FxHashMap::default())),
            masked: AtomicUsize::new(0),
            masks: mutex(&MASKS, FxHashMap::default()),
        }
    }
}

impl PastEnd {
    fn read(&self, ino: u64) -> &Mutex<FxHashMap<u64, bool>> {
        &self.read[ino as usize % SHARDS]
    }

    /// A program opened the file so that it can store through maps.
    pub fn mappable(&self, ino: u64) {
        if let Some(mappable) = self.read(ino).lock().get_mut(&ino) {
            *mappable = true;
        }
    }

    /// Bytes are not to be written back until their page is read.
    pub fn mask(&self, ino: u64, bytes: Range<u64>) {
        let mut masks = self.masks.lock();
        let of = masks.entry(ino).or_default();
        of.push(bytes);
        of.sort_by_key(|mask| mask.start);
        self.masked.store(masks.len(), Ordering::SeqCst);
    }

    /// Bytes are written back again.
    pub fn unmask(&self, ino: u64, bytes: &Range<u64>) {
        if self.masked.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut masks = self.masks.lock();
        let Some(of) = masks.get_mut(&ino) else { return };
        let parts = of.iter().flat_map(|mask| {
            [mask.start..mask.end.min(bytes.start), mask.start.max(bytes.end)..mask.end]
        });
        *of = parts.filter(|part| part.start < part.end).collect();
        if of.is_empty() {
            masks.remove(&ino);
        }
        self.masked.store(masks.len(), Ordering::SeqCst);
    }

    /// Those of `bytes` that are to be written back, in order.
    pub fn unmasked(&self, ino: u64, bytes: Range<u64>) -> Vec<Range<u64>> {
        let masks = (self.masked.load(Ordering::SeqCst) != 0).then(|| self.masks.lock());
        let mut left = Vec::with_capacity(1);
        let mut at = bytes.start;
        for mask in masks.iter().filter_map(|masks| masks.get(&ino)).flatten() {
            left.push(at..mask.start.min(bytes.end));
            at = at.max(mask.end);
        }
        left.push(at..bytes.end);
        left.retain(|part| part.start < part.end);
        left
    }

    /// The kernel has forgotten an inode, and so all its pages.
    pub fn forget(&self, ino: u64) {
        self.read(ino).lock().remove(&ino);
        self.unmask(ino, &(0..u64::MAX));
    }
}

impl Server {
    /// The kernel is about to get `bytes`.
    pub fn note_end(&self, ino: u64, file: &File, bytes: &Range<u64>) {
        let (size, pages) = (file.len(), pages_of(bytes));
        self.past_end.unmask(ino, &bytes_of(&pages));
        if !size.is_multiple_of(PAGE) && pages.contains(&(size / PAGE)) {
            let mappable = self.handles.mappers(ino) > 0;
            *self.past_end.read(ino).lock().entry(ino).or_default() |= mappable;
        }
    }

    /// The bytes behind the end of a file in its last page up to `until`, if the kernel may have
    /// junk there.
    pub fn junk(&self, ino: u64, file: &File, until: u64) -> Option<Range<u64>> {
        let size = file.len();
        let junk = size..until.min(size.next_multiple_of(PAGE));
        let is_read = || self.past_end.read(ino).lock().get(&ino) == Some(&true);
        (junk.start < junk.end && is_read()).then_some(junk)
    }

    /// Does what makes an open file longer, with a gap up to `until`, and answers: at once, or
    /// aside if there may be junk in the gap.
    pub fn growing<T>(
        self: &Arc<Server>,
        number: u64,
        until: u64,
        work: impl FnOnce(&Server) -> T + Send + 'static,
        reply: impl FnOnce(T) + Send + 'static,
    ) {
        let handle = self.handles.get(number);
        let junk = handle.and_then(|handle| {
            let junk = self.junk(handle.ino, &handle.file, until)?;
            Some((handle.ino, junk))
        });
        let Some((ino, junk)) = junk else { return reply(work(self)) };
        let server = self.clone();
        self.aside.submit(move || {
            server.drop_junk(ino, junk, false);
            let done = work(&server);
            drop(server);
            reply(done);
        });
    }

    /// A file is about to get another size by ftruncate(2).
    pub fn mask_junk(&self, ino: u64, file: &File, size: u64) {
        if let Some(junk) = self.junk(ino, file, size) {
            self.past_end.mask(ino, junk.start..junk.start.next_multiple_of(PAGE));
        }
    }

    /// The kernel drops all pages of a file that got another size.
    pub fn resized(&self, ino: u64) {
        self.past_end.read(ino).lock().remove(&ino);
    }

    /// Has junk behind the end of a file dropped. Waits for requests to be served, and only for a
    /// moment if the page can be locked for this very request.
    pub fn drop_junk(self: &Arc<Server>, ino: u64, junk: Range<u64>, is_locked: bool) {
        self.past_end.read(ino).lock().remove(&ino);
        if !is_locked {
            self.drop_pages(ino, &junk);
        } else if self.drop_locked(ino, junk.clone()).is_err() {
            self.past_end.mask(ino, junk);
        }
    }

    /// Drops pages that may be locked for the very request that waits for it; fails if that takes
    /// longer than a moment. Then it goes on.
    fn drop_locked(
        self: &Arc<Server>,
        ino: u64,
        bytes: Range<u64>,
    ) -> Result<(), RecvTimeoutError> {
        let (sender, dropped) = channel();
        let server = self.clone();
        self.aside.submit(move || {
            server.drop_pages(ino, &bytes);
            drop(server);
            let _ = sender.send(());
        });
        dropped.recv_timeout(LOCKED_MOMENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_bytes_are_left_out_until_they_are_read() {
        let end = PastEnd::default();
        assert_eq!(end.unmasked(7, 0..100), [0..100]);
        end.mask(7, 50..60);
        end.mask(7, 10..20);
        assert_eq!(end.unmasked(7, 0..100), [0..10, 20..50, 60..100]);
        assert_eq!(end.unmasked(7, 15..55), [20..50]);
        assert_eq!(end.unmasked(7, 12..18), []);
        assert_eq!(end.unmasked(8, 12..18), [12..18]);
        end.unmask(7, &(15..55));
        assert_eq!(end.unmasked(7, 0..100), [0..10, 15..55, 60..100]);
        end.forget(7);
        assert_eq!(end.unmasked(7, 0..100), [0..100]);
        assert_eq!(end.masked.into_inner(), 0);
    }
}
