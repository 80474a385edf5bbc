//! The medium: cells of half a page, what was stored apart from what is durable.

use core::ops::Range;
use std::hash::{Hash, Hasher};

use limpid_pmem::{Durability, Media, MediaError, Persist};

use super::{DEVICE_PAGES, Owner};
use crate::history::{ACTORS, FOREIGN, ZERO, value_name};
use crate::panics::{Called, call};
use crate::runs::Runs;
use crate::scenario::Call;
use crate::world::{self, SimBug};

/// Bytes of one cell: all bytes of a cell are alike.
pub(crate) const CELL: u64 = 2048;
const CELLS: u32 = DEVICE_PAGES * 2;

/// Contents of the simulated medium.
pub(crate) struct Medium {
    stored: Runs<u8>,
    durable: Runs<u8>,
    /// What was written back but not fenced yet, oldest first, with the actor that did it
    /// (`ACTORS`: the start state).
    under_way: Vec<(usize, Range<u32>, u8)>,
}

impl Medium {
    pub fn new() -> Medium {
        Medium {
            stored: Runs::new(CELLS, FOREIGN),
            durable: Runs::new(CELLS, FOREIGN),
            under_way: Vec::new(),
        }
    }

    pub fn reset(&mut self) {
        self.stored.reset(FOREIGN);
        self.durable.reset(FOREIGN);
        self.under_way.clear();
    }

    pub fn stored(&self, cell: u32) -> u8 {
        self.stored.get(cell)
    }

    pub fn durable(&self, cell: u32) -> u8 {
        self.durable.get(cell)
    }

    /// Before anything runs, a cell holds `value`, and durably.
    pub fn begin(&mut self, cell: u32, value: u8) {
        self.stored.fill(cell..cell + 1, value);
        self.durable.fill(cell..cell + 1, value);
    }

    /// True if one of these cells holds what does not belong to the file.
    pub fn has_foreign(&self, cells: Range<u32>) -> bool {
        self.stored.within(cells).any(|(_, value)| value == FOREIGN)
    }

    /// A store by a processor: not durable.
    pub fn store(&mut self, cells: Range<u32>, value: u8) {
        self.stored.fill(cells, value);
    }

    /// Hands cells over to somebody else, who writes there.
    pub fn give_away(&mut self, cells: Range<u32>) {
        self.stored.fill(cells.clone(), FOREIGN);
        self.durable.fill(cells.clone(), FOREIGN);
        remove(&mut self.under_way, &cells);
    }

    fn flush(&mut self, actor: usize, cells: Range<u32>) {
        for (range, value) in self.stored.within(cells) {
            let differs = self.durable.within(range.clone()).any(|(_, old)| old != value);
            let touched = self
                .under_way
                .iter()
                .any(|(_, other, _)| other.start < range.end && range.start < other.end);
            if differs || touched {
                self.under_way.push((actor, range, value));
            }
        }
    }

    /// What the actor wrote back becomes durable. Older contents that others wrote back cannot
    /// come after it.
    fn fence(&mut self, actor: usize) {
        while let Some(at) = self.under_way.iter().position(|one| one.0 == actor) {
            let newer = self.under_way.split_off(at + 1);
            let Some((_, range, value)) = self.under_way.pop() else { return };
            self.durable.fill(range.clone(), value);
            remove(&mut self.under_way, &range);
            self.under_way.extend(newer);
        }
    }
}

/// Takes `cells` out of a list of ranges.
fn remove(list: &mut Vec<(usize, Range<u32>, u8)>, cells: &Range<u32>) {
    let overlaps = |range: &Range<u32>| range.start < cells.end && cells.start < range.end;
    if !list.iter().any(|one| overlaps(&one.1)) {
        return;
    }
    for (actor, range, value) in std::mem::take(list) {
        for rest in [range.start..range.end.min(cells.start), range.start.max(cells.end)..range.end]
        {
            if !rest.is_empty() {
                list.push((actor, rest, value));
            }
        }
    }
}

impl Hash for Medium {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.stored.hash(state);
        self.durable.hash(state);
        self.under_way.hash(state);
    }
}

/// Implements [`Media`] over the world of this thread.
#[derive(Debug, Default)]
pub struct SimMedia;

fn cells(bytes: &Range<u64>) -> Range<u32> {
    assert!(
        bytes.start.is_multiple_of(CELL) && bytes.end.is_multiple_of(CELL),
        "{bytes:?} are whole cells"
    );
    (bytes.start / CELL) as u32..(bytes.end / CELL) as u32
}

