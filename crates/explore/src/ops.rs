//! The operations actors run, what each may do to the bytes, and running them.

use core::fmt;
use core::ops::Range;
use std::sync::Arc;

use limpid_dax::{
    Access, DaxError, FaultOutcome, Mapping, PAGE_SIZE, PageIndex, PageRange, Vma, WriteAt,
};
use limpid_pmem::{MediaError, Persist};

use crate::buffers::{Bytes, InMap, Seen};
use crate::history::{
    Effects, INITIAL, PAST, TRACKED, UNIT_CELLS, ZERO, cell_at, tracked, value_name, value_of,
};
use crate::lab::Cfg;
use crate::sim::{CELL, SimMedia, Subject, Tables};
use crate::tables_access::{load, store};
use crate::world::{self, Pending};

/// One operation on the file. Cells are halves of pages (2 KiB), counted from the start of the
/// file; a 2 MiB unit has 1024. Maps are numbers into the scenario's maps.
#[allow(missing_docs)] // The fields are what the enum's documentation calls them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Loads a cell through a map.
    Load { map: usize, cell: u32 },
    /// Stores to a cell through a map.
    Store { map: usize, cell: u32 },
    /// read.
    Read { cells: Range<u32> },
    /// write; it may extend the file.
    Write { cells: Range<u32> },
    /// write, with a buffer that is a map of the file itself.
    WriteFrom { map: usize, from: u32, to: u32 },
    /// read, into a buffer that is a map of the file itself.
    ReadInto { map: usize, from: u32, to: u32 },
    /// Punches a hole.
    Punch { cells: Range<u32> },
    /// Zeroes a range, keeping blocks.
    Zero { cells: Range<u32> },
    /// Gives blocks to a range.
    Allocate { cells: Range<u32> },
    /// Removes whole pages.
    Collapse { cells: Range<u32> },
    /// Inserts a hole of whole pages.
    Insert { cells: Range<u32> },
    /// Sets the size, in cells.
    Truncate { cells: u32 },
    /// Writes the stores of a range back.
    Sync { cells: Range<u32> },
    /// Pins pages, stores to a cell of them by their device address, and unpins.
    Pin { cells: Range<u32> },
    /// Stores through a map, then closes it.
    Close { map: usize, cell: u32 },
}

fn bytes(cells: &Range<u32>) -> Range<u64> {
    u64::from(cells.start) * CELL..u64::from(cells.end) * CELL
}

fn pages(cells: &Range<u32>) -> PageRange {
    PageRange::new(u64::from(cells.start / 2), u64::from(cells.end.div_ceil(2)))
}

fn bits(cells: &Range<u32>) -> u16 {
    (0..TRACKED).filter(|at| cells.contains(&cell_at(*at))).fold(0, |bits, at| bits | 1 << at)
}

impl Op {
    /// True if the operation may change the size of the file, given its size in cells.
    pub fn changes_size(&self, size: u32) -> bool {
        match self {
            Op::Write { cells } => cells.end > size,
            Op::Truncate { .. } | Op::Collapse { .. } | Op::Insert { .. } => true,
            _ => false,
        }
    }

    /// The cells whose durability the operation promises when it returns.
    pub(crate) fn durable(&self) -> u16 {
        match self {
            Op::Write { cells } | Op::Sync { cells } => bits(cells),
            _ => 0,
        }
    }

