//! The state of one file in the DAX layer.
//!
//! Lock order, outermost first; every function says what it wants held and what it leaves held:
//!
//! 1. `inode_lock`: write, truncate, fallocate, clone exclusive; read shared. A fault never takes
//!    it.
//! 2. `invalidate_lock`: a fault shared; truncate, punch, collapse, insert, zero, clone exclusive,
//!    and a write while it publishes copies of shared blocks.
//!    A clone takes locks 1 and then locks 2 of two files, each in the order of the file numbers.
//! 3. the file system's transaction (inside [`Iomap`]).
//! 4. the entry lock: the LOCKED bit of an entry, waits hashed by file and entry start.
//! 5. the block map's locks (inside [`Iomap`] methods only).
//! 6. `maps` (`i_mmap`), then the page tables (inside [`Mmu`](crate::Mmu) methods).
//!
//! `index`, `pins` and the wait queues are leaves: never held across a wait or a call of another
//! layer. The caller's memory is touched with lock 1 at most (I9).
//!
//! A transaction (3) is never held while an entry lock (4) is waited for: the block map opens and
//! closes it inside one call. So a fault may call it with its entry lock held.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use limpid_pmem::Media;

use crate::ahead::StoreUnit;
use crate::cover::{Branch, cover};
use crate::entry::{Entry, Marks};
use crate::error::Fallback;
use crate::index::Index;
use crate::iomap::Iomap;
use crate::maps::{Maps, Vma};
use crate::pins::Pins;
use crate::reasons::Reasons;
use crate::seam::{Mutex as _, RwLock as _, Seam};
use crate::units::{Order, PAGE_SIZE, PageIndex, PageRange};
use crate::wait::{Key, WaitTable};

/// What a DAX layer is built over.
pub trait Config: 'static {
    /// Locks and waits.
    type Seam: Seam;
    /// The medium.
    type Media: Media + ?Sized + 'static;
    /// The block map of a file.
    type Iomap: Iomap + 'static;
}

pub(crate) type Lock<C, T> = <<C as Config>::Seam as Seam>::RwLock<T>;
pub(crate) type Leaf<C, T> = <<C as Config>::Seam as Seam>::Mutex<T>;

/// How faults behave.
#[derive(Clone, Copy, Debug)]
pub struct FaultPolicy {
    /// Largest unit tried.
    pub largest: Order,
    /// Fault-around: a fault installs up to this many bytes around the page, if they lie in the
    /// same extent. 0 switches it off.
    pub around: u64,
    /// What a store to a hole takes, in maps that do not say it themselves.
    pub store_unit: StoreUnit,
    /// With [`StoreUnit::Page`]: most bytes that a store takes, its own page included, where stores
    /// follow one another; up to 2 MiB. 0 is the page alone.
    pub ahead: u64,
}

impl Default for FaultPolicy {
    fn default() -> Self {
        FaultPolicy {
            largest: Order::Pmd,
            around: 32 << 20,
            store_unit: StoreUnit::Huge,
            ahead: Order::Pmd.bytes(),
        }
    }
}

/// Counters of one file. All numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Faults handled.
    pub faults: u64,
    /// Walks over `i_mmap` that unmapped a range: one per invalidating operation.
    pub unmaps: u64,
    /// Entries removed by invalidation.
    pub invalidated: u64,
    /// Entries written back.
    pub written_back: u64,
    /// Faults that fell back to a smaller page, by [`Fallback::ALL`].
    pub fallbacks: [u64; Fallback::ALL.len()],
}

#[derive(Default)]
pub(crate) struct Counters {
    pub faults: AtomicU64,
    pub unmaps: AtomicU64,
    pub invalidated: AtomicU64,
    pub written_back: AtomicU64,
    pub fallbacks: [AtomicU64; Fallback::ALL.len()],
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One file: the index of its entries, its maps, its pins, and the locks that keep them in step
/// with the block map.
pub struct Mapping<C: Config> {
    pub(crate) file: u64,
    pub(crate) iomap: Arc<C::Iomap>,
    pub(crate) media: Arc<C::Media>,
    pub(crate) waits: Arc<WaitTable<C::Seam>>,
    pub(crate) policy: FaultPolicy,
    pub(crate) inode_lock: Lock<C, ()>,
    pub(crate) invalidate_lock: Lock<C, ()>,
    pub(crate) maps: Lock<C, Maps>,
    pub(crate) index: Leaf<C, Index>,
    pub(crate) pins: Leaf<C, Pins>,
    pub(crate) reasons: Leaf<C, Reasons>,
    pub(crate) counters: Counters,
}

impl<C: Config> Mapping<C> {
    /// The mapping of a file; there must be one per file and pool. `file` tells files apart that
    /// share a wait table.
    pub fn new(
        file: u64,
        iomap: Arc<C::Iomap>,
        media: Arc<C::Media>,
        waits: Arc<WaitTable<C::Seam>>,
        policy: FaultPolicy,
    ) -> Self {
        Mapping {
            file,
            iomap,
            media,
            waits,
            policy,
            inode_lock: Lock::<C, ()>::new(()),
            invalidate_lock: Lock::<C, ()>::new(()),
            maps: Lock::<C, Maps>::new(Maps::default()),
            index: Leaf::<C, Index>::new(Index::default()),
            pins: Leaf::<C, Pins>::new(Pins::default()),
            reasons: Leaf::<C, _>::new(Reasons::default()),
            counters: Counters::default(),
        }
    }