/// True if somebody else may reach a part of these cells: a copy there is a step.
pub(crate) fn is_shared(cells: &Range<u32>) -> bool {
    world::with(|world| world.own.any(cells.start / 2..cells.end.div_ceil(2), Owner::File))
}

impl SimMedia {
    /// Writes `value` to the bytes at `at`.
    pub(crate) fn put(&self, bytes: Range<u64>, value: u8, persist: Persist) {
        let cells = cells(&bytes);
        world::with(|world| {
            if world.own.any(cells.start / 2..cells.end.div_ceil(2), Owner::Free) {
                let seen = format!("{} written to free blocks {bytes:x?}", value_name(value));
                world.fail("C3", seen);
            }
            world.medium.store(cells.clone(), value);
            if persist == Persist::Yes {
                let actor = world.running.unwrap_or(ACTORS);
                world.medium.flush(actor, cells);
            }
        });
    }

    /// The error of a call that is to fail.
    fn fails(&self, at: u64) -> Result<(), MediaError> {
        if world::with(|world| world.fails_now(Call::Media)) {
            world::note(|| "fails".into());
            return Err(MediaError::Io { at });
        }
        Ok(())
    }

    /// Reads the cell at `at`.
    pub(crate) fn get(&self, at: u64) -> u8 {
        world::with(|world| {
            let value = world.medium.stored((at / CELL) as u32);
            world.observe(value);
            value
        })
    }
}

impl Media for SimMedia {
    fn len(&self) -> u64 {
        u64::from(CELLS) * CELL
    }

    fn granularity(&self) -> u64 {
        4096
    }

    fn durability(&self) -> Durability {
        Durability::Power
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        for (offset, byte) in (at..).zip(into) {
            *byte = self.get(offset / CELL * CELL);
        }
        Ok(())
    }

    fn write(&self, at: u64, from: &[u8], persist: Persist) -> Result<(), MediaError> {
        let end = at + from.len() as u64;
        if !at.is_multiple_of(CELL) || !end.is_multiple_of(CELL) {
            return Err(MediaError::OutOfRange { at, len: from.len() as u64, size: self.len() });
        }
        for (offset, piece) in (at..).step_by(CELL as usize).zip(from.chunks(CELL as usize)) {
            self.put(offset..offset + CELL, piece[0], persist);
        }
        Ok(())
    }

    fn zero(&self, range: Range<u64>, persist: Persist) -> Result<(), MediaError> {
        if range.is_empty() {
            return Ok(());
        }
        let step = is_shared(&cells(&range));
        let called = step.then(|| call(|| format!("zero device {range:x?}")));
        self.fails(range.start)?;
        let mut range = range;
        if world::with(|world| world.bug == SimBug::ZeroFirstPages) {
            range.end = range.end.min(range.start + 4 * CELL);
        }
        self.put(range, ZERO, persist);
        called.into_iter().for_each(Called::done);
        Ok(())
    }

    fn copy(&self, from: u64, to: u64, len: u64, persist: Persist) -> Result<(), MediaError> {
        let called = call(|| format!("copy device {from:x}+{len:x} to {to:x}"));
        self.fails(from)?;
        let source = cells(&(from..from + len));
        let runs = world::with(|world| {
            let runs: Vec<_> = world.medium.stored.within(source).collect();
            world.observe(&runs);
            runs
        });
        for (run, value) in runs {
            let start = to + (u64::from(run.start) * CELL - from);
            self.put(start..start + run.len() as u64 * CELL, value, persist);
        }
        called.done();
        Ok(())
    }

    fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        Ok(u64::from_ne_bytes([self.get(at / CELL * CELL); 8]))
    }

    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        let at = at / CELL * CELL;
        self.put(at..at + CELL, value as u8, Persist::No);
        Ok(())
    }

    fn flush(&self, range: Range<u64>) {
        let called = call(|| format!("flush device {range:x?}"));
        let mut cells = cells(&range);
        world::with(|world| {
            if world.bug == SimBug::FlushFirstPage {
                cells.end = cells.end.min(cells.start + 2);
            }
            if world.bug == SimBug::FlushSkipsLast && cells.len() > 1000 {
                cells.end -= 2;
            }
            let actor = world.running.unwrap_or(ACTORS);
            world.medium.flush(actor, cells);
        });
        called.done();
    }

    fn fence(&self) {
        world::with(|world| {
            if world.bug != SimBug::NoFence {
                let actor = world.running.unwrap_or(ACTORS);
                world.medium.fence(actor);
            }
        });
    }

    fn sync(&self, range: Range<u64>) -> Result<(), MediaError> {
        self.flush(range);
        self.fence();
        Ok(())
    }
}
