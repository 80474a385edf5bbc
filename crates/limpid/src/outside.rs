//! Caches outside the library: the kernel's, behind a mount.
//!
//! The kernel keeps copies of bytes, attributes and names, so it has to be told what the library
//! changes, and asked for what it has that is newer. That happens before and after an operation,
//! never under a lock: the kernel answers only when requests that it has under way are served,
//! and serving them takes the locks of files. The mount's own operations tell nobody.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use limpid_fs::SetAttributes;
use limpid_locks::{Class, RwLock, rw_lock};

use crate::error::{Error, Result};
use crate::file::File;
use crate::inodes::Held;
use crate::pool::{Inner, Pool};

/// A cache of a pool's bytes, attributes and names outside the library. Its methods are called
/// without any lock, by the thread that makes the change.
pub trait OutsideCache: Send + Sync {
    /// Before bytes are read: what the cache has newer goes into the pool.
    fn write_back(&self, ino: u64, bytes: Range<u64>);

    /// Before it is asked where a file has holes: what the cache has stored in those in `bytes`
    /// goes into the pool.
    fn write_back_holes(&self, ino: u64, bytes: Range<u64>);

    /// All of `bytes` has been written, or cut off, or made a hole.
    fn determined(&self, ino: u64, bytes: Range<u64>);

    /// `bytes` were taken out of a file, and what followed moved down.
    fn collapsed(&self, ino: u64, bytes: Range<u64>);

    /// A hole was put in at `bytes`, and what followed moved up.
    fn inserted(&self, ino: u64, bytes: Range<u64>);

    /// The errno of the failure that has lost bytes of the cache which nobody has written since.
    fn lost(&self, ino: u64) -> Option<i32>;

    /// Before bytes change: what the cache has newer goes into the pool, what it has is dropped,
    /// and nothing comes in again until [`readmit`](OutsideCache::readmit) with what is returned.
    fn keep_out(&self, ino: u64, bytes: Range<u64>) -> u64;

    /// After bytes changed, and perhaps the size.
    fn readmit(&self, ino: u64, kept_out: u64);

    /// Attributes changed.
    fn attributes_changed(&self, ino: u64);

    /// A name in a directory came, went, or stands for something else.
    fn name_changed(&self, dir: u64, name: &[u8]);

    /// An inode lost its last name; the cache may know it yet.
    fn last_name_gone(&self, held: Held);
}

/// The one cache outside that a pool may have.
pub(crate) struct Outside {
    /// Whether there is one: spares all others the lock.
    present: AtomicBool,
    cache: RwLock<Option<Weak<dyn OutsideCache>>>,
}

/// The class of its lock.
static OUTSIDE: Class = Class::new("limpid: the cache outside");

impl Default for Outside {
    fn default() -> Outside {
        Outside { present: AtomicBool::new(false), cache: rw_lock(&OUTSIDE, None) }
    }
}

impl Outside {
    #[inline]
    pub fn get(&self) -> Option<Arc<dyn OutsideCache>> {
        if !self.present.load(Ordering::Acquire) {
            return None;
        }
        let cache = self.cache.read();
        cache.as_ref().and_then(Weak::upgrade)
    }
}

impl Pool {
    /// Makes a cache outside the library known, which is told of changes from now on. False if
    /// the pool has one already; it is forgotten when it is dropped.
    pub fn set_outside_cache(&self, new: Weak<dyn OutsideCache>) -> bool {
        let outside = &self.inner.outside;
        let mut cache = outside.cache.write();
        if cache.as_ref().is_some_and(|old| old.strong_count() > 0) {
            return false;
        }
        *cache = Some(new);
        outside.present.store(true, Ordering::Release);
        true
    }
}

impl Inner {
    /// A name came or went, and with it the attributes of its directory and of what it stands for
    /// changed.
    pub fn tell_name(&self, dir: u64, name: &[u8], inodes: &[u64]) {
        if let Some(cache) = self.outside.get() {
            cache.name_changed(dir, name);
            cache.attributes_changed(dir);
            inodes.iter().for_each(|ino| cache.attributes_changed(*ino));
        }
    }

