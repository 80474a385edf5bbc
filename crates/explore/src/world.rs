//! The simulated machine of one execution, kept per thread: who runs, locks, medium, page tables,
//! block owners and the history.
//!
//! Everything here is plain data. Actors reach it by [`with`], never across a step, so each step
//! is atomic. [`step`] is the only place where one actor gives way to another.

use core::ops::Range;
use std::cell::RefCell;
use std::hash::{Hash, Hasher};

use limpid_dax::{Backing, Entry, Extent, Marks, PAGE_SHIFT, PageIndex, PageRange};
use rustc_hash::FxHasher;

pub use crate::bugs::SimBug;
use crate::history::{
    ACTORS, History, INITIAL, PAST, TRACKED, TRACKED_FIRST, ZERO, cell_at, file_of, initial_of,
    local, tracked, value_name,
};
use crate::ops::{clause_for, wrong};
use crate::panics::When;
use crate::scenario::{Call, Fails, Scenario};
use crate::sim::{CELL, Copy, Medium, Own, Tables};

/// Why an execution is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The clause of the contract or the invariant (`C1`, `I4`, ...).
    pub clause: &'static str,
    /// What was seen.
    pub seen: String,
}

/// What an actor does next, and so whether it can go on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    Step,
    /// A step that is a call, which may panic.
    Call,
    Shared(u32),
    Exclusive(u32),
    Queued(u32),
    Park(u32),
    Done,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct LockState {
    pub readers: u8,
    pub writer: u8,
    pub queued: u8,
}

#[derive(Clone, Copy)]
pub(crate) struct Park {
    pub actor: usize,
    pub unparked: bool,
}

/// One line of a trace.
#[derive(Clone, Debug)]
pub struct Line {
    /// The actor, from 0.
    pub actor: usize,
    /// What it did, and what it saw.
    pub text: String,
}

pub(crate) struct ActorState {
    pub pending: Pending,
    /// Hash of everything it has observed since its operation began.
    pub seen: u64,
    /// The pages of its file that its operation writes to, if it is a write.
    pub writes: Option<PageRange>,
    /// How many calls of its operation have failed.
    pub hits: u8,
    /// Its last fault is that of a store.
    pub storing: bool,
    /// If its operation is an append: the size of the file when it began.
    pub size: Option<u64>,
    /// Files (bits) whose time it has moved in its operation.
    pub touched: u8,
    /// Operations begun.
    pub op: usize,
    pub parker: Option<u32>,
    /// Device pages it has pinned.
    pub pinned: Vec<PageRange>,
}

pub(crate) struct World {
    pub running: Option<usize>,
    /// Mutexes and block-map locks held by the running actor: no step while above 0.
    pub depth: u32,
    pub actors: [ActorState; ACTORS],
    pub count: usize,
    pub locks: Vec<LockState>,
    pub parkers: Vec<Park>,
    pub files: [FileState; FILES],
    /// Number of files, and of indexes made so far.
    pub file_count: usize,
    pub indexes: usize,
    pub opaque: u64,
    /// Of the extents and sizes of all files.
    pub map_hash: u64,
    pub sizes_change: bool,
    pub own: Own,
    pub medium: Medium,
    pub tables: Vec<Tables>,
    pub history: History,
    /// Unmaps that were put off, by a planted bug.
    pub put_off: Vec<(usize, Range<u32>)>,
    /// What each private copy must hold.
    pub copies: Vec<Copy>,
    pub bug: SimBug,
    /// The calls that fail, each with how many of its kind its actor has made so far.
    pub fails: Vec<(Fails, u32)>,
    /// The actor of which one call may still panic.
    pub panics: Option<usize>,
    /// The call that the running actor is about to make panics.
    pub panic_now: Option<When>,
    pub violation: Option<Violation>,
    pub trace: Option<Vec<Line>>,
    pub steps: u64,
}

/// Files of one execution, at most.
pub(crate) const FILES: usize = 2;

/// What the harness knows of one file.
#[derive(Default)]
pub(crate) struct FileState {
    /// The index or the pins may have changed since they were looked at.
    pub index_touched: bool,
    pub index_hash: u64,
    pub pins_hash: u64,
    pub entries: Vec<Slot>,
    /// Room for the next look at the index.
    pub spare_entries: Vec<Slot>,
    pub extents: Vec<Extent>,
    pub size: u64,
    /// Which maps it has: who added and removed them, in which order.
    pub maps_hash: u64,
}

impl FileState {
    /// What the block map says of a page: the device page, if there is data.
    pub fn mapped(&self, page: u64) -> Option<u32> {
        let page = PageIndex(page);
        let extent = self.extents.iter().find(|extent| extent.pages.contains(page))?;
        let mapped = matches!(extent.backing, Backing::Mapped | Backing::Shared);
        mapped.then(|| (extent.device_at(page.offset()) >> PAGE_SHIFT) as u32)
    }
}

/// An entry of the index, with the actor that locked it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub pages: PageRange,
    pub entry: Entry,
    pub marks: Marks,
    pub owner: Option<usize>,
}