    /// What the operation may do, given what is allowed at each cell when it begins.
    pub(crate) fn effects(&self, value: u8, allowed: &[u64; TRACKED], maps: &[Tables]) -> Effects {
        let mut effects = Effects { reads: self.durable(), ..Effects::default() };
        let past = |at: usize| allowed[at] & 1 << PAST != 0;
        let only_past = |at: usize| allowed[at] == 1 << PAST;
        match self {
            Op::Load { cell, .. } => effects.reads |= bits(&(*cell..cell + 1)),
            Op::Store { map, .. } if !maps[*map].spec.shared => {}
            Op::Store { cell, .. }
            | Op::Close { cell, .. }
            | Op::Pin { cells: Range { start: cell, .. } } => {
                effects.reads |= bits(&(*cell..cell + 1));
                let at = tracked(*cell).expect("stores go to tracked cells");
                if !only_past(at) {
                    effects.writes.push((at, value));
                    if !past(at) {
                        effects.surely |= 1 << at;
                    }
                }
            }
            Op::Read { cells } => effects.reads |= bits(cells),
            Op::Write { cells } => {
                for at in 0..TRACKED {
                    if cells.contains(&cell_at(at)) {
                        effects.writes.push((at, value));
                        effects.surely |= 1 << at;
                    } else if cell_at(at) < cells.start && past(at) {
                        effects.writes.push((at, ZERO));
                        effects.surely |= u16::from(only_past(at)) << at;
                    }
                }
            }
            Op::WriteFrom { from, to, .. } | Op::ReadInto { from, to, .. } => {
                let from = tracked(*from).expect("copies are between tracked cells");
                let to = tracked(*to).expect("copies are between tracked cells");
                effects.moves.push((from, to));
                effects.surely |= 1 << to;
            }
            Op::Punch { cells } | Op::Zero { cells } => {
                for at in (0..TRACKED).filter(|at| cells.contains(&cell_at(*at))) {
                    if !only_past(at) {
                        effects.writes.push((at, ZERO));
                        effects.surely |= u16::from(!past(at)) << at;
                    }
                }
            }
            Op::Allocate { .. } | Op::Sync { .. } => {}
            Op::Truncate { cells } => {
                for at in 0..TRACKED {
                    if cell_at(at) >= *cells {
                        effects.writes.push((at, PAST));
                        effects.surely |= 1 << at;
                    } else if past(at) {
                        effects.writes.push((at, ZERO));
                        effects.surely |= u16::from(only_past(at)) << at;
                    }
                }
            }
            Op::Collapse { cells } => self.shifts(cells, true, &mut effects),
            Op::Insert { cells } => self.shifts(cells, false, &mut effects),
        }
        effects
    }

    fn shifts(&self, cells: &Range<u32>, down: bool, effects: &mut Effects) {
        assert!(cells.start.is_multiple_of(UNIT_CELLS) && cells.end.is_multiple_of(UNIT_CELLS));
        for at in (0..TRACKED).filter(|at| cell_at(*at) >= cells.start) {
            effects.surely |= 1 << at;
            let len = cells.end - cells.start;
            let from =
                if down { cell_at(at).checked_add(len) } else { cell_at(at).checked_sub(len) };
            match from.filter(|from| *from >= cells.start).and_then(tracked) {
                Some(from) => effects.moves.push((from, at)),
                None if down => effects.writes.push((at, PAST)),
                None => effects.writes.push((at, ZERO)),
            }
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = |map: &usize| (b'p' + *map as u8) as char;
        match self {
            Op::Load { map: m, cell } => write!(f, "load {}[{cell}]", map(m)),
            Op::Store { map: m, cell } => write!(f, "store {}[{cell}]", map(m)),
            Op::Read { cells } => write!(f, "read {cells:?}"),
            Op::Write { cells } => write!(f, "write {cells:?}"),
            Op::WriteFrom { map: m, from, to } => write!(f, "write {to} from {}[{from}]", map(m)),
            Op::ReadInto { map: m, from, to } => write!(f, "read {from} into {}[{to}]", map(m)),
            Op::Punch { cells } => write!(f, "punch {cells:?}"),
            Op::Zero { cells } => write!(f, "zero {cells:?}"),
            Op::Allocate { cells } => write!(f, "allocate {cells:?}"),
            Op::Collapse { cells } => write!(f, "collapse {cells:?}"),
            Op::Insert { cells } => write!(f, "insert {cells:?}"),
            Op::Truncate { cells } => write!(f, "truncate to {cells}"),
            Op::Sync { cells } => write!(f, "sync {cells:?}"),
            Op::Pin { cells } => write!(f, "pin {cells:?}, store, unpin"),
            Op::Close { map: m, cell } => write!(f, "store {}[{cell}] and close", map(m)),
        }
    }
}

/// What one actor works with.
pub(crate) struct Actor<B: Subject> {
    pub mapping: Arc<Mapping<Cfg<B>>>,
    pub vmas: Arc<[Arc<Vma>]>,
    pub number: usize,
}

impl<B: Subject> Actor<B> {
    /// Runs operation number `at` of the actor and compares what it saw with what is allowed.
    pub fn run(&self, op: &Op, at: usize) {
        world::step(Pending::Step, || format!("BEGIN {op}"));
        let value = value_of(self.number, at);
        world::with(|world| {
            let allowed = core::array::from_fn(|cell| world.history.allowed(cell));
            let effects = op.effects(value, &allowed, &world.tables);
            world.history.begin(self.number, effects);
            world.actors[self.number].seen = at as u64;
        });
        self.perform(op, value);
        self.check_durable(op);
        world::with(|world| {
            world.history.end(self.number);
            let actor = &mut world.actors[self.number];
            actor.op = at + 1;
            actor.seen = 0;
        });
        world::note(|| "END".into());
    }

