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
    Action, Ended, INITIAL, PAST, TRACKED, ZERO, cell_at, file_of, local, tracked, value_name,
    value_of,
};
use crate::lab::{Cfg, Mappings};
use crate::panics::caught;
use crate::sim::{CELL, SimMedia, Subject};
use crate::tables_access::{load, store};
use crate::world::{self, Pending};

/// One operation on the file. Cells are halves of pages (2 KiB), counted from the start of the
/// file; a 2 MiB unit has 1024. Those from 4096 on are the second file's. Maps are numbers into the
/// scenario's maps.
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
    /// Zeroes a range, keeping blocks; it may extend the file.
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
    /// Makes what is at `to` on share the blocks of `cells`, here or in the other file.
    Clone { cells: Range<u32>, to: u32 },
}

/// The bytes of the file; a range lies in one file.
fn bytes(cells: &Range<u32>) -> Range<u64> {
    let start = u64::from(local(cells.start)) * CELL;
    start..start + cells.len() as u64 * CELL
}

fn pages(cells: &Range<u32>) -> PageRange {
    let end = local(cells.start) + cells.len() as u32;
    PageRange::new(u64::from(local(cells.start) / 2), u64::from(end.div_ceil(2)))
}

fn bits(cells: &Range<u32>) -> u32 {
    (0..TRACKED).filter(|at| cells.contains(&cell_at(*at))).fold(0, |bits, at| bits | 1 << at)
}

impl Op {
    /// True if the operation may change the size of the file, given its size in cells.
    pub fn changes_size(&self, size: u32) -> bool {
        match self {
            Op::Write { cells } => cells.end > size,
            Op::Zero { .. } => self.zeroes_past(),
            Op::Truncate { .. } | Op::Collapse { .. } | Op::Insert { .. } | Op::Clone { .. } => {
                true
            }
            _ => false,
        }
    }

    /// True for a zeroing that makes the file larger: one that ends beyond two units.
    fn zeroes_past(&self) -> bool {
        matches!(self, Op::Zero { cells } if local(cells.start) + cells.len() as u32 > 2048)
    }

    /// A cell of the file that the operation works on; of a clone, of its source.
    pub(crate) fn cell(&self) -> u32 {
        match self {
            Op::Load { cell, .. } | Op::Store { cell, .. } | Op::Close { cell, .. } => *cell,
            Op::WriteFrom { to, .. } => *to,
            Op::ReadInto { from, .. } => *from,
            Op::Truncate { cells } => *cells,
            Op::Read { cells }
            | Op::Write { cells }
            | Op::Punch { cells }
            | Op::Zero { cells }
            | Op::Allocate { cells }
            | Op::Collapse { cells }
            | Op::Insert { cells }
            | Op::Sync { cells }
            | Op::Pin { cells }
            | Op::Clone { cells, .. } => cells.start,
        }
    }

    /// The cells whose durability the operation promises when it returns.
    pub(crate) fn durable(&self) -> u32 {
        match self {
            Op::Write { cells } | Op::Sync { cells } => bits(cells),
            _ => 0,
        }
    }

    /// What the operation does to the cells, but for stores, and the cells (bits) it looks at.
    pub(crate) fn effects(&self, value: u8) -> (Vec<(usize, Action)>, u32) {
        let mut reads = self.durable();
        let actions = match self {
            Op::Read { cells } => {
                reads |= bits(cells);
                Vec::new()
            }
            Op::ReadInto { from, .. } => {
                reads |= bits(&(*from..*from + 1));
                Vec::new()
            }
            Op::Load { .. } | Op::Store { .. } | Op::Close { .. } | Op::Pin { .. } => Vec::new(),
            Op::Allocate { .. } | Op::Sync { .. } => Vec::new(),
            Op::Write { cells } => on_file(cells.start, |cell| match cells.contains(&cell) {
                true => Some(Action::Write(value)),
                false => (cell < cells.start).then_some(Action::Grow),
            }),
            // What is written is known when it was loaded.
            Op::WriteFrom { to, .. } => on_file(*to, |cell| (cell < *to).then_some(Action::Grow)),
            Op::Zero { cells } if self.zeroes_past() => {
                on_file(cells.start, |cell| match cells.contains(&cell) {
                    true => Some(Action::Write(ZERO)),
                    false => (cell < cells.start).then_some(Action::Grow),
                })
            }
            Op::Punch { cells } | Op::Zero { cells } => {
                on_file(cells.start, |cell| cells.contains(&cell).then_some(Action::Zero))
            }
            Op::Truncate { cells } => on_file(*cells, |cell| {
                Some(if cell >= *cells { Action::Past } else { Action::Grow })
            }),
            Op::Clone { cells, to } => on_file(*to, |cell| {
                let from = cell.checked_sub(*to).map(|by| cells.start + by);
                match from.filter(|from| cells.contains(from)).and_then(tracked) {
                    Some(from) => Some(Action::Clone(from)),
                    None => (cell < *to).then_some(Action::Grow),
                }
            }),
            Op::Collapse { cells } => on_file(cells.start, |cell| {
                let from = tracked(cell + cells.len() as u32).filter(|_| cell >= cells.start);
                let from = from.filter(|at| file_of(cell_at(*at)) == 0).map(Action::Move);
                (cell >= cells.start).then(|| from.unwrap_or(Action::Past))
            }),
            Op::Insert { cells } => on_file(cells.start, |cell| {
                let from = cell.checked_sub(cells.len() as u32);
                let from = from.filter(|from| *from >= cells.start).and_then(tracked);
                (cell >= cells.start).then(|| from.map_or(Action::Write(ZERO), Action::Move))
            }),
        };
        (actions, reads)
    }
}