impl ActorState {
    /// Its operation is over, or none has begun.
    pub fn forget_operation(&mut self) {
        self.seen = 0;
        self.hits = 0;
        self.storing = false;
        self.writes = None;
        self.touched = 0;
        self.size = None;
    }
}

impl World {
    fn new() -> World {
        let actor = || ActorState {
            pending: Pending::Done,
            seen: 0,
            writes: None,
            hits: 0,
            storing: false,
            touched: 0,
            size: None,
            op: 0,
            parker: None,
            pinned: Vec::new(),
        };
        World {
            running: None,
            depth: 0,
            actors: [actor(), actor(), actor(), actor()],
            count: 0,
            locks: Vec::new(),
            parkers: Vec::new(),
            files: Default::default(),
            file_count: 1,
            indexes: 0,
            opaque: 0,
            map_hash: 0,
            sizes_change: true,
            own: Own::new(),
            medium: Medium::new(),
            tables: Vec::new(),
            history: History::default(),
            put_off: Vec::new(),
            copies: Vec::new(),
            bug: SimBug::None,
            fails: Vec::new(),
            panics: None,
            panic_now: None,
            violation: None,
            trace: None,
            steps: 0,
        }
    }

    /// Makes everything as at the beginning of an execution with these maps.
    pub fn reset(&mut self, scenario: &Scenario, used: &[bool], bug: SimBug, tracing: bool) {
        let maps = &scenario.maps;
        self.running = None;
        self.depth = 0;
        for actor in &mut self.actors {
            actor.pending = Pending::Done;
            actor.forget_operation();
            actor.op = 0;
            actor.parker = None;
            actor.pinned.clear();
        }
        self.count = 0;
        self.locks.clear();
        self.parkers.clear();
        self.indexes = 0;
        for file in &mut self.files {
            file.index_touched = true;
            file.index_hash = 0;
            file.pins_hash = 0;
            file.maps_hash = 0;
            file.entries.clear();
            file.extents.clear();
            file.size = 0;
        }
        self.opaque = 0;
        self.own.reset();
        self.medium.reset();
        self.tables.truncate(maps.len());
        for (at, (spec, used)) in maps.iter().zip(used).enumerate() {
            match self.tables.get_mut(at) {
                Some(tables) => tables.reset(spec),
                None => self.tables.push(Tables::new(spec)),
            }
            self.tables[at].used = *used;
        }
        self.history.reset();
        self.put_off.clear();
        self.copies.clear();
        self.bug = bug;
        self.fails.clear();
        self.fails.extend(scenario.fails.iter().map(|fails| (*fails, 0)));
        self.panics = scenario.panics;
        self.panic_now = None;
        self.violation = None;
        self.trace = tracing.then(Vec::new);
        self.steps = 0;
    }