    /// The block map.
    pub fn iomap(&self) -> &Arc<C::Iomap> {
        &self.iomap
    }

    /// The medium.
    pub fn media(&self) -> &Arc<C::Media> {
        &self.media
    }

    /// Adds a map. It shows nothing yet; its accesses fault.
    pub fn add_map(&self, vma: Arc<Vma>) {
        self.maps.exclusive().add(vma);
    }

    /// Removes a map: unmaps it, and keeps in mind that what its page tables noted of stores is
    /// gone. In this order: after the unmap no store can come through this map, so an entry that
    /// is marked WHOLE now is written back wholly next time, and none is missed (I4).
    pub fn remove_map(&self, vma: &Arc<Vma>) {
        vma.mmu.unmap(vma.pages);
        if vma.shared && vma.writable {
            self.mark_whole(vma.pages);
        }
        self.maps.exclusive().remove(vma);
    }

    /// Marks the DIRTY entries that overlap `pages` WHOLE: stores to them were noted nowhere.
    pub(crate) fn mark_whole(&self, pages: PageRange) {
        self.index.with(|index| {
            let mut cursor = pages;
            while let Some(slot) = index.first_in(cursor) {
                if slot.marks.dirty {
                    index.update(slot.start, |_, marks| marks.whole = true);
                }
                cursor.start = slot.pages().end;
            }
        });
    }

    /// Number of live maps.
    pub fn map_count(&self) -> usize {
        self.maps.shared().len()
    }

    /// Number of pages that have an entry.
    pub fn entry_pages(&self) -> u64 {
        self.index.with(|index| index.pages())
    }

    /// Calls `see` for each entry with its pages, in order; for tests and diagnosis. Holds the
    /// index mutex meanwhile, so `see` must not call this mapping.
    pub fn for_each_entry(&self, mut see: impl FnMut(PageRange, Entry, Marks)) {
        self.index.with(|index| {
            for slot in index.iter() {
                see(slot.pages(), slot.entry, slot.marks);
            }
        });
    }

    /// Calls `see` for the pages of each live pin; as [`Self::for_each_entry`].
    pub fn for_each_pin(&self, see: impl FnMut(PageRange)) {
        self.pins.with(|pins| pins.iter().for_each(see));
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut fallbacks = [0; Fallback::ALL.len()];
        for (to, from) in fallbacks.iter_mut().zip(&self.counters.fallbacks) {
            *to = get(from);
        }
        Stats {
            faults: get(&self.counters.faults),
            unmaps: get(&self.counters.unmaps),
            invalidated: get(&self.counters.invalidated),
            written_back: get(&self.counters.written_back),
            fallbacks,
        }
    }

    /// Why the 2 MiB unit that holds `page` was last mapped with small pages, if it was. The
    /// reasons of the units that fell back first are forgotten when there are thousands.
    pub fn fallback_reason(&self, page: PageIndex) -> Option<Fallback> {
        self.reasons.with(|reasons| reasons.of(page))
    }

    pub(crate) fn note_fallback(&self, page: PageIndex, reason: Fallback) {
        count(&self.counters.fallbacks[reason as usize]);
        self.reasons.with(|reasons| reasons.note(page, reason));
    }

    pub(crate) fn key(&self, start: PageIndex) -> Key {
        Key { file: self.file, start }
    }

    /// The page after the last that holds bytes of the file.
    pub(crate) fn end_page(&self) -> PageIndex {
        PageIndex(self.iomap.size().div_ceil(PAGE_SIZE))
    }

    /// Unmaps `pages` in all maps: one walk over `i_mmap`. Private copies stay. Wants no lock of
    /// class 6; entry locks may be held. It is skipped only when the file has no map at all.
    pub(crate) fn unmap_range(&self, pages: PageRange) {
        let maps = self.maps.shared();
        if maps.is_empty() || pages.is_empty() {
            return;
        }
        count(&self.counters.unmaps);
        for vma in maps.overlapping(pages) {
            vma.mmu.unmap(vma.pages.intersect(pages));
        }
    }

    /// Takes all that `pages` show from the private maps, the copies included: the pages lie past
    /// the end of the file. Wants no lock of class 6.
    pub(crate) fn discard_copies(&self, pages: PageRange) {
        let maps = self.maps.shared();
        for vma in maps.overlapping(pages).filter(|vma| !vma.shared) {
            cover(Branch::DiscardCopies);
            vma.mmu.discard(vma.pages.intersect(pages));
        }
    }

    /// Checks I7 and I8 over the whole index and that no entry is locked; for tests, when no
    /// operation is running.
    pub fn assert_quiet(&self) {
        self.index.with(|index| {
            let mut end = 0;
            let mut pages = 0;
            for slot in index.iter() {
                assert!(slot.start.0 >= end, "entries overlap at {:?}", slot.start);
                assert!(!slot.entry.is_locked(), "{:?} is locked", slot.start);
                assert!(!slot.entry.is_empty(), "{:?} is a left place-holder", slot.start);
                end = slot.pages().end.0;
                pages += slot.pages().len();
            }
            assert_eq!(pages, index.pages(), "the page count is right");
        });
    }
}