/// What an operation does to each tracked cell of the file that `cell` belongs to.
fn on_file(cell: u32, action: impl Fn(u32) -> Option<Action>) -> Vec<(usize, Action)> {
    let cells = (0..TRACKED).filter(|at| file_of(cell_at(*at)) == file_of(cell));
    cells.filter_map(|at| Some((at, action(cell_at(at))?))).collect()
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
            Op::Clone { cells, to } => write!(f, "clone {cells:?} to {to}"),
        }
    }
}

/// What one actor works with.
pub(crate) struct Actor<B: Subject> {
    pub mappings: Mappings<B>,
    pub vmas: Arc<[Arc<Vma>]>,
    pub number: usize,
}

impl<B: Subject> Actor<B> {
    /// Runs operation number `at` of the actor and compares what it saw with what is allowed.
    pub fn run(&self, op: &Op, at: usize) {
        world::step(Pending::Step, || format!("BEGIN {op}"));
        let value = value_of(self.number, at);
        world::with(|world| {
            let (actions, reads) = op.effects(value);
            world.history.begin(self.number, actions, reads);
            world.actors[self.number].seen = at as u64;
        });
        let ended = caught(|| self.perform(op, value)).unwrap_or(Ended::Partly);
        if ended != Ended::Partly {
            self.check_durable(op);
        }
        world::with(|world| {
            world.history.end(self.number, ended);
            let actor = &mut world.actors[self.number];
            actor.op = at + 1;
            actor.seen = 0;
        });
        world::note(|| "END".into());
    }

    fn mapping(&self, cell: u32) -> &Arc<Mapping<Cfg<B>>> {
        &self.mappings[file_of(cell)]
    }

    fn vma(&self, map: usize) -> &Vma {
        &self.vmas[map]
    }

    fn perform(&self, op: &Op, value: u8) -> Ended {
        let mapping = self.mapping(op.cell());
        match op {
            Op::Load { map, cell } => {
                load(mapping, self.vma(*map), *map, *cell);
                Ended::Done
            }
            Op::Store { map, cell } => {
                let done = store(mapping, self.vma(*map), *map, *cell, value);
                if done && !self.vma(*map).shared {
                    world::with(|world| world.private_stores.push((*map, *cell, value)));
                }
                done_or_refused(done)
            }
            Op::Read { cells } => self.read(cells),
            Op::Write { cells } => {
                let source = Bytes { value, len: u64::from(cells.end - cells.start) * CELL };
                let written = mapping.write(WriteAt::Offset(bytes(cells).start), &source);
                let whole = source.len;
                match written {
                    Ok(written) if written.len < whole && self.fails() => Ended::Partly,
                    written => self.expect(written.map(|_| ())),
                }
            }
            Op::WriteFrom { map, from, to } => {
                let vma = self.vma(*map);
                let source = InMap { mapping, vma, map: *map, cell: *from, file_cell: *to };
                let at = WriteAt::Offset(u64::from(*to) * CELL);
                self.expect(mapping.write(at, &source).map(|_| ()))
            }
            Op::ReadInto { map, from, to } => {
                let vma = self.vma(*map);
                let mut sink = InMap { mapping, vma, map: *map, cell: *to, file_cell: *from };
                self.expect(mapping.read(u64::from(*from) * CELL, &mut sink).map(|_| ()))
            }
            Op::Punch { cells } => self.expect(mapping.punch(bytes(cells))),
            Op::Zero { cells } => self.expect(mapping.zero_range(bytes(cells), !op.zeroes_past())),
            Op::Allocate { cells } => self.expect(mapping.allocate(bytes(cells), true)),
            Op::Collapse { cells } => self.expect(mapping.collapse(bytes(cells))),
            Op::Insert { cells } => self.expect(mapping.insert(bytes(cells))),
            Op::Truncate { cells } => {
                self.expect(mapping.truncate(u64::from(local(*cells)) * CELL))
            }
            Op::Sync { cells } => {
                mapping.writeback(pages(cells));
                Ended::Done
            }
            Op::Pin { cells } => self.pin(cells, value),
            Op::Close { map, cell } => {
                let done = store(mapping, self.vma(*map), *map, *cell, value);
                mapping.remove_map(&self.vmas[*map]);
                done_or_refused(done)
            }
            Op::Clone { cells, to } => {
                let at = u64::from(local(*to)) * CELL;
                self.expect(self.mapping(*to).clone_range(at, mapping, bytes(cells)))
            }
        }
    }