    pub fn fail(&mut self, clause: &'static str, seen: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { clause, seen });
        }
    }

    /// The file that a cell belongs to.
    pub fn file(&self, cell: u32) -> &FileState {
        &self.files[file_of(cell)]
    }

    /// Cells that are looked at.
    pub fn tracked(&self) -> core::ops::Range<usize> {
        0..if self.file_count > 1 { TRACKED } else { TRACKED_FIRST }
    }

    /// True while somebody holds lock 2 of a file exclusive.
    pub fn holds_lock2(&self, file: usize) -> bool {
        self.locks[3 * file + 1].writer != 0
    }

    /// The pages of a file that a write may be giving blocks, which holds lock 1 and has not
    /// returned.
    pub fn written(&self, file: usize) -> Option<PageRange> {
        let writer = self.locks[3 * file].writer;
        let holds = |actor: &usize| writer & 1 << actor != 0;
        (0..self.count).find(holds).and_then(|actor| self.actors[actor].writes)
    }

    fn value(&self, cell: u32, at: impl Fn(u32) -> u8) -> u8 {
        let (file, cell) = (self.file(cell), local(cell));
        if u64::from(cell) * CELL >= file.size {
            return PAST;
        }
        let device = file.mapped(u64::from(cell / 2));
        device.map_or(ZERO, |device| at(device * 2 + cell % 2))
    }

    /// What a read of a cell of the file would see.
    pub fn stored_value(&self, cell: u32) -> u8 {
        self.value(cell, |device| self.medium.stored(device))
    }

    /// What a read of a cell of the file would see after a power loss.
    pub fn durable_value(&self, cell: u32) -> u8 {
        self.value(cell, |device| self.medium.durable(device))
    }

    /// A load sees `value` in the file at this moment.
    pub fn loaded(&mut self, cell: u32, value: u8) {
        let Some(at) = tracked(cell) else { return };
        if !self.history.observe(at, value) {
            let allowed = self.history.allowed(at);
            self.fail(clause_for(value, allowed), wrong(cell, value, allowed));
        }
    }

    /// A store lands in the file at this moment.
    pub fn landed(&mut self, cell: u32, value: u8) {
        let Some(at) = tracked(cell) else { return };
        if !self.history.lands(at, value) {
            self.fail("C5", format!("{} was stored past the last page", value_name(value)));
        }
    }

    /// True if this call of the running actor is the one that fails.
    pub fn fails_now(&mut self, call: Call) -> bool {
        let Some(actor) = self.running else { return false };
        let mine = |fails: &Fails| fails.call == call && fails.actor == actor;
        let mut now = false;
        for (fails, calls) in self.fails.iter_mut().filter(|(fails, _)| mine(fails)) {
            *calls += 1;
            now |= *calls == fails.nth + 1;
        }
        self.actors[actor].hits += u8::from(now);
        now
    }

    /// True if a call of the running operation has failed.
    pub fn was_hit(&self) -> bool {
        self.running.is_some_and(|actor| self.actors[actor].hits > 0)
    }

    /// A store through a map goes to its private copy.
    pub fn stored_to_copy(&mut self, map: usize, cell: u32, value: u8) {
        let page = local(cell) / 2;
        let mut copies = self.copies.iter_mut();
        if let Some(copy) = copies.find(|copy| copy.map == map && copy.page == page) {
            copy.halves[(cell % 2) as usize] = value;
        }
    }

    /// The start state is made. Tracked cells that hold initial data get a value each.
    pub fn begin(&mut self) {
        for at in self.tracked() {
            let cell = cell_at(at);
            if self.stored_value(cell) == INITIAL
                && self.durable_value(cell) == INITIAL
                && let Some(device) = self.file(cell).mapped(u64::from(local(cell) / 2))
            {
                self.medium.begin(2 * device + cell % 2, initial_of(at));
            }
        }
        for at in self.tracked() {
            let value = self.stored_value(cell_at(at));
            self.history.start(at, value);
        }
    }

    /// The time of the last change of a file moves now.
    pub fn touch(&mut self, file: usize) {
        if let Some(actor) = self.running {
            self.actors[actor].touched |= 1 << file;
        }
    }

    /// Adds to what the running actor has observed.
    pub fn observe(&mut self, what: impl Hash) {
        if let Some(actor) = self.running {
            let mut hasher = FxHasher::default();
            self.actors[actor].seen.hash(&mut hasher);
            what.hash(&mut hasher);
            self.actors[actor].seen = hasher.finish();
        }
    }

    pub fn enabled(&self, actor: usize) -> bool {
        match self.actors[actor].pending {
            Pending::Step | Pending::Call | Pending::Exclusive(_) => true,
            Pending::Shared(lock) => {
                let lock = self.locks[lock as usize];
                lock.writer == 0 && lock.queued == 0
            }
            Pending::Queued(lock) => {
                let lock = self.locks[lock as usize];
                lock.writer == 0 && lock.readers == 0
            }
            Pending::Park(parker) => self.parkers[parker as usize].unparked,
            Pending::Done => false,
        }
    }
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

/// Reaches the world of this thread. Must not be nested, nor held across a step.
pub(crate) fn with<R>(work: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with(|world| work(&mut world.borrow_mut()))
}

/// True while an actor runs on this thread.
pub(crate) fn is_running() -> bool {
    WORLD.with(|world| world.try_borrow().is_ok_and(|world| world.running.is_some()))
}

/// Gives way: the actor goes on when the scheduler picks it and `pending` is possible. Outside of
/// actors (while a start state is made or looked at) nothing ever has to wait.
pub(crate) fn step(pending: Pending, label: impl FnOnce() -> String) {
    let give_way = with(|world| {
        let Some(actor) = world.running else {
            return false;
        };
        if world.depth > 0 {
            return false;
        }
        world.actors[actor].pending = pending;
        true
    });
    if give_way {
        yield_now();
        with(|world| {
            world.steps += 1;
            if let Some(actor) = world.running {
                // Where the actor stands is a function of its steps and of what it observed.
                let seen = &mut world.actors[actor].seen;
                *seen = seen.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            }
            if let (Some(actor), Some(trace)) = (world.running, world.trace.as_mut()) {
                trace.push(Line { actor, text: label() });
            }
        });
    }
}

/// While it lives the running actor makes no step: nobody comes in between.
pub(crate) struct Alone;

impl Alone {
    pub fn new() -> Alone {
        with(|world| world.depth += 1);
        Alone
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        with(|world| world.depth -= 1);
    }
}

/// Adds what a step saw to the trace.
pub(crate) fn note(what: impl FnOnce() -> String) {
    with(|world| {
        if let (Some(actor), Some(trace)) = (world.running, world.trace.as_mut()) {
            let what = what();
            match trace.last_mut().filter(|line| line.actor == actor) {
                Some(line) => {
                    line.text.push_str(" -> ");
                    line.text.push_str(&what);
                }
                None => trace.push(Line { actor, text: what }),
            }
        }
    });
}

/// Switches from the actor to the scheduler. The scoped variant would need a handle, which cannot
/// be passed through the traits of the DAX layer.
#[allow(deprecated)]
pub(crate) fn yield_now() {
    generator::yield_with(());
}