    fn vma(&self, map: usize) -> &Vma {
        &self.vmas[map]
    }

    fn perform(&self, op: &Op, value: u8) {
        let mapping = &*self.mapping;
        match op {
            Op::Load { map, cell } => {
                let seen = load(mapping, self.vma(*map), *map, *cell);
                self.saw(*cell, seen, self.vma(*map).shared, *map);
            }
            Op::Store { map, cell } => {
                let done = store(mapping, self.vma(*map), *map, *cell, value);
                if !done {
                    self.saw(*cell, PAST, true, *map);
                } else if !self.vma(*map).shared {
                    world::with(|world| world.private_stores.push((*map, *cell, value)));
                }
            }
            Op::Read { cells } => self.read(cells),
            Op::Write { cells } => {
                let source = Bytes { value, len: u64::from(cells.end - cells.start) * CELL };
                let written = mapping.write(WriteAt::Offset(bytes(cells).start), &source);
                self.expect(written.map(|_| ()));
            }
            Op::WriteFrom { map, from, to } => {
                let vma = self.vma(*map);
                let source = InMap { mapping, vma, map: *map, cell: *from };
                let at = WriteAt::Offset(u64::from(*to) * CELL);
                self.expect(mapping.write(at, &source).map(|_| ()));
            }
            Op::ReadInto { map, from, to } => {
                let mut sink = InMap { mapping, vma: self.vma(*map), map: *map, cell: *to };
                self.expect(mapping.read(u64::from(*from) * CELL, &mut sink).map(|_| ()));
            }
            Op::Punch { cells } => self.expect(mapping.punch(bytes(cells))),
            Op::Zero { cells } => self.expect(mapping.zero_range(bytes(cells), true)),
            Op::Allocate { cells } => self.expect(mapping.allocate(bytes(cells), true)),
            Op::Collapse { cells } => self.expect(mapping.collapse(bytes(cells))),
            Op::Insert { cells } => self.expect(mapping.insert(bytes(cells))),
            Op::Truncate { cells } => self.expect(mapping.truncate(u64::from(*cells) * CELL)),
            Op::Sync { cells } => mapping.writeback(pages(cells)),
            Op::Pin { cells } => self.pin(cells, value),
            Op::Close { map, cell } => {
                store(mapping, self.vma(*map), *map, *cell, value);
                mapping.remove_map(&self.vmas[*map]);
            }
        }
    }

    fn expect<E: fmt::Debug>(&self, result: Result<(), DaxError<E>>) {
        match result {
            // The range may have moved past the end meanwhile, or the buffer.
            Ok(())
            | Err(DaxError::Unaligned { .. } | DaxError::Media(MediaError::Buffer))
            | Err(DaxError::TooLarge { .. }) => {}
            Err(error) => world::with(|world| world.fail("C1", format!("failed: {error:?}"))),
        }
    }

