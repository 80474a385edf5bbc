//! Running operations, and comparing what they saw and left with what is allowed.

use core::cell::OnceCell;
use core::fmt;
use core::ops::Range;
use std::sync::Arc;

use limpid_dax::{
    Access, DaxError, FaultOutcome, Mapping, PAGE_SIZE, PageIndex, PageRange, Vma, WriteAt,
};
use limpid_pmem::{MediaError, Persist};

use crate::buffers::{AtEnd, Bytes, InMap, Seen};
use crate::history::{
    Ended, INITIAL, PAST, TRACKED, ZERO, cell_at, file_of, local, tracked, value_name, value_of,
};
use crate::lab::{Cfg, Mappings};
use crate::op::{Op, bytes, pages, promised};
use crate::panics::caught;
use crate::sim::{CELL, SimMedia, Subject};
use crate::tables_access::{load, store};
use crate::world::{self, Pending};

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
            let (actions, reads) = op.effects(value, |cell| world.stored_value(cell));
            let promised = promised(&actions);
            world.history.begin(self.number, actions, reads, promised);
            let size = matches!(op, Op::Append { .. }).then_some(world.files[0].size);
            let actor = &mut world.actors[self.number];
            actor.forget_operation();
            actor.size = size;
            actor.seen = at as u64;
            actor.writes = op.writes();
        });
        let ended = caught(|| self.perform(op, value)).unwrap_or(Ended::Partly);
        if ended != Ended::Partly {
            self.check_durable(op, ended);
            self.check_times(op, ended);
        }
        world::with(|world| {
            world.history.end(self.number, ended);
            let actor = &mut world.actors[self.number];
            actor.op = at + 1;
            actor.forget_operation();
        });
        world::note(|| "END".into());
    }

    fn mapping(&self, cell: u32) -> &Arc<Mapping<Cfg<B>>> {
        &self.mappings[file_of(cell)]
    }

    fn vma(&self, map: usize) -> &Vma {
        &self.vmas[map]
    }

    pub fn perform(&self, op: &Op, value: u8) -> Ended {
        let mapping = self.mapping(op.cell());
        match op {
            Op::Load { map, cell } => {
                load(mapping, self.vma(*map), *map, *cell);
                Ended::Done
            }
            Op::Store { map, cell } => {
                done_or_refused(store(mapping, self.vma(*map), *map, *cell, value))
            }
            Op::Read { cells } => self.read(cells),
            Op::Write { cells } => {
                let source = Bytes { value, len: u64::from(cells.end - cells.start) * CELL };
                let written = mapping.write(WriteAt::Offset(bytes(cells).start), &source);
                let whole = source.len;
                match written {
                    Ok(written) if written.len < whole && self.was_hit() => Ended::Partly,
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
            Op::Pin { cells } => self.pin(cells, value, None),
            Op::PinLoad { cells, map, cell } => self.pin(cells, value, Some((*map, *cell))),
            Op::Append { cells } => self.append(*cells, value),
            Op::AllocateGrow { cells } => self.expect(mapping.allocate(bytes(cells), false)),
            Op::ZeroGrow { cells } => self.expect(mapping.zero_range(bytes(cells), false)),
            Op::Open { map, cell } => {
                mapping.add_map(self.vmas[*map].clone());
                load(mapping, self.vma(*map), *map, *cell);
                Ended::Done
            }
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

    /// True if a call of this operation has failed. No other may fail for that.
    fn was_hit(&self) -> bool {
        world::with(|world| world.was_hit())
    }

    /// How the operation ended. It may be refused if the range, or the buffer, has moved past the
    /// end meanwhile.
    fn expect<E: fmt::Debug>(&self, result: Result<(), DaxError<E>>) -> Ended {
        match result {
            Ok(()) => return Ended::Done,
            Err(_) if self.was_hit() => return Ended::Partly,
            Err(DaxError::Unaligned { .. } | DaxError::Media(MediaError::Buffer))
            | Err(DaxError::TooLarge { .. }) => {}
            Err(error) => world::with(|world| world.fail("C1", format!("failed: {error:?}"))),
        }
        Ended::Refused
    }

    /// Appends, and looks where: at the end of the file as it is when lock 1 is held.
    fn append(&self, cells: u32, value: u8) -> Ended {
        let source = AtEnd { value, cells, began: OnceCell::new() };
        let written = self.mapping(0).write(WriteAt::End, &source);
        if let (Ok(written), Some(began)) = (&written, source.began.get())
            && written.offset != u64::from(*began) * CELL
        {
            let seen = format!("appended at {:#x}, the end is cell {began}", written.offset);
            world::with(|world| world.fail("C1", seen));
        }
        self.expect(written.map(|_| ()))
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

    fn pin(&self, cells: &Range<u32>, value: u8, loads: Option<(usize, u32)>) -> Ended {
        let pin = match self.mapping(cells.start).pin(pages(cells)) {
            Ok(pin) => pin,
            Err(error) => return self.expect(Err(error)),
        };
        world::with(|world| {
            let pinned = &mut world.actors[self.number].pinned;
            pinned.extend(pin.extents().iter().map(|extent| {
                let first = extent.device / PAGE_SIZE;
                PageRange::new(first, first + extent.pages.len())
            }));
        });
        if let Some((map, cell)) = loads {
            load(self.mapping(cell), self.vma(map), map, cell);
        }
        // The first cell of the range, and of what lies on several pages the last.
        let last = (cells.len() > 2).then_some(cells.end - 1);
        for cell in [cells.start].into_iter().chain(last) {
            world::step(Pending::Step, || format!("store to cell {cell} by device address"));
            let at = bytes(&(cell..cell + 1)).start;
            let mut extents = pin.extents().iter();
            let extent = extents.find(|extent| extent.pages.bytes().contains(&at));
            let device = extent.expect("a pin has all its pages").device_at(at);
            SimMedia.put(device..device + CELL, value, Persist::No);
            world::with(|world| world.landed(cell, value));
        }
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

    /// What changes a file moves its time, and what only looks does not. Stores through maps do not
    /// move it here: that is not the DAX layer's today.
    fn check_times(&self, op: &Op, ended: Ended) {
        let changed = op.changes_data().map(|cell| 1u8 << file_of(cell));
        world::with(|world| {
            let actor = &world.actors[self.number];
            let touched = actor.touched;
            if let Some(file) = changed.filter(|file| ended == Ended::Done && touched & file == 0) {
                world.fail("times", format!("the time of file {file} has not moved"));
            }
            if matches!(op, Op::Read { .. }) && touched != 0 {
                world.fail("times", "a read has moved the time of the last change".into());
            }
        });
    }

    /// What the operation promises is on the medium: what it changed itself (C7), and for a sync
    /// what was stored before it began (I4).
    fn check_durable(&self, op: &Op, ended: Ended) {
        let (synced, number) = (op.syncs(), self.number);
        world::with(|world| {
            let promised = if ended == Ended::Done { world.history.promised(number) } else { 0 };
            for at in (0..TRACKED).filter(|at| (promised | synced) & 1 << at != 0) {
                let value = world.durable_value(cell_at(at));
                let (clause, right, allowed) = match promised & 1 << at != 0 {
                    true => {
                        let since = world.history.since(number, at);
                        ("C7", may_be(since, value), since)
                    }
                    false => {
                        let right = world.history.may_have_seen(number, at, value);
                        ("I4", right, world.history.seen(number, at))
                    }
                };
                if !right {
                    let seen = wrong(cell_at(at), value, allowed);
                    world.fail(clause, format!("on the medium: {seen}"));
                }
            }
        });
    }
}

/// True if `value` is among `allowed`; what lies past the end may hold anything.
fn may_be(allowed: u64, value: u8) -> bool {
    allowed & (1 << value | 1 << PAST) != 0
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
    world::with(|world| {
        if let Some(actor) = world.running {
            world.actors[actor].storing = access == Access::Store;
        }
    });
    match mapping.fault(vma, PageIndex(u64::from(local(cell) / 2)), access) {
        FaultOutcome::Installed | FaultOutcome::PastEnd => true,
        FaultOutcome::Failed(_) | FaultOutcome::NoMemory
            if world::with(|world| world.was_hit()) =>
        {
            true
        }
        outcome => {
            world::with(|world| world.fail("C5", format!("the fault failed: {outcome:?}")));
            false
        }
    }
}
