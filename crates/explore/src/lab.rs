//! One execution: the start state, the actors as coroutines, and what must hold at the end.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use generator::{Generator, Gn};
use limpid_dax::{Config, Mapping, PageIndex, PageRange, Vma, WaitTable, WriteAt};
use limpid_pmem::Media;
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};

use crate::buffers::Bytes;
use crate::check;
use crate::history::{INITIAL, cell_at, file_of, local, track};
use crate::op::Op;
use crate::ops::Actor;
use crate::scenario::{READER, SMALL, Scenario, Start, WHOLE};
use crate::seam::SimSeam;
use crate::sim::{CELL, MapSpec, Meets, SimMedia, SimMmu, Stepped, Subject};
use crate::tables_access::{load, store};
use crate::world::{self, Line, Pending, SimBug, Slot, Violation, World};

/// The DAX layer over the simulated parts and the block map `B`.
#[derive(Debug)]
pub struct Cfg<B>(PhantomData<B>);

impl<B: Subject> Config for Cfg<B> {
    type Seam = SimSeam;
    type Media = SimMedia;
    type Iomap = Stepped<B>;
}

/// Words of stack of an actor.
const STACK: usize = 16 << 10;
/// More steps than any execution can have: a livelock.
const MOST_STEPS: u64 = 20_000;
/// The value of a store in the start state.
const STORED: u8 = 60;

type Job = Box<dyn FnOnce() + Send>;

/// A coroutine that runs one job after the other.
struct Worker {
    coroutine: Generator<'static, (), ()>,
    job: Arc<std::sync::Mutex<Option<Job>>>,
}

impl Worker {
    fn new(number: usize) -> Worker {
        let job = Arc::new(std::sync::Mutex::new(None::<Job>));
        let inbox = job.clone();
        let coroutine = Gn::new_opt(STACK, move || {
            loop {
                let job = inbox.lock().expect("never poisoned").take();
                if let Some(job) = job
                    && let Err(panic) = catch_unwind(AssertUnwindSafe(job))
                {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or(panic.downcast_ref::<&str>().map(|text| text.to_string()));
                    let text = text.unwrap_or_else(|| "panic".into());
                    world::with(|world| world.fail("assertion", text));
                }
                world::with(|world| world.actors[number].pending = Pending::Done);
                world::yield_now();
            }
            #[allow(unreachable_code)]
            ()
        });
        Worker { coroutine, job }
    }
}

/// How an execution goes on, as a search sees it.
pub(crate) trait Guide {
    /// Picks one of the enabled actors (bits) after `last` ran.
    fn pick(&mut self, enabled: u8, last: Option<usize>) -> usize;
    /// Told after each step. Returns true if the state must be checked.
    fn reached(&mut self, fingerprint: impl FnOnce() -> u64) -> bool;
}

/// Runs executions of one scenario on this thread.
pub(crate) struct Lab<B: Subject> {
    pub scenario: Scenario,
    pub bug: SimBug,
    vmas: Arc<[Arc<Vma>]>,
    used: Vec<bool>,
    waits: Arc<WaitTable<SimSeam>>,
    workers: Vec<Worker>,
    /// One for each file.
    mappings: Mappings<B>,
    pub tracing: bool,
}

/// The files of one execution.
pub(crate) type Mappings<B> = Arc<[Arc<Mapping<Cfg<B>>>]>;

/// What one execution came to.
pub(crate) struct Run {
    pub violation: Option<Violation>,
    /// The actor picked at each step.
    pub schedule: Vec<u8>,
    pub trace: Vec<Line>,
}

/// Makes the maps of a scenario, anew for each execution: page tables may have a state.
fn make_vmas<B: Subject>(scenario: &Scenario) -> Arc<[Arc<Vma>]> {
    let make = |(map, spec): (usize, &MapSpec)| {
        let mmu = B::page_tables(SimMmu { map });
        let pages = PageRange::new(spec.start.into(), spec.end.into());
        Arc::new(Vma { pages, shared: spec.shared, writable: spec.writable, store_unit: None, mmu })
    };
    scenario.maps.iter().enumerate().map(make).collect()
}

/// Queues as in production, or one for all, where everybody meets everybody.
fn wait_table(scenario: &Scenario) -> Arc<WaitTable<SimSeam>> {
    Arc::new(WaitTable::with_queues(if scenario.one_queue { 1 } else { 256 }))
}

impl<B: Subject> Lab<B> {
    pub fn new(scenario: Scenario, bug: SimBug) -> Lab<B> {
        silence_actor_panics();
        let used = used_maps(&scenario);
        let waits = wait_table(&scenario);
        Lab {
            scenario,
            bug,
            vmas: Arc::new([]),
            used,
            waits,
            workers: Vec::new(),
            mappings: Arc::new([]),
            tracing: false,
        }
    }

