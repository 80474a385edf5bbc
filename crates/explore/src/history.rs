//! What each byte may be: the contract C1 to C6 as a set of allowed values per byte.
//!
//! A byte stands for a *cell* of half a page. A value is allowed at a moment if some operation that
//! wrote it has begun, and no other operation that surely wrote this cell both began after the
//! first one ended and has ended. An access may return what was allowed at any moment between its
//! beginning and its end; so a racing read may see old or new bytes, and one that begins after a
//! write has returned sees that write or a later one. Operations that move bytes (collapse,
//! insert, a write whose buffer is a map of the file) are *couplings*: while one runs, what is
//! allowed at its source is allowed at its destination.

use std::hash::{Hash, Hasher};

use crate::memo::Memo;

/// Most actors of one execution.
pub(crate) const ACTORS: usize = 4;
/// Cells looked at in each 2 MiB unit: both halves of its first two pages.
pub(crate) const CELLS_PER_UNIT: usize = 4;
/// Units a file may grow to.
pub(crate) const UNITS: usize = 4;
/// Number of cells looked at.
pub(crate) const TRACKED: usize = UNITS * CELLS_PER_UNIT;
/// Cells of half a page in a unit.
pub(crate) const UNIT_CELLS: u32 = 1024;

/// Zeroes.
pub(crate) const ZERO: u8 = 0;
/// What the file held at the beginning.
pub(crate) const INITIAL: u8 = 1;
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

/// The tracked cell of a cell of the file.
pub(crate) fn tracked(cell: u32) -> Option<usize> {
    let (unit, rest) = ((cell / UNIT_CELLS) as usize, (cell % UNIT_CELLS) as usize);
    (unit < UNITS && rest < CELLS_PER_UNIT).then_some(unit * CELLS_PER_UNIT + rest)
}

