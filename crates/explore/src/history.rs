//! What each byte may be: the contract C1 to C6 as a plain array, byte by byte.
//!
//! A byte stands for a *cell* of half a page. For each cell the history keeps every content that
//! the plain array may have now: which value, and which of the running operations have taken
//! effect there. An operation takes effect once in each cell, between its beginning and its end:
//!
//! - a store, by a map or a device address, exactly when it lands;
//! - any other at a moment that is not known, so both contents are kept. Until then a racing access
//!   may see its new value as well as the old one, each access by itself (`product.md`: a racing
//!   read may see old or new bytes of a racing write, byte by byte); from then on the new one only.
//!
//! What an access sees rules out the contents that do not fit. If none is left, no order of the
//! operations explains what was seen: the history of that byte is not linearisable. An operation
//! that moves bytes (collapse, insert, clone) puts what its source may be to its destination.

use std::cell::Cell;
use std::hash::{Hash, Hasher};

use crate::memo::Memo;

/// Most actors of one execution.
pub(crate) const ACTORS: usize = 4;
/// Cells looked at in each 2 MiB unit: both halves of two pages, the first ones mostly.
pub(crate) const CELLS_PER_UNIT: usize = 4;
/// Units the file may grow to.
pub(crate) const FILE_UNITS: usize = 4;
/// Cells the file may grow to; those from here on are the second file's.
pub(crate) const FILE_CELLS: u32 = FILE_UNITS as u32 * UNIT_CELLS;
/// Units of both files; the second one may grow to two.
const UNITS: usize = FILE_UNITS + 2;
/// Number of cells looked at in the first file.
pub(crate) const TRACKED_FIRST: usize = FILE_UNITS * CELLS_PER_UNIT;
/// Number of cells looked at in both files.
pub(crate) const TRACKED: usize = UNITS * CELLS_PER_UNIT;
/// Cells of half a page in a unit.
pub(crate) const UNIT_CELLS: u32 = 1024;

/// Zeroes.
pub(crate) const ZERO: u8 = 0;
/// What the file held at the beginning.
pub(crate) const INITIAL: u8 = 1;
/// What the first of the tracked cells held at the beginning; each has a value of its own, so that
/// what is copied or moved to a wrong place is seen.
const FIRST_INITIAL: u8 = 34;
/// The largest value that is stored; the start state stores it.
pub(crate) const LAST_STORED: u8 = 60;
/// Past the end of the file.
pub(crate) const PAST: u8 = 61;
/// The content of a block that does not belong to the file.
pub(crate) const FOREIGN: u8 = 62;

/// Name of a value, for people.
pub(crate) fn value_name(value: u8) -> String {
    match value {
        ZERO => "zero".into(),
        INITIAL => "initial".into(),
        PAST => "SIGBUS".into(),
        FOREIGN => "FOREIGN".into(),
        LAST_STORED => "stored before".into(),
        FIRST_INITIAL..LAST_STORED => format!("initial {}", value - FIRST_INITIAL),
        other => {
            let (actor, op) = ((other - 2) / 8, (other - 2) % 8);
            format!("{}{}", (b'a' + actor) as char, op + 1)
        }
    }
}

/// The value that operation `op` of `actor` writes.
pub(crate) fn value_of(actor: usize, op: usize) -> u8 {
    assert!(actor < ACTORS && op < 8, "values are told apart for few operations only");
    (2 + actor * 8 + op) as u8
}

/// What the tracked cell `at` holds at the beginning, if it holds data.
pub(crate) fn initial_of(at: usize) -> u8 {
    FIRST_INITIAL + at as u8
}

/// The file that a cell belongs to.
pub(crate) fn file_of(cell: u32) -> usize {
    (cell / FILE_CELLS) as usize
}

/// The cell within its file.
pub(crate) fn local(cell: u32) -> u32 {
    cell % FILE_CELLS
}

thread_local! {
    /// The first cell of each unit that is tracked; the other three follow it. Even.
    static FIRST_TRACKED: Cell<u32> = const { Cell::new(0) };
}

/// From now on both halves of two pages of each unit are tracked, the first of which begins at the
/// cell `first` of the unit.
pub(crate) fn track(first: u32) {
    assert!(first.is_multiple_of(2) && first as usize + CELLS_PER_UNIT <= UNIT_CELLS as usize);
    FIRST_TRACKED.set(first);
}