    /// Makes the start state.
    fn prepare(&mut self) {
        self.mappings = Arc::new([]);
        let scenario = &self.scenario;
        track(scenario.looks_at);
        let size_changes = {
            let ops = scenario.actors.iter().flatten();
            ops.into_iter().any(|op| op.changes_size(scenario.size))
        };
        world::with(|world| {
            world.reset(scenario, &self.used, self.bug, self.tracing);
            world.count = scenario.actors.len();
            world.file_count = scenario.file_count();
            world.sizes_change = size_changes;
        });
        self.vmas = make_vmas::<B>(scenario);
        let files = Stepped::<B>::make(SimMedia.len(), scenario.file_count());
        let mapping = |(number, block_map): (usize, Stepped<B>)| {
            Arc::new(Mapping::<Cfg<B>>::new(
                7 + number as u64,
                Arc::new(block_map),
                Arc::new(SimMedia),
                self.waits.clone(),
                scenario.policy(),
            ))
        };
        self.mappings = files.into_iter().enumerate().map(mapping).collect();
        let opened = opened_maps(scenario);
        let there = |map: &usize| self.used[*map] && !opened.contains(map);
        if start_maps(scenario.start).iter().any(|map| opened.contains(map)) {
            let why = "an actor opens a map that the start state has used".into();
            world::with(|world| world.fail("scenario", why));
        }
        for (map, vma) in self.vmas.iter().enumerate().filter(|(map, _)| there(map)) {
            let mapping = self.mappings.get(scenario.maps[map].file);
            mapping.into_iter().for_each(|mapping| mapping.add_map(vma.clone()));
        }
        if world::with(|world| world.violation.is_none()) {
            start_state(scenario, &self.mappings, &self.vmas);
            let actor =
                Actor { mappings: self.mappings.clone(), vmas: self.vmas.clone(), number: 0 };
            for op in &scenario.before {
                actor.perform(op, STORED);
            }
        }
        look_at_indexes(&self.mappings, None);
        world::with(World::begin);
    }

    fn start_actors(&mut self) {
        for number in 0..self.scenario.actors.len() {
            if self.workers.len() <= number {
                self.workers.push(Worker::new(number));
            }
            let (mappings, vmas) = (self.mappings.clone(), self.vmas.clone());
            let ops: &[Op] = &self.scenario.actors[number];
            let ops: Vec<Op> = ops.to_vec();
            let job: Job = Box::new(move || {
                let actor = Actor { mappings, vmas, number };
                for (at, op) in ops.iter().enumerate() {
                    actor.run(op, at);
                }
            });
            *self.workers[number].job.lock().expect("never poisoned") = Some(job);
            self.resume(number);
        }
    }

    fn resume(&mut self, actor: usize) {
        world::with(|world| world.running = Some(actor));
        self.workers[actor].coroutine.resume();
        world::with(|world| world.running = None);
    }

    /// Runs one execution. After a violation the actors that stand inside the DAX layer are left
    /// there for good, with their stacks: unwinding them would run its code in a broken state.
    pub fn run(&mut self, guide: &mut impl Guide) -> Run {
        self.prepare();
        self.start_actors();
        let mappings = self.mappings.clone();
        let mut schedule = Vec::new();
        let mut last = None;
        let mut must_check = guide.reached(|| world::with(|world| world.fingerprint()));
        loop {
            if must_check {
                world::with(check::state);
            }
            let (enabled, done, failed) = world::with(|world| {
                let enabled = (0..world.count).filter(|actor| world.enabled(*actor));
                let enabled = enabled.fold(world.panic_choices(), |bits, actor| bits | 1 << actor);
                let mut actors = world.actors[..world.count].iter();
                let done = actors.all(|actor| actor.pending == Pending::Done);
                if enabled == 0 && !done {
                    let waiting = waiting(world);
                    world.fail("I5", format!("deadlock: {waiting}"));
                }
                if world.steps > MOST_STEPS {
                    world.fail("I5", "livelock: no end of steps".into());
                }
                (enabled, done, world.violation.is_some())
            });
            if failed || done {
                break;
            }
            let picked = guide.pick(enabled, last);
            schedule.push(picked as u8);
            let actor = world::with(|world| world.picked(picked));
            self.resume(actor);
            look_at_indexes(&mappings, Some(actor));
            last = Some(actor);
            must_check = guide.reached(|| world::with(|world| world.fingerprint()));
        }
        if must_check && world::with(|world| world.violation.is_none()) {
            self.finish(&mappings);
        }
        let (violation, trace) =
            world::with(|world| (world.violation.take(), world.trace.take().unwrap_or_default()));
        if violation.is_some() {
            self.abandon();
        }
        Run { violation, schedule, trace }
    }

