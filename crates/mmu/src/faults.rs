//! The threads that read the engine's userfaultfd and resolve faults.
//!
//! All threads are alike. One at a time, the leader, sleeps in read; with a message in hand it
//! lets the next one lead and resolves the fault itself, so a fault costs one hand-over. Whoever
//! moves a mapping sleeps until its REMAP event was read, with locks held that a resolver may
//! want; so a thread resolves only if another one is left to lead, and is started if there is
//! none.
//!
//! A resolver may sleep for long: on an entry lock for the length of a writer's copy, on a slow
//! medium. So each map may keep [`PER_MAP`] of them busy, and no fault waits for one of another
//! map, unless the system refuses a thread: then for the first that is done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard};

use limpid_dax::{Mmu, PageIndex, PageRange, Target};
use rustix::io::Errno;

use crate::ballast;
use crate::engine::{Engine, FaultOutcome};
use crate::error::EngineError;
use crate::mm::{Span, fatal};
use crate::sigsegv::serve_requests;
use crate::thread;
use crate::uffd::Event;

/// Threads that are there from the start, and stay.
const STARTED: usize = 4;
/// Faults of one map that are resolved at a time; more wait for one of these.
const PER_MAP: usize = 4;

/// How often a fault is tried again with room made for it.
const TRIES: usize = 3;

#[derive(Clone, Copy, Debug)]
struct Fault {
    address: usize,
    store: bool,
}

/// What the threads share.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    leader: Mutex<()>,
    work: Mutex<Work>,
}

#[derive(Debug, Default)]
struct Work {
    /// Threads that lead, or would.
    idle: usize,
    /// Maps with faults under way, by first address.
    maps: BTreeMap<usize, Turn>,
    /// Faults for which no thread could be had.
    waiting: VecDeque<(usize, Fault)>,
}

/// The faults of one map.
#[derive(Debug, Default)]
struct Turn {
    resolving: usize,
    waiting: VecDeque<Fault>,
}

/// Starts the threads.
pub(crate) fn start(engine: &'static Engine) -> Result<(), EngineError> {
    for _ in 0..STARTED {
        let mut work = engine.faults.lock();
        start_one(engine, &mut work)?;
    }
    thread::start(c"limpid-unbar", engine, unbar).map_err(EngineError::NoRoom)
}

fn start_one(engine: &'static Engine, work: &mut Work) -> Result<(), EngineError> {
    thread::start(c"limpid-fault", engine, serve).map_err(EngineError::NoRoom)?;
    work.idle += 1;
    Ok(())
}

/// Settles accesses to barred ranges. It waits for states of maps, as those that read events must
/// not.
fn unbar(engine: &'static Engine) {
    serve_requests(|| {
        for map in engine.maps() {
            if let Some(watch) = map.watch.get()
                && watch.is_wanted()
            {
                map.unbar_all(watch);
            }
        }
    })
}

/// Returns when there are threads enough without this one.
fn serve(engine: &'static Engine) {
    let shared = &engine.faults;
    loop {
        let event = {
            let _leads = shared.leader.lock().expect("a leader does not panic");
            engine.uffd.read()
        };
        let fault = match event {
            Ok(Event::Fault { address, store }) => Fault { address, store },
            Ok(Event::Other) | Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(errno) => fatal("reading userfaultfd", errno),
        };
        // Faults where no map is any more are no map's.
        let map = engine.route(fault.address).map_or(0, |route| route.span.start);
        let mut next = shared.begin(engine, map, fault);
        let resolved = next.is_some();
        while let Some((map, fault)) = next {
            resolve(engine, fault);
            next = shared.next(map);
        }
        if resolved && !shared.stay() {
            return;
        }
    }
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().expect("nothing panics with this lock held")
    }

    /// The fault to resolve now, unless its map has its share already or nobody would be left to
    /// lead.
    fn begin(&self, engine: &'static Engine, map: usize, fault: Fault) -> Option<(usize, Fault)> {
        let mut work = self.lock();
        let turn = work.maps.entry(map).or_default();
        if turn.resolving == PER_MAP {
            turn.waiting.push_back(fault);
            return None;
        }
        turn.resolving += 1;
        let alone = work.idle == 1;
        if alone && !(ballast::is_room() && start_one(engine, &mut work).is_ok()) {
            work.finish(map);
            work.waiting.push_back((map, fault));
            return None;
        }
        work.idle -= 1;
        Some((map, fault))
    }

    /// The next fault for a thread that is done with one of `map`.
    fn next(&self, map: usize) -> Option<(usize, Fault)> {
        let mut work = self.lock();
        if let Some(fault) = work.maps.get_mut(&map).and_then(|turn| turn.waiting.pop_front()) {
            return Some((map, fault));
        }
        work.finish(map);
        while let Some((map, fault)) = work.waiting.pop_front() {
            let turn = work.maps.entry(map).or_default();
            if turn.resolving < PER_MAP {
                turn.resolving += 1;
                return Some((map, fault));
            }
            turn.waiting.push_back(fault);
        }
        work.idle += 1;
        None
    }

    /// Whether a thread without a fault is wanted.
    fn stay(&self) -> bool {
        let mut work = self.lock();
        if work.idle <= STARTED {
            return true;
        }
        work.idle -= 1;
        false
    }
}

impl Work {
    /// A resolver of a map is done.
    fn finish(&mut self, map: usize) {
        if let Some(turn) = self.maps.get_mut(&map) {
            turn.resolving -= 1;
            if turn.resolving == 0 {
                self.maps.remove(&map);
            }
        }
    }
}

/// Has the map's handler settle a fault, then wakes the page in any case: whoever slept finds
/// what is there now, or faults again.
fn resolve(engine: &'static Engine, fault: Fault) {
    let address = fault.address & !0xfff;
    let wake = || engine.uffd.wake(Span { start: address, len: 4096 });
    if engine.stage.step_aside(address, wake) {
        return;
    }
    if let Some(route) = engine.route(address) {
        engine.counters.faults.fetch_add(1, Ordering::Relaxed);
        let page = PageIndex(route.first.0 + ((address - route.span.start) >> 12) as u64);
        let mut outcome = route.handler.fault(page, fault.store);
        for _ in 0..TRIES {
            if outcome != FaultOutcome::NoMemory || !engine.make_more_room() {
                break;
            }
            outcome = route.handler.fault(page, fault.store);
        }
        match (outcome, route.map.upgrade()) {
            (FaultOutcome::SigBus, Some(map)) => {
                let pages = PageRange::new(page.0, page.0 + 1);
                // Without room for it the access faults again.
                let _ = map.install(pages, Target::Poison);
            }
            (FaultOutcome::NoMemory, Some(map)) => map.refuse(page),
            _ => {}
        }
    }
    wake();
}
