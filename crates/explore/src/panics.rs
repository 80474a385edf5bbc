//! Panics: one call into the block map, the page tables or the medium panics, before it did
//! anything or after it has done all. Which call and when is a choice of the scheduler, like which
//! actor goes on: one search covers them all.
//!
//! The panic unwinds the actor's stack up to its operation, as that of a request unwinds up to the
//! server; all that `Drop`s do on the way are steps as any other. The operation has failed then:
//! each cell that it was to change may be changed or not. All else must hold as ever, and so the
//! actor's next operations, and those of others, go on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::history::ACTORS;
use crate::op::Op;
use crate::scenario::{Flavour, READER, SECOND, SMALL, Scenario, Start, WHOLE};
use crate::world::{self, Pending, World};

/// When a call panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// What the scheduler may pick besides the actors, in the order of the numbers that follow theirs.
const CHOICES: [When; 2] = [When::Before, When::After];

/// What an injected panic carries. It is not told to the panic hook.
struct Injected;

fn unwind() -> ! {
    world::note(|| "PANIC".into());
    resume_unwind(Box::new(Injected))
}

/// A call that is under way.
#[must_use]
pub(crate) struct Called(bool);

/// A call of the DAX layer into another one: a step, at which it may panic.
pub(crate) fn call(label: impl FnOnce() -> String) -> Called {
    call_or(label, || ())
}

/// As [`call`]; `undo` is done if it panics before it did anything else.
pub(crate) fn call_or(label: impl FnOnce() -> String, undo: impl FnOnce()) -> Called {
    world::step(Pending::Call, label);
    match world::with(|world| world.panic_now.take()) {
        Some(When::Before) => {
            undo();
            unwind()
        }
        now => Called(now == Some(When::After)),
    }
}

impl Called {
    /// The call has done what it is for.
    pub fn done(self) {
        if self.0 {
            unwind();
        }
    }
}

/// Runs an operation; `None` if an injected panic ended it.
pub(crate) fn caught<R>(operation: impl FnOnce() -> R) -> Option<R> {
    let goes_on = |panic: Box<dyn Any + Send>| {
        if !panic.is::<Injected>() {
            resume_unwind(panic);
        }
    };
    catch_unwind(AssertUnwindSafe(operation)).map_err(goes_on).ok()
}

impl World {
    /// The panics (bits) that the scheduler may pick now, besides the actors.
    pub fn panic_choices(&self) -> u8 {
        let at_call = |actor: &usize| self.actors[*actor].pending == Pending::Call;
        // As many choices as there are numbers left.
        let all = (1u8 << CHOICES.len().min(ACTORS - self.count)) - 1;
        self.panics.filter(at_call).map_or(0, |_| all << self.count)
    }

    /// The actor that goes on when the scheduler picks this number.
    pub fn picked(&mut self, number: usize) -> usize {
        let Some(choice) = number.checked_sub(self.count) else { return number };
        self.panic_now = Some(CHOICES[choice]);
        self.panics.take().expect("a panic is picked once, of the actor that may")
    }
}

/// Pairs in which a call of the first actor panics, anywhere.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let panicking = [
        Op::Load { map: READER, cell: 0 },
        Op::Store { map: WHOLE, cell: 0 },
        Op::Store { map: SMALL, cell: 3 },
        Op::Write { cells: 1..3 },
        Op::Write { cells: 2047..2051 },
        Op::Punch { cells: 1..4 },
        Op::Zero { cells: 0..3 },
        Op::Zero { cells: 2046..2051 },
        Op::Truncate { cells: 3 },
        Op::Truncate { cells: 3072 },
        Op::Collapse { cells: 0..1024 },
        Op::Sync { cells: 0..2048 },
        Op::Pin { cells: 0..2 },
        Op::Clone { cells: 0..4, to: SECOND },
    ];
    let others = [
        Op::Store { map: SMALL, cell: 2 },
        Op::Load { map: READER, cell: 1 },
        Op::Write { cells: 1..3 },
        Op::Sync { cells: 0..2048 },
    ];
    let starts = [
        Start::Hole,
        Start::ZeroPmd,
        Start::Unwritten,
        Start::Mixed,
        Start::DirtyPmd,
        Start::SharedPte,
    ];
    let mut scenarios = Vec::new();
    for start in starts {
        for one in &panicking {
            for other in &others {
                let actors = vec![vec![one.clone()], vec![other.clone()]];
                let scenario = Scenario::new(start, Flavour::Kernel, actors).around(2 * 4096);
                scenarios.push(scenario.panics(0));
            }
        }
    }
    for growing in &panicking[4..10] {
        let beyond = vec![Op::Load { map: READER, cell: 2048 }];
        let actors = vec![vec![growing.clone()], beyond];
        scenarios.push(Scenario::new(Start::Mixed, Flavour::Kernel, actors).panics(0));
    }
    scenarios
}

/// Three faults that meet in one large entry, the first of which panics.
pub(crate) fn triple() -> Scenario {
    let small = |cell| vec![Op::Load { map: SMALL, cell }];
    let actors = vec![vec![Op::Store { map: SMALL, cell: 3 }], small(2), small(0)];
    let three = Scenario::new(Start::ZeroPmd, Flavour::Kernel, actors);
    three.named("triple/two waiters on one entry").panics(0)
}