    fn abandon(&mut self) {
        for worker in self.workers.drain(..) {
            std::mem::forget(worker);
        }
        std::mem::forget(std::mem::replace(&mut self.mappings, Arc::new([])));
        self.waits = wait_table(&self.scenario);
    }

    /// What must hold when all actors have finished: nothing locked, nobody waiting, all views
    /// agree, and a writeback brings everything to the medium.
    fn finish(&self, mappings: &Mappings<B>) {
        let work = AssertUnwindSafe(|| {
            mappings.iter().for_each(|mapping| mapping.assert_quiet());
            check::quiet();
            if let Some(free) = mappings[0].iomap().inner().free_pages() {
                check::account(free);
            }
            for (map, vma) in self.vmas.iter().enumerate().filter(|(map, _)| self.used[*map]) {
                let closed = self.scenario.actors.iter().flatten();
                let mut closed =
                    closed.filter(|op| matches!(op, Op::Close { map: m, .. } if *m == map));
                if closed.next().is_some() {
                    continue;
                }
                let file = self.scenario.maps[map].file;
                let cells = world::with(|world| world.tracked()).map(cell_at);
                for cell in cells.filter(|cell| file_of(*cell) == file) {
                    if vma.pages.contains(PageIndex(u64::from(local(cell) / 2)))
                        && let Meets::Value(value) = load(&mappings[file], vma, map, cell)
                    {
                        check::last_load(map, cell, value);
                    }
                }
            }
            mappings.iter().for_each(|mapping| mapping.writeback(PageRange::from(PageIndex(0))));
            look_at_indexes(mappings, None);
            world::with(check::state);
            check::all_durable();
        });
        IN_ACTOR.set(true);
        if let Err(panic) = catch_unwind(work) {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            world::with(|world| world.fail("I5", format!("at the end: {text}")));
        }
        IN_ACTOR.set(false);
    }
}