    /// Before attributes are changed: what was stored before would move the time of the last change
    /// when it comes.
    pub fn before_attributes(&self, ino: u64, set: &SetAttributes) {
        if set.mtime.is_some()
            && let Some(cache) = self.outside.get()
        {
            cache.write_back(ino, 0..u64::MAX);
        }
    }

    /// Before it is asked where a file has holes, or how much it takes.
    pub fn fetch_holes(&self, ino: u64, bytes: Range<u64>) {
        if let Some(cache) = self.outside.get() {
            cache.write_back_holes(ino, bytes);
        }
    }

    /// Attributes changed.
    pub fn tell_attributes(&self, ino: u64) {
        if let Some(cache) = self.outside.get() {
            cache.attributes_changed(ino);
        }
    }
}

/// A change of bytes under way, of which the cache outside keeps out.
pub(crate) struct Changing<'a> {
    file: &'a File,
    cache: Arc<dyn OutsideCache>,
    kept_out: u64,
    from: u64,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.cache.readmit(self.file.ino(), self.kept_out);
    }
}

impl File {
    pub(crate) fn ino(&self) -> u64 {
        self.node.inode().ino().0
    }

    /// The cache outside, unless this handle is its own.
    #[inline]
    fn outside(&self) -> Option<Arc<dyn OutsideCache>> {
        if self.is_outside { None } else { self.pool.outside.get() }
    }

    /// Keeps the cache outside out of `bytes` as long as the result lives. The range is widened to
    /// the end of the file if it begins behind it: what lies between becomes zeroes.
    #[inline]
    pub(crate) fn changing(&self, bytes: Range<u64>) -> Option<Changing<'_>> {
        let cache = self.outside()?;
        let from = bytes.start.min(self.len());
        let kept_out = cache.keep_out(self.ino(), from..bytes.end);
        Some(Changing { file: self, cache, kept_out, from })
    }

    /// A write came to lie before the range that was kept out, because the file shrank meanwhile.
    pub(crate) fn changed_before(&self, changing: Option<Changing<'_>>, at: u64) {
        let missed = changing.as_ref().is_some_and(|changing| at < changing.from);
        drop(changing);
        if missed {
            drop(self.changing(at..u64::MAX));
        }
    }

    /// A change that was kept out of has determined `bytes`.
    pub(crate) fn determined(&self, changing: Option<&Changing<'_>>, bytes: Range<u64>) {
        if let Some(changing) = changing {
            changing.cache.determined(self.ino(), bytes);
        }
    }

    /// A change that was kept out of has taken out `bytes`.
    pub(crate) fn collapsed(&self, changing: Option<&Changing<'_>>, bytes: Range<u64>) {
        if let Some(changing) = changing {
            changing.cache.collapsed(self.ino(), bytes);
        }
    }

    /// A change that was kept out of has put in a hole.
    pub(crate) fn inserted(&self, changing: Option<&Changing<'_>>, bytes: Range<u64>) {
        if let Some(changing) = changing {
            changing.cache.inserted(self.ino(), bytes);
        }
    }

    /// At a sync, whether the cache outside has lost bytes that were to be stored.
    pub(crate) fn nothing_lost(&self) -> Result<()> {
        match self.outside().and_then(|cache| cache.lost(self.ino())) {
            Some(errno) => Err(Error::Lost(std::io::Error::from_raw_os_error(errno))),
            None => Ok(()),
        }
    }

    /// At a sync the pool gets what the cache outside has newer, and the cache what was stored
    /// through maps, of which it was not told.
    pub(crate) fn meet_outside(&self) {
        if self.node.mapping.map_count() > 0 {
            drop(self.changing(0..u64::MAX));
        } else {
            self.fetch_newer(0..u64::MAX);
        }
    }

    /// What the cache outside has stored in holes from byte `from` on goes into the pool.
    #[inline]
    pub(crate) fn fetch_holes(&self, from: u64) {
        if let Some(cache) = self.outside() {
            cache.write_back_holes(self.ino(), from..u64::MAX);
        }
    }

    /// What the cache outside has newer of `bytes` goes into the pool.
    #[inline]
    pub(crate) fn fetch_newer(&self, bytes: Range<u64>) {
        if let Some(cache) = self.outside() {
            cache.write_back(self.ino(), bytes);
        }
    }
}