/// The cell of the file that is tracked at `index`.
pub(crate) fn cell_at(index: usize) -> u32 {
    (index / CELLS_PER_UNIT) as u32 * UNIT_CELLS + (index % CELLS_PER_UNIT) as u32
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Item {
    value: u8,
    /// The actor whose running operation writes it; `NOBODY` once that has ended.
    writer: u8,
    /// Actors whose running operation had begun when the writer ended.
    during: u8,
}

const NOBODY: u8 = u8::MAX;

/// What a running operation does to the cells.
#[derive(Clone, Default)]
pub(crate) struct Effects {
    /// Values it may write.
    pub writes: Vec<(usize, u8)>,
    /// Cells (bits) that surely get one of these values.
    pub surely: u16,
    /// (from, to): what may be at `from` may be moved to `to`.
    pub moves: Vec<(usize, usize)>,
    /// Cells (bits) it looks at.
    pub reads: u16,
}

#[derive(Clone, Default)]
struct Running {
    active: bool,
    effects: Effects,
    seen: [u64; TRACKED],
}

/// The allowed values of all tracked cells.
#[derive(Default)]
pub(crate) struct History {
    items: [Vec<Item>; TRACKED],
    running: [Running; ACTORS],
    /// Of all that is allowed and seen.
    memo: Memo,
}

impl History {
    pub fn reset(&mut self) {
        self.memo.forget();
        for items in &mut self.items {
            items.clear();
        }
        for running in &mut self.running {
            running.active = false;
        }
    }

    /// Sets what a cell holds at the beginning.
    pub fn start(&mut self, cell: usize, value: u8) {
        self.memo.forget();
        self.items[cell].clear();
        self.items[cell].push(Item { value, writer: NOBODY, during: 0 });
    }

    /// Allowed values at this moment, as bits.
    pub fn allowed(&self, cell: usize) -> u64 {
        self.items[cell].iter().fold(0, |bits, item| bits | 1 << item.value)
    }

    /// What the running operation of `actor` may have seen at `cell`.
    pub fn seen(&self, actor: usize, cell: usize) -> u64 {
        self.running[actor].seen[cell]
    }

    pub fn begin(&mut self, actor: usize, effects: Effects) {
        self.memo.forget();
        assert!(!self.running[actor].active, "an actor runs one operation at a time");
        let writes = effects.writes.clone();
        let moves = effects.moves.clone();
        let mut seen = [0; TRACKED];
        for (cell, seen) in seen.iter_mut().enumerate() {
            if effects.reads & 1 << cell != 0 {
                *seen = self.allowed(cell);
            }
        }
        self.running[actor] = Running { active: true, effects, seen };
        for (cell, value) in writes {
            self.add(cell, value, actor);
        }
        for (from, to) in moves {
            let bits = self.allowed(from);
            for value in (0..64).filter(|value| bits & 1 << value != 0) {
                self.add(to, value, actor);
            }
        }
    }

    fn add(&mut self, cell: usize, value: u8, actor: usize) {
        let item = Item { value, writer: actor as u8, during: 0 };
        if self.items[cell].contains(&item) {
            return;
        }
        self.items[cell].push(item);
        for reader in &mut self.running {
            if reader.active && reader.effects.reads & 1 << cell != 0 {
                reader.seen[cell] |= 1 << value;
            }
        }
        for mover in 0..ACTORS {
            if self.running[mover].active && !self.running[mover].effects.moves.is_empty() {
                for at in 0..self.running[mover].effects.moves.len() {
                    let (from, to) = self.running[mover].effects.moves[at];
                    if from == cell {
                        self.add(to, value, mover);
                    }
                }
            }
        }
    }

    pub fn end(&mut self, actor: usize) {
        self.memo.forget();
        self.running[actor].active = false;
        let bit = 1u8 << actor;
        let others = (0..ACTORS).filter(|other| self.running[*other].active);
        let others = others.fold(0u8, |bits, other| bits | 1 << other);
        let surely = self.running[actor].effects.surely;
        for (cell, items) in self.items.iter_mut().enumerate() {
            if surely & 1 << cell != 0 {
                items.retain(|item| item.writer != NOBODY || item.during & bit != 0);
            }
            for item in items.iter_mut() {
                item.during &= !bit;
                if item.writer == actor as u8 {
                    *item = Item { value: item.value, writer: NOBODY, during: others };
                }
            }
            items.sort_unstable();
            items.dedup();
        }
    }
}

impl Hash for History {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let hash = self.memo.hash(|hasher| {
            self.items.hash(hasher);
            for running in self.running.iter().filter(|running| running.active) {
                running.effects.reads.hash(hasher);
                for (cell, seen) in running.seen.iter().enumerate() {
                    if running.effects.reads & 1 << cell != 0 {
                        seen.hash(hasher);
                    }
                }
            }
        });
        state.write_u64(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(cell: usize, value: u8) -> Effects {
        Effects { writes: vec![(cell, value)], surely: 1 << cell, ..Effects::default() }
    }

    #[test]
    fn a_read_after_a_write_sees_it_and_a_racing_read_sees_either() {
        let mut history = History::default();
        history.start(0, ZERO);
        history.begin(0, write(0, 5));
        assert_eq!(history.allowed(0), 1 << ZERO | 1 << 5);
        history.begin(1, Effects { reads: 1, ..Effects::default() });
        history.end(0);
        assert_eq!(history.allowed(0), 1 << 5);
        assert_eq!(history.seen(1, 0), 1 << ZERO | 1 << 5);
    }

    #[test]
    fn two_racing_writes_leave_either() {
        let mut history = History::default();
        history.start(0, ZERO);
        history.begin(0, write(0, 5));
        history.begin(1, write(0, 6));
        history.end(0);
        history.end(1);
        assert_eq!(history.allowed(0), 1 << 5 | 1 << 6);
        history.begin(0, write(0, 7));
        history.end(0);
        assert_eq!(history.allowed(0), 1 << 7);
    }

    #[test]
    fn a_move_takes_racing_writes_along() {
        let mut history = History::default();
        history.start(0, ZERO);
        history.start(4, INITIAL);
        let moves = vec![(4, 0)];
        history.begin(0, Effects { moves, surely: 1, ..Effects::default() });
        history.begin(1, write(4, 6));
        history.end(1);
        history.end(0);
        assert_eq!(history.allowed(0), 1 << INITIAL | 1 << 6);
    }
}