fn waiting(world: &world::World) -> String {
    let actors = world.actors[..world.count].iter().enumerate();
    let names = actors.filter_map(|(number, actor)| {
        let name = (b'a' + number as u8) as char;
        match actor.pending {
            Pending::Done => None,
            Pending::Park(_) => Some(format!("{name} sleeps on an entry or pin")),
            Pending::Shared(lock) | Pending::Exclusive(lock) | Pending::Queued(lock) => {
                Some(format!("{name} waits for lock {lock}"))
            }
            Pending::Step | Pending::Call => Some(format!("{name} could go on")),
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

/// The maps that the scenario's operations or its start state use.
fn used_maps(scenario: &Scenario) -> Vec<bool> {
    let mut used = vec![false; scenario.maps.len()];
    for op in scenario.before.iter().chain(scenario.actors.iter().flatten()) {
        match op {
            Op::Load { map, .. }
            | Op::Store { map, .. }
            | Op::Close { map, .. }
            | Op::Open { map, .. }
            | Op::PinLoad { map, .. }
            | Op::WriteFrom { map, .. }
            | Op::ReadInto { map, .. } => used[*map] = true,
            _ => {}
        }
    }
    for map in start_maps(scenario.start) {
        used[*map] = true;
    }
    used
}

/// The maps that an actor opens.
fn opened_maps(scenario: &Scenario) -> Vec<usize> {
    let ops = scenario.actors.iter().flatten();
    let opened = ops.filter_map(|op| if let Op::Open { map, .. } = op { Some(*map) } else { None });
    opened.collect()
}

fn start_maps(start: Start) -> &'static [usize] {
    match start {
        Start::Hole | Start::Unwritten => &[],
        Start::ZeroPmd | Start::CleanPmd => &[READER],
        Start::ZeroPte | Start::CleanPte | Start::DirtyPte => &[SMALL],
        Start::DirtyPmd => &[WHOLE],
        Start::Mixed => &[SMALL, READER],
        Start::SharedPte => &[SMALL],
        Start::SharedPmd => &[READER],
    }
}

fn start_state<B: Subject>(scenario: &Scenario, mappings: &Mappings<B>, vmas: &[Arc<Vma>]) {
    let mapping = &mappings[0];
    let write = |start: u32, end: u32| {
        let bytes = u64::from(end - start) * CELL;
        let source = Bytes { value: INITIAL, len: bytes };
        let at = WriteAt::Offset(u64::from(start) * CELL);
        mapping.write(at, &source).expect("the medium is large enough");
    };
    let unit = 0..1024u32;
    match scenario.start {
        Start::Hole | Start::ZeroPte | Start::ZeroPmd => {}
        Start::CleanPte | Start::DirtyPte | Start::SharedPte => write(0, 4),
        Start::Mixed => write(0, 2),
        Start::CleanPmd | Start::DirtyPmd | Start::SharedPmd => write(unit.start, unit.end),
        Start::Unwritten => {
            let bytes = 0..u64::from(unit.end) * CELL;
            mapping.allocate(bytes, false).expect("the medium is large enough");
        }
    }
    if scenario.size > 1024 {
        write(1024, scenario.size);
    } else {
        let size = u64::from(scenario.size) * CELL;
        mapping.truncate(size).expect("any size is fine");
    }
    let cloned = match scenario.start {
        Start::SharedPte => mappings[1].clone_range(0, mapping, 0..4 * CELL),
        Start::SharedPmd => {
            let unit = u64::from(unit.end) * CELL;
            mapping.clone_range(unit, mapping, 0..unit)
        }
        _ => Ok(()),
    };
    cloned.expect("the ranges lie in the files");
    let load = |map: usize, cell| load(mapping, &vmas[map], map, cell);
    let store = |map: usize, cell| store(mapping, &vmas[map], map, cell, STORED);
    match scenario.start {
        Start::Hole | Start::Unwritten => {}
        Start::ZeroPte | Start::CleanPte | Start::SharedPte => {
            // A small map gives a small entry; a load through it may make it DIRTY where page
            // tables cannot protect, as in production.
            load(SMALL, 0);
        }
        Start::ZeroPmd | Start::CleanPmd | Start::SharedPmd => {
            load(READER, 0);
        }
        Start::DirtyPte => {
            store(SMALL, 0);
        }
        Start::DirtyPmd => {
            store(WHOLE, 0);
        }
        Start::Mixed => {
            store(SMALL, 0);
            load(READER, 2);
        }
    }
}

/// Looks at the indexes that may have changed.
fn look_at_indexes<B: Subject>(mappings: &Mappings<B>, actor: Option<usize>) {
    for (file, mapping) in mappings.iter().enumerate() {
        if world::with(|world| world.files[file].index_touched) {
            look_at_index(file, mapping, actor);
        }
    }
}

/// Reads an index out, and tells who locked what: an entry that is locked now and was not before
/// belongs to the actor that just ran (I5).
fn look_at_index<B: Subject>(file: usize, mapping: &Mapping<Cfg<B>>, actor: Option<usize>) {
    let mut now = world::with(|world| std::mem::take(&mut world.files[file].spare_entries));
    now.clear();
    let mut hasher = FxHasher::default();
    mapping.for_each_entry(|pages, entry, marks| {
        let bits = [entry.is_zero(), entry.is_locked(), marks.dirty, marks.towrite, marks.whole];
        let bits = bits.iter().fold(0, |bits, bit| bits << 1 | u64::from(*bit));
        // A device offset is that of a page, so its low bits are free.
        hasher.write_u64(pages.start.0 << 20 | pages.len());
        hasher.write_u64(entry.device().map_or(0, |device| device + 32) | bits);
        now.push(Slot { pages, entry, marks, owner: None });
    });
    let mut pins = FxHasher::default();
    mapping.for_each_pin(|pages| pages.hash(&mut pins));
    world::with(|world| {
        let state = &mut world.files[file];
        state.pins_hash = pins.finish();
        for slot in now.iter_mut().filter(|slot| slot.entry.is_locked()) {
            let before = state.entries.iter().find(|old| old.pages == slot.pages);
            slot.owner = before.and_then(|old| old.owner).or(actor);
        }
        for old in state.entries.iter().filter(|old| old.owner.is_some() && old.owner != actor) {
            let kept = now.iter().any(|slot| slot.pages == old.pages && slot.entry.is_locked());
            if !kept {
                let seen = format!("{:?} of {:?} was unlocked by {actor:?}", old.pages, old.owner);
                world.violation.get_or_insert(Violation { clause: "I5", seen });
            }
        }
        state.spare_entries = std::mem::replace(&mut state.entries, now);
        state.index_touched = false;
        state.index_hash = hasher.finish();
    });
}

thread_local! {
    /// True while code under test runs outside of an actor: its panics are results, too.
    static IN_ACTOR: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A panic of an actor is a result of the exploration, not a message on the terminal.
fn silence_actor_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let quiet = IN_ACTOR.get() || world::is_running();
            if !quiet {
                before(info);
            }
        }));
    });
}
