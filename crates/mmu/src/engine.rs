//! The engine: one per process. It owns the userfaultfd descriptors, knows all maps by address,
//! and runs the threads that resolve faults (`faults.rs`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};

use limpid_dax::PageIndex;
use limpid_pmem::Origin;

use crate::ballast::Ballast;
use crate::budget::Budget;
use crate::caps::Capabilities;
use crate::error::EngineError;
use crate::faults::{self, Faults};
use crate::loads_only::{self, Refusals};
use crate::map::LinuxMap;
use crate::mm::Span;
use crate::pagemap::Pagemap;
use crate::stage::Stage;
use crate::uffd::{SYNC_FEATURES, TRACK_FEATURES, Uffd};

/// Decides what a page of a map shows. Called on a thread of the engine, with no lock of this
/// crate held; may block on locks of the DAX layer, but must not touch the memory of any map.
///
/// A handler should hold its [`LinuxMap`] weakly, else neither is ever dropped.
pub trait FaultHandler: Send + Sync {
    /// An access to `page` found nothing that allows it. `store` tells a store from a load.
    fn fault(&self, page: PageIndex, store: bool) -> FaultOutcome;
}

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOutcome {
    /// Something is installed that settles it, [`Target::Poison`](limpid_dax::Target::Poison)
    /// included.
    Installed,
    /// Nothing is installed; the access shall simply fault again.
    Retry,
    /// The bytes cannot be had (I/O error, no space): the engine poisons the page, the access
    /// raises SIGBUS.
    SigBus,
    /// Nothing could be installed for want of memory or mappings: the engine makes room and has
    /// the access fault again, or raises SIGBUS where it finds none.
    NoMemory,
    /// The map is going away; nobody waits for this page.
    Gone,
}

/// Counters since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Faults handed to handlers.
    pub faults: u64,
    /// Ranges installed.
    pub installs: u64,
    /// Ranges unmapped for the DAX layer.
    pub unmaps: u64,
    /// Ranges unmapped to stay within the budget of kernel mappings.
    pub evictions: u64,
    /// Kernel mappings that all maps cost now, an estimate.
    pub kernel_maps: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub faults: AtomicU64,
    pub installs: AtomicU64,
    pub unmaps: AtomicU64,
    pub evictions: AtomicU64,
}

/// A map as faults find it.
#[derive(Clone)]
pub(crate) struct Route {
    pub span: Span,
    pub first: PageIndex,
    pub map: Weak<LinuxMap>,
    pub handler: Arc<dyn FaultHandler>,
}

/// The process's fault engine.
pub struct Engine {
    pub(crate) uffd: Uffd,
    /// Takes note of stores to storage (WP_ASYNC); sends no messages.
    pub(crate) tracker: Option<Uffd>,
    pub(crate) pagemap: Pagemap,
    pub(crate) stage: Stage,
    pub(crate) faults: Faults,
    /// Pages whose stores are refused.
    pub(crate) refusals: Refusals,
    pub(crate) budget: Budget,
    pub(crate) ballast: Ballast,
    /// Some map has refused pages.
    refused: AtomicBool,
    pub(crate) counters: Counters,
    /// By first address. Never held while a handler runs.
    routes: RwLock<BTreeMap<usize, Route>>,
    /// All maps, for eviction.
    maps: Mutex<Vec<Weak<LinuxMap>>>,
    ticks: AtomicU64,
    capabilities: Capabilities,
    origin: Origin,
}

impl Engine {
    /// The engine, started by the first call. The answer is final for the process; a forked
    /// child gets an error and has to start a program of its own.
    pub fn get() -> Result<&'static Engine, EngineError> {
        static ENGINE: OnceLock<Result<Engine, EngineError>> = OnceLock::new();
        static THREADS: OnceLock<Result<(), EngineError>> = OnceLock::new();
        let engine = ENGINE.get_or_init(Engine::new).as_ref().map_err(|error| *error)?;
        if engine.is_inherited() {
            return Err(EngineError::Forked);
        }
        let start = || faults::start(engine).and_then(|()| loads_only::start(engine));
        (*THREADS.get_or_init(start))?;
        Ok(engine)
    }

    fn new() -> Result<Engine, EngineError> {
        let (uffd, kernel_faults) = Uffd::open(SYNC_FEATURES)?;
        let tracker = Uffd::open(TRACK_FEATURES).ok().map(|(tracker, _)| tracker);
        let pagemap = Pagemap::open()?;
        let stage = Stage::new(&uffd)?;
        let ballast = Ballast::new().map_err(EngineError::NoRoom)?;
        let capabilities = Capabilities::find_out(kernel_faults, tracker.is_some());
        Ok(Engine {
            uffd,
            tracker,
            pagemap,
            stage,
            faults: Faults::default(),
            refusals: Refusals::new()?,
            // The other half is the program's own.
            budget: Budget::new(capabilities.max_map_count / 2),
            ballast,
            refused: AtomicBool::new(false),
            counters: Counters::default(),
            routes: RwLock::default(),
            maps: Mutex::default(),
            ticks: AtomicU64::new(1),
            capabilities,
            origin: Origin::here(),
        })
    }

    /// True in a forked child: threads and maps are the parent's.
    pub(crate) fn is_inherited(&self) -> bool {
        self.origin.is_inherited()
    }

    /// What this machine gives.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Counters of all maps.
    pub fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            faults: get(&self.counters.faults),
            installs: get(&self.counters.installs),
            unmaps: get(&self.counters.unmaps),
            evictions: get(&self.counters.evictions),
            kernel_maps: self.budget.used() as u64,
        }
    }

    /// Sets how many kernel mappings all maps together may cost before the least recently
    /// installed ranges are unmapped again. The default is half of `vm.max_map_count`.
    pub fn set_map_budget(&self, kernel_maps: usize) {
        self.budget.set_limit(kernel_maps);
    }

    /// A number greater than all before; never 0.
    pub(crate) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn adopt(&self, map: Weak<LinuxMap>) {
        let mut maps = self.maps.lock().expect("nothing panics with this lock held");
        maps.retain(|other| other.strong_count() > 0);
        maps.push(map);
    }

    pub(crate) fn maps(&self) -> Vec<Arc<LinuxMap>> {
        let maps = self.maps.lock().expect("nothing panics with this lock held").clone();
        maps.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn note_refusal(&self) {
        self.refused.store(true, Ordering::Release);
    }

    /// Lets accesses that were refused for want of mappings be tried again: there is room now.
    /// Called with no map's state locked.
    pub(crate) fn readmit_refused(&self) {
        if self.refused.load(Ordering::Relaxed) && self.refused.swap(false, Ordering::Acquire) {
            for map in self.maps() {
                map.readmit(map.pages());
            }
        }
    }

    pub(crate) fn add_route(&self, route: Route) {
        let mut routes = self.routes.write().expect("nothing panics with this lock held");
        routes.insert(route.span.start, route);
    }

    pub(crate) fn remove_route(&self, start: usize) {
        let route = self.routes.write().expect("nothing panics with this lock held").remove(&start);
        // Dropped with the lock released: the handler's own drop may run here.
        drop(route);
    }

    /// The map that holds `address`.
    pub(crate) fn route(&self, address: usize) -> Option<Route> {
        let routes = self.routes.read().expect("nothing panics with this lock held");
        let (_, route) = routes.range(..=address).next_back()?;
        (address < route.span.end()).then(|| route.clone())
    }
}