/// The tracked cell of a cell.
pub(crate) fn tracked(cell: u32) -> Option<usize> {
    let (unit, cell) = ((cell / UNIT_CELLS) as usize, cell % UNIT_CELLS);
    let rest = cell.checked_sub(FIRST_TRACKED.get())? as usize;
    (unit < UNITS && rest < CELLS_PER_UNIT).then_some(unit * CELLS_PER_UNIT + rest)
}

/// The cell that is tracked at `index`.
pub(crate) fn cell_at(index: usize) -> u32 {
    let unit = (index / CELLS_PER_UNIT) as u32 * UNIT_CELLS;
    unit + FIRST_TRACKED.get() + (index % CELLS_PER_UNIT) as u32
}

/// What a running operation does to a cell, when it takes effect there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// This value, whatever was there.
    Write(u8),
    /// Zeroes, unless it is past the end.
    Zero,
    /// Past the end from now on.
    Past,
    /// Zeroes, if it was past the end.
    Grow,
    /// What another cell is.
    Move(usize),
    /// What another cell is; what is past the end there shows as zeroes, or is past the end here.
    Clone(usize),
}

/// How an operation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It took effect everywhere.
    Done,
    /// It took effect nowhere.
    Refused,
    /// It failed on its way: each cell may have got it or not.
    Partly,
}

/// One content the plain array may have: a value, and the actors (bits) whose running operation has
/// taken effect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Content {
    value: u8,
    done: u8,
}

#[derive(Clone, Default)]
struct Running {
    active: bool,
    /// In the order of the cells, one for each at most.
    actions: Vec<(usize, Action)>,
    /// Cells (bits) it looks at.
    reads: u32,
    /// What these may have been since it began.
    seen: [u64; TRACKED],
    /// Cells (bits) that others may have changed since it began.
    disturbed: u32,
    /// Cells (bits) whose new content is durable when it returns.
    promised: u32,
    /// What these may have been since it took effect there.
    since: [u64; TRACKED],
}

/// What each tracked cell may be.
#[derive(Default)]
pub(crate) struct History {
    contents: [Vec<Content>; TRACKED],
    running: [Running; ACTORS],
    /// Of all contents, and of all that was seen.
    memo: Memo,
}

/// The numbers of the bits that are set, from the lowest.
fn bits(mut set: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let lowest = (set != 0).then(|| set.trailing_zeros() as usize);
        set &= set.wrapping_sub(1);
        lowest
    })
}

/// True if an access of `cell` may see `seen` where the array holds `value`. Behind the end of the
/// file, in its last page, stores through maps leave what they like.
fn fits(cell: usize, value: u8, seen: u8) -> bool {
    value == seen || (value == PAST && cell % 2 == 1 && seen <= LAST_STORED)
}

impl History {
    pub fn reset(&mut self) {
        self.memo.forget();
        for contents in &mut self.contents {
            contents.clear();
        }
        for running in &mut self.running {
            running.active = false;
            running.actions.clear();
        }
    }

    /// Sets what a cell holds at the beginning.
    pub fn start(&mut self, cell: usize, value: u8) {
        self.memo.forget();
        self.contents[cell].clear();
        self.contents[cell].push(Content { value, done: 0 });
    }

    /// What the array may hold at this moment, as bits.
    pub fn allowed(&self, cell: usize) -> u64 {
        self.contents[cell].iter().fold(0, |bits, content| bits | 1 << content.value)
    }

    /// True if the running operation of `actor` may have seen this value at `cell`.
    pub fn may_have_seen(&self, actor: usize, cell: usize, value: u8) -> bool {
        let seen = self.running[actor].seen[cell];
        seen & 1 << value != 0 || (seen & 1 << PAST != 0 && fits(cell, PAST, value))
    }

    /// What the running operation of `actor` may have seen at `cell`, as bits.
    pub fn seen(&self, actor: usize, cell: usize) -> u64 {
        self.running[actor].seen[cell]
    }

    /// What a promised cell may be on the medium when the operation of `actor` returns: what it may
    /// have been since the operation took effect there, as bits.
    pub fn since(&self, actor: usize, cell: usize) -> u64 {
        self.running[actor].since[cell]
    }

