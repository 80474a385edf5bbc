//! One map (VMA) of a file: the reservation, its state, and its ends.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};

use limpid_dax::{Mmu, MmuError, Order, PageIndex, PageRange, Protection, Target};

use crate::backing::Backing;
use crate::engine::{Engine, FaultHandler, Route};
use crate::error::MapError;
use crate::mm::{HUGE, Region, Span};
use crate::segments::{Remembered, Segments};
use crate::sigsegv::Watch;
use crate::stage::report_for;

/// What is mapped and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Pages of the file; may reach past its end.
    pub pages: PageRange,
    /// Stores are allowed.
    pub writable: bool,
    /// Stores go to private copies of the pages (MAP_PRIVATE). Without `writable` this makes no
    /// difference.
    pub private: bool,
}

/// One map of a file in this process.
///
/// The addresses are reserved as long as the object lives, such that address and file offset agree
/// modulo 2 MiB. Accesses before [`serve`](LinuxMap::serve) wait. Not inherited by fork: the
/// child has nothing at these addresses.
///
/// Before a map is dropped [`Mmu::write_protect`] must be asked which pages were stored to, if
/// that matters: the knowledge goes with the map.
pub struct LinuxMap {
    pub(crate) engine: &'static Engine,
    pub(crate) backing: Arc<Backing>,
    pub(crate) region: Region,
    pub(crate) pages: PageRange,
    pub(crate) writable: bool,
    /// Stores make private copies; implies `writable`.
    pub(crate) private: bool,
    /// Lets accesses wait: stores while a private map is frozen, all where a range is barred.
    pub(crate) watch: OnceLock<Watch>,
    state: Mutex<State>,
}

/// What changes; held across the system calls that change it. The innermost lock.
#[derive(Debug)]
pub(crate) struct State {
    pub segments: Segments,
    /// Pages of shared writable storage that was shown once and may have been stored to.
    pub remembered: Remembered,
    /// Pages poisoned for want of mappings.
    pub refused: Remembered,
    /// Segments counted in the engine's budget.
    counted: usize,
}

impl LinuxMap {
    /// Reserves the addresses of a map; nothing is shown until its handler installs it.
    pub fn new(
        engine: &'static Engine,
        backing: Arc<Backing>,
        spec: MapSpec,
    ) -> Result<Arc<LinuxMap>, MapError> {
        let private = spec.private && spec.writable;
        if spec.pages.is_empty() {
            return Err(MapError::Empty);
        }
        if spec.writable && !private && !backing.options().writable {
            return Err(MapError::ReadOnly);
        }
        if private && !backing.options().private {
            return Err(MapError::NoPrivateCopies);
        }
        let granularity = backing.options().granularity;
        if private && granularity > 4096 {
            return Err(MapError::Unsupported(granularity));
        }
        let bytes = spec.pages.bytes();
        let len = bytes.end - bytes.start;
        let no_addresses = |errno| MapError::NoAddresses { len, errno };
        let residue = (bytes.start % HUGE as u64) as usize;
        let region = usize::try_from(len)
            .map_err(|_| rustix::io::Errno::NOMEM)
            .and_then(|len| Region::reserve(len, residue, spec.writable))
            .map_err(no_addresses)?;
        engine
            .uffd
            .register(&region, region.span(), report_for(spec.writable))
            .map_err(no_addresses)?;
        let watch = OnceLock::new();
        if private {
            watch.get_or_init(|| Watch::new(region.span()));
        }
        let segments = Segments::new(spec.pages);
        engine.budget.recount(0, segments.len());
        let counted = segments.len();
        let map = Arc::new(LinuxMap {
            engine,
            backing,
            region,
            pages: spec.pages,
            writable: spec.writable,
            private,
            watch,
            state: Mutex::new(State {
                segments,
                remembered: Remembered::default(),
                refused: Remembered::default(),
                counted,
            }),
        });
        engine.adopt(Arc::downgrade(&map));
        Ok(map)
    }

    /// Names who resolves the faults of this map, from now until it is dropped.
    pub fn serve(self: &Arc<Self>, handler: Arc<dyn FaultHandler>) {
        self.engine.add_route(Route {
            span: self.region.span(),
            first: self.pages.start,
            map: Arc::downgrade(self),
            handler,
        });
        // Who faulted before there was a route faults again.
        self.engine.uffd.wake(self.region.span());
    }

    /// First address. Memory that others change at any time: access it by raw pointers, and only
    /// as long as the map lives.
    pub fn as_ptr(&self) -> *mut u8 {
        self.region.span().start as *mut u8
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.region.span().len
    }

    /// Never true: a map has at least one page.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The pages of the file that are mapped.
    pub fn pages(&self) -> PageRange {
        self.pages
    }

    /// True if stores are allowed.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// True if stores make private copies.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// As `lock`, unless somebody has the state locked.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("as in `lock`"),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a panic while tables were changed leaves nothing to trust")
    }

    /// The addresses of `pages`, which lie in the map.
    pub(crate) fn span(&self, pages: PageRange) -> Span {
        assert!(self.pages.covers(pages), "{pages:?} are not in the map of {:?}", self.pages);
        let offset = (pages.start.offset() - self.pages.start.offset()) as usize;
        Span { start: self.region.span().start + offset, len: (pages.len() as usize) << 12 }
    }

    /// The pages at a span of this map's addresses.
    pub(crate) fn pages_at(&self, span: Span) -> PageRange {
        let first = self.pages.start.0 + ((span.start - self.region.span().start) >> 12) as u64;
        PageRange::new(first, first + (span.len >> 12) as u64)
    }

    /// Brings the engine's count of kernel mappings up to date; called before the state is
    /// unlocked.
    pub(crate) fn recount(&self, state: &mut State) {
        let now = state.segments.len();
        self.engine.budget.recount(state.counted, now);
        state.counted = now;
    }
}

impl Drop for LinuxMap {
    fn drop(&mut self) {
        if self.engine.is_inherited() {
            return;
        }
        let span = self.region.span();
        self.engine.remove_route(span.start);
        self.watch.take();
        self.region.release();
        // Whoever still waited for a page finds no mapping now.
        self.engine.uffd.wake(span);
        let counted = self.lock().counted;
        self.engine.budget.recount(counted, 0);
    }
}

impl std::fmt::Debug for LinuxMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinuxMap")
            .field("pages", &self.pages)
            .field("span", &self.region.span())
            .field("writable", &self.writable)
            .field("private", &self.private)
            .finish_non_exhaustive()
    }
}

impl Mmu for LinuxMap {
    fn can_map_huge(&self, page: PageIndex) -> bool {
        self.pages.covers(page.unit(Order::Pmd))
    }

    fn install(&self, pages: PageRange, target: Target) -> Result<(), MmuError> {
        self.install_target(pages, target)
    }

    fn unmap(&self, pages: PageRange) {
        self.unmap_pages(pages);
    }

    fn discard(&self, pages: PageRange) {
        LinuxMap::discard(self, pages);
    }

    fn write_protect(&self, pages: PageRange, written: &mut dyn FnMut(PageRange)) -> Protection {
        self.collect_written(pages, written)
    }
}