    fn read(&self, cells: &Range<u32>) {
        let mut sink = Seen { values: vec![PAST; cells.len()] };
        let result = self.mapping.read(bytes(cells).start, &mut sink);
        self.expect(result.map(|_| ()));
        world::note(|| {
            let names: Vec<_> = sink.values.iter().map(|value| value_name(*value)).collect();
            format!("read {}", names.join(" "))
        });
        for (cell, value) in cells.clone().zip(&sink.values) {
            self.saw(cell, *value, true, usize::MAX);
        }
    }

    fn pin(&self, cells: &Range<u32>, value: u8) {
        let Ok(pin) = self.mapping.pin(pages(cells)) else {
            return;
        };
        let first = pin.extents()[0];
        world::with(|world| {
            let pinned = &mut world.actors[self.number].pinned;
            pinned.extend(pin.extents().iter().map(|extent| {
                let first = extent.device / PAGE_SIZE;
                PageRange::new(first, first + extent.pages.len())
            }));
        });
        world::step(Pending::Step, || "store by device address".into());
        let device = first.device_at(u64::from(cells.start) * CELL);
        SimMedia.put(device..device + CELL, value, Persist::No);
        world::step(Pending::Step, || "unpin".into());
        world::with(|world| world.actors[self.number].pinned.clear());
        drop(pin);
    }

    /// Compares what was seen with what was allowed at any moment of the operation.
    fn saw(&self, cell: u32, value: u8, shared: bool, map: usize) {
        let Some(at) = tracked(cell) else { return };
        world::with(|world| {
            let allowed = world.history.seen(self.number, at);
            let copied = !shared && world.tables[map].private_copy(cell / 2).is_some();
            if !copied && !is_allowed(allowed, cell, value, world.size) {
                let clause = clause_for(value, allowed);
                world.fail(clause, wrong(cell, value, allowed));
            }
        });
    }

    /// What the operation promises is on the medium (C7, I4).
    fn check_durable(&self, op: &Op) {
        let promised = op.durable();
        world::with(|world| {
            for at in (0..TRACKED).filter(|at| promised & 1 << at != 0) {
                let value = world.durable_value(cell_at(at));
                let allowed = world.history.seen(self.number, at);
                if !is_allowed(allowed, cell_at(at), value, world.size) {
                    let seen = wrong(cell_at(at), value, allowed);
                    world.fail("I4", format!("on the medium: {seen}"));
                }
            }
        });
    }
}

/// True if `value` may be seen at `cell`. Behind the end of the file, in its last page, bytes that
/// were stored there through a map may be seen.
pub(crate) fn is_allowed(allowed: u64, cell: u32, value: u8, size: u64) -> bool {
    let in_last_page = u64::from(cell | 1) * CELL < size.next_multiple_of(PAGE_SIZE);
    allowed & 1 << value != 0 || (allowed & 1 << PAST != 0 && in_last_page && value <= 60)
}

/// The clause that a wrong value breaks.
pub(crate) fn clause_for(value: u8, allowed: u64) -> &'static str {
    match value {
        crate::history::FOREIGN => "C3",
        PAST => "C5",
        _ if allowed == 1 << PAST => "C5",
        ZERO => "C2",
        INITIAL => "C1",
        _ => "C1",
    }
}

/// One sentence: what was seen, and what would have been right.
pub(crate) fn wrong(cell: u32, value: u8, allowed: u64) -> String {
    let right = (0..64).filter(|bit| allowed & 1 << bit != 0).map(value_name);
    let right = right.collect::<Vec<_>>().join(" or ");
    format!("byte of cell {cell} is {}, may be {right}", value_name(value))
}

/// Handles a fault; true if the access should be tried again.
pub(crate) fn fault<B: Subject>(
    mapping: &Mapping<Cfg<B>>,
    vma: &Vma,
    cell: u32,
    access: Access,
) -> bool {
    match mapping.fault(vma, PageIndex(u64::from(cell / 2)), access) {
        FaultOutcome::Installed | FaultOutcome::PastEnd => true,
        outcome => {
            world::with(|world| world.fail("C5", format!("the fault failed: {outcome:?}")));
            false
        }
    }
}