    /// The cells (bits) whose new content is to be durable when the operation of `actor` returns.
    pub fn promised(&self, actor: usize) -> u32 {
        self.running[actor].promised
    }

    /// An operation begins, with what it does and the cells (bits) it looks at. What it writes to
    /// `promised` cells (bits) is to be durable when it returns.
    pub fn begin(
        &mut self,
        actor: usize,
        actions: Vec<(usize, Action)>,
        reads: u32,
        promised: u32,
    ) {
        self.memo.forget();
        assert!(!self.running[actor].active, "an actor runs one operation at a time");
        let cells = actions.iter().fold(0, |bits, (cell, _)| bits | 1 << cell);
        let mut disturbed = 0;
        for other in self.running.iter_mut().filter(|other| other.active) {
            other.disturbed |= cells;
            disturbed = other.actions.iter().fold(disturbed, |bits, (cell, _)| bits | 1 << cell);
        }
        let (seen, since) = ([0; TRACKED], [0; TRACKED]);
        self.running[actor] =
            Running { active: true, actions, reads, seen, disturbed, promised, since };
        self.close();
    }

    /// What the running operation of `actor` does to a cell is known only now, or anew: what it
    /// was about to do before nobody can have seen.
    pub fn set_action(&mut self, actor: usize, cell: usize, action: Action) {
        self.memo.forget();
        self.contents[cell].retain(|content| content.done & 1 << actor == 0);
        self.running[actor].actions.retain(|one| one.0 != cell);
        self.running[actor].actions.push((cell, action));
        self.running[actor].promised |= 1 << cell;
        self.running[actor].since[cell] = 0;
        self.disturb(cell);
        self.close();
    }

    fn disturb(&mut self, cell: usize) {
        for running in &mut self.running {
            running.disturbed |= 1 << cell;
        }
    }

    /// What a cell becomes when an operation takes effect there.
    fn after(&self, actor: usize, action: Action, value: u8) -> u64 {
        match action {
            Action::Write(new) => 1 << new,
            Action::Zero if value == PAST => 1 << PAST,
            Action::Grow if value != PAST => 1 << value,
            Action::Zero | Action::Grow => 1 << ZERO,
            Action::Past => 1 << PAST,
            Action::Move(from) => self.before(actor, from),
            Action::Clone(from) => {
                let before = self.before(actor, from);
                before | u64::from(before & 1 << PAST != 0) << ZERO
            }
        }
    }

    /// What a cell may be where the operation of `actor` has not taken effect yet, as bits.
    fn before(&self, actor: usize, cell: usize) -> u64 {
        let contents = self.contents[cell].iter();
        let before = contents.filter(|content| content.done & 1 << actor == 0);
        before.fold(0, |bits, content| bits | 1 << content.value)
    }

    /// Adds every content that running operations may make of those that are possible.
    fn close(&mut self) {
        let mut changed = 1u32;
        let mut touched = 0u32;
        while changed != 0 {
            changed = 0;
            for actor in 0..ACTORS {
                for at in 0..self.running[actor].actions.len() {
                    let (cell, action) = self.running[actor].actions[at];
                    changed |= u32::from(self.take_effect(actor, cell, action)) << cell;
                }
            }
            touched |= changed;
        }
        for cell in bits(touched) {
            self.contents[cell].sort_unstable();
        }
        for actor in 0..ACTORS {
            let reads = if self.running[actor].active { self.running[actor].reads } else { 0 };
            for cell in bits(reads) {
                let allowed = self.allowed(cell);
                self.running[actor].seen[cell] |= allowed;
            }
            let promised =
                if self.running[actor].active { self.running[actor].promised } else { 0 };
            for cell in bits(promised) {
                let contents = self.contents[cell].iter();
                let done = contents.filter(|content| content.done & 1 << actor != 0);
                let since = done.fold(0, |bits, content| bits | 1 << content.value);
                self.running[actor].since[cell] |= since;
            }
        }
    }

    fn take_effect(&mut self, actor: usize, cell: usize, action: Action) -> bool {
        let mut changed = false;
        let mut at = 0;
        while at < self.contents[cell].len() {
            let content = self.contents[cell][at];
            at += 1;
            if content.done & 1 << actor != 0 {
                continue;
            }
            let values = self.after(actor, action, content.value);
            for value in (0..64).filter(|value| values & 1 << value != 0) {
                let next = Content { value, done: content.done | 1 << actor };
                if !self.contents[cell].contains(&next) {
                    self.contents[cell].push(next);
                    changed = true;
                }
            }
        }
        changed
    }