    /// True if a call of this actor fails in this scenario.
    fn fails(&self) -> bool {
        world::with(|world| world.fails.is_some_and(|fails| fails.actor == self.number))
    }

    /// How the operation ended. It may be refused if the range, or the buffer, has moved past the
    /// end meanwhile.
    fn expect<E: fmt::Debug>(&self, result: Result<(), DaxError<E>>) -> Ended {
        match result {
            Ok(()) => return Ended::Done,
            Err(_) if self.fails() => return Ended::Partly,
            Err(DaxError::Unaligned { .. } | DaxError::Media(MediaError::Buffer))
            | Err(DaxError::TooLarge { .. }) => {}
            Err(error) => world::with(|world| world.fail("C1", format!("failed: {error:?}"))),
        }
        Ended::Refused
    }

    fn read(&self, cells: &Range<u32>) -> Ended {
        let mut sink = Seen { values: vec![PAST; cells.len()] };
        let result = self.mapping(cells.start).read(bytes(cells).start, &mut sink);
        let done = self.expect(result.map(|_| ()));
        world::note(|| {
            let names: Vec<_> = sink.values.iter().map(|value| value_name(*value)).collect();
            format!("read {}", names.join(" "))
        });
        let whole = cells.clone().zip(&sink.values).filter(|_| done != Ended::Partly);
        for (cell, value) in whole {
            self.saw(cell, *value);
        }
        done
    }

    fn pin(&self, cells: &Range<u32>, value: u8) -> Ended {
        let Ok(pin) = self.mapping(cells.start).pin(pages(cells)) else {
            return Ended::Refused;
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
        let device = first.device_at(bytes(cells).start);
        SimMedia.put(device..device + CELL, value, Persist::No);
        world::with(|world| world.landed(cells.start, value));
        world::step(Pending::Step, || "unpin".into());
        world::with(|world| world.actors[self.number].pinned.clear());
        drop(pin);
        Ended::Done
    }

    /// Compares what read saw with what there was at any moment of the operation.
    fn saw(&self, cell: u32, value: u8) {
        let Some(at) = tracked(cell) else { return };
        world::with(|world| {
            if !world.history.saw(self.number, at, value) {
                let allowed = world.history.seen(self.number, at);
                world.fail(clause_for(value, allowed), wrong(cell, value, allowed));
            }
        });
    }

    /// What the operation promises is on the medium (C7, I4).
    fn check_durable(&self, op: &Op) {
        let promised = op.durable();
        world::with(|world| {
            for at in (0..TRACKED).filter(|at| promised & 1 << at != 0) {
                let value = world.durable_value(cell_at(at));
                if !world.history.may_have_seen(self.number, at, value) {
                    let allowed = world.history.seen(self.number, at);
                    let seen = wrong(cell_at(at), value, allowed);
                    world.fail("I4", format!("on the medium: {seen}"));
                }
            }
        });
    }
}

fn done_or_refused(done: bool) -> Ended {
    if done { Ended::Done } else { Ended::Refused }
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
    match mapping.fault(vma, PageIndex(u64::from(local(cell) / 2)), access) {
        FaultOutcome::Installed | FaultOutcome::PastEnd => true,
        FaultOutcome::Failed(_) | FaultOutcome::NoMemory
            if world::with(|world| world.fails.is_some()) =>
        {
            true
        }
        outcome => {
            world::with(|world| world.fail("C5", format!("the fault failed: {outcome:?}")));
            false
        }
    }
}