    /// True if an access may see `seen` where the array has this content: it holds the value, or an
    /// operation that is about to take effect brings it.
    fn explains(&self, cell: usize, content: Content, seen: u8) -> bool {
        let brings = |actor: usize, action| {
            let values = self.after(actor, action, content.value);
            content.done & 1 << actor == 0
                && (0..64).any(|value| values & 1 << value != 0 && fits(cell, value, seen))
        };
        fits(cell, content.value, seen)
            || (0..ACTORS).filter(|actor| self.running[*actor].active).any(|actor| {
                let mut actions = self.running[actor].actions.iter();
                actions.any(|(at, action)| *at == cell && brings(actor, *action))
            })
    }

    /// True if one content explains all of these values, seen at this moment.
    pub fn explains_all(&self, cell: usize, seen: &[u8]) -> bool {
        let mut contents = self.contents[cell].iter();
        contents.any(|content| seen.iter().all(|seen| self.explains(cell, *content, *seen)))
    }

    /// An access sees `seen` at this moment. False if nothing explains it. While the start state is
    /// made, nothing is compared.
    pub fn observe(&mut self, cell: usize, seen: u8) -> bool {
        if self.contents[cell].is_empty() {
            return true;
        }
        let fitting = |content: &Content| self.explains(cell, *content, seen);
        let kept: Vec<_> = self.contents[cell].iter().copied().filter(fitting).collect();
        let explained = !kept.is_empty();
        if explained && kept.len() < self.contents[cell].len() {
            self.memo.forget();
            self.contents[cell] = kept;
            self.close();
        }
        explained
    }

    /// The operation of `actor` saw a value at some moment. If nobody was about to change the cell
    /// meanwhile, that holds for now, too.
    pub fn saw(&mut self, actor: usize, cell: usize, seen: u8) -> bool {
        let undisturbed = self.running[actor].disturbed & 1 << cell == 0;
        self.may_have_seen(actor, cell, seen) && (!undisturbed || self.observe(cell, seen))
    }

    /// A store lands in the file at this moment. False if the cell can only be past the last page.
    pub fn lands(&mut self, cell: usize, value: u8) -> bool {
        if self.contents[cell].is_empty() {
            return true;
        }
        self.memo.forget();
        let page_is_there = |content: &Content| content.value != PAST || cell % 2 == 1;
        self.contents[cell].retain(page_is_there);
        for content in &mut self.contents[cell] {
            if content.value != PAST {
                content.value = value;
            }
        }
        self.contents[cell].sort_unstable();
        self.contents[cell].dedup();
        self.disturb(cell);
        let explained = !self.contents[cell].is_empty();
        if explained {
            self.close();
        }
        explained
    }

    /// The operation of `actor` has ended.
    pub fn end(&mut self, actor: usize, ended: Ended) {
        self.memo.forget();
        self.running[actor].active = false;
        let bit = 1u8 << actor;
        for (cell, _) in std::mem::take(&mut self.running[actor].actions) {
            let contents = &mut self.contents[cell];
            contents.retain(|content| match ended {
                Ended::Done => content.done & bit != 0,
                Ended::Refused => content.done & bit == 0,
                Ended::Partly => true,
            });
            for content in contents.iter_mut() {
                content.done &= !bit;
            }
            contents.sort_unstable();
            contents.dedup();
        }
    }
}

impl Hash for History {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let hash = self.memo.hash(|hasher| {
            for contents in &self.contents {
                let hash = contents.iter().fold(0u64, |hash, content| {
                    let one = u64::from(content.value) << 8 | u64::from(content.done) | 1 << 16;
                    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ one
                });
                hasher.write_u64(hash);
            }
            for running in self.running.iter().filter(|running| running.active) {
                running.reads.hash(hasher);
                (running.disturbed & running.reads).hash(hasher);
                running.actions.hash(hasher);
                bits(running.reads).for_each(|cell| running.seen[cell].hash(hasher));
                running.promised.hash(hasher);
                bits(running.promised).for_each(|cell| running.since[cell].hash(hasher));
            }
        });
        state.write_u64(hash);
    }
}

#[cfg(test)]
mod tests;
