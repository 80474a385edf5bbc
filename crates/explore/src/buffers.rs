//! The caller's memory, simulated: bytes of one value, and a map of the file itself.

use core::cell::OnceCell;
use core::ops::Range;

use limpid_dax::{Mapping, Sink, Source, Vma};
use limpid_pmem::{MediaError, Persist};

use crate::history::{Action, PAST, ZERO, tracked};
use crate::lab::Cfg;
use crate::ops::{clause_for, wrong};
use crate::panics::{Called, call};
use crate::sim::{CELL, Meets, SimMedia, Subject};
use crate::tables_access::{load, store};
use crate::world::{self, Pending, SimBug};

/// Bytes of one value.
pub(crate) struct Bytes {
    pub value: u8,
    pub len: u64,
}

/// Touching the caller's memory: with lock 1 at most (I9).
fn touch_user_memory() {
    world::with(|world| {
        let Some(actor) = world.running else { return };
        let bit = 1u8 << actor;
        let held = |lock: &world::LockState| (lock.readers | lock.writer) & bit != 0;
        if world.locks.iter().enumerate().any(|(id, lock)| id % 3 != 0 && held(lock)) {
            world.fail("I9", "user memory touched with lock 2 or i_mmap held".into());
        }
        let mut entries = world.files.iter().flat_map(|file| &file.entries);
        if entries.any(|slot| slot.owner == Some(actor)) {
            world.fail("I9", "user memory touched with an entry lock held".into());
        }
        if world.depth > 0 {
            world.fail("I9", "user memory touched under a mutex".into());
        }
    });
}

/// Visits the cells of a copy to or from `device`, one step each where somebody may interfere.
fn each_cell(part: Range<u64>, device: u64, what: &str, mut copy: impl FnMut(u64)) {
    for offset in (0..part.end - part.start).step_by(CELL as usize) {
        let cell = ((device + offset) / CELL) as u32;
        let step = offset == 0 || crate::sim::is_shared(&(cell..cell + 1));
        let called = step.then(|| call(|| format!("{what} device {:x}", device + offset)));
        touch_user_memory();
        copy(device + offset);
        called.into_iter().for_each(Called::done);
    }
}

impl Source<SimMedia> for Bytes {
    fn len(&self) -> u64 {
        self.len
    }

    fn copy_to(&self, part: Range<u64>, media: &SimMedia, device: u64) -> Result<(), MediaError> {
        if world::with(|world| world.running.is_none()) {
            let len = part.end - part.start;
            media.put(device..device + len, self.value, Persist::Yes);
            return Ok(());
        }
        let unflushed = world::with(|world| world.bug == SimBug::WriteUnflushed);
        let persist = if unflushed { Persist::No } else { Persist::Yes };
        each_cell(part, device, "copy to", |at| media.put(at..at + CELL, self.value, persist));
        Ok(())
    }
}

/// Bytes to append.
pub(crate) struct AtEnd {
    pub value: u8,
    pub cells: u32,
    /// The first cell they go to.
    pub began: OnceCell<u32>,
}

impl Source<SimMedia> for AtEnd {
    fn len(&self) -> u64 {
        u64::from(self.cells) * CELL
    }

    fn copy_to(&self, part: Range<u64>, media: &SimMedia, device: u64) -> Result<(), MediaError> {
        // The first copy: lock 1 is held, so the file ends where it goes to.
        self.began.get_or_init(|| {
            world::with(|world| {
                let began = (world.files[0].size / CELL) as u32;
                let cells = (began..began + self.cells).filter_map(tracked);
                for (actor, cell) in cells.filter_map(|cell| Some((world.running?, cell))) {
                    world.history.set_action(actor, cell, Action::Write(self.value));
                }
                began
            })
        });
        Bytes { value: self.value, len: self.len() }.copy_to(part, media, device)
    }
}

/// Bytes that were read.
pub(crate) struct Seen {
    pub values: Vec<u8>,
}

impl Sink<SimMedia> for Seen {
    fn len(&self) -> u64 {
        self.values.len() as u64 * CELL
    }

    fn copy_from(
        &mut self,
        part: Range<u64>,
        media: &SimMedia,
        device: u64,
    ) -> Result<(), MediaError> {
        let first = part.start / CELL;
        each_cell(part, device, "copy from", |at| {
            self.values[(first + (at - device) / CELL) as usize] = media.get(at);
        });
        Ok(())
    }

    fn zero(&mut self, part: Range<u64>) -> Result<(), MediaError> {
        touch_user_memory();
        self.values[(part.start / CELL) as usize..(part.end / CELL) as usize].fill(ZERO);
        Ok(())
    }
}

/// One cell of a map of the file, as the buffer of read or write.
pub(crate) struct InMap<'a, B: Subject> {
    pub mapping: &'a Mapping<Cfg<B>>,
    pub vma: &'a Vma,
    pub map: usize,
    /// The cell in the map.
    pub cell: u32,
    /// The cell of the file that it is copied to or from.
    pub file_cell: u32,
}

impl<B: Subject> InMap<'_, B> {
    /// The running operation is about to write what it has just loaded.
    fn writes(&self, value: u8) {
        world::with(|world| {
            if let (Some(actor), Some(at)) = (world.running, tracked(self.file_cell)) {
                world.history.set_action(actor, at, Action::Write(value));
            }
        });
    }

    /// The running operation has just read this from the file.
    fn read(&self, value: u8) {
        world::with(|world| {
            let (Some(actor), Some(at)) = (world.running, tracked(self.file_cell)) else { return };
            if !world.history.may_have_seen(actor, at, value) {
                let allowed = world.history.seen(actor, at);
                world.fail(clause_for(value, allowed), wrong(self.file_cell, value, allowed));
            }
        });
    }
}

impl<B: Subject> Source<SimMedia> for InMap<'_, B> {
    fn len(&self) -> u64 {
        CELL
    }

    fn copy_to(&self, _: Range<u64>, media: &SimMedia, device: u64) -> Result<(), MediaError> {
        touch_user_memory();
        let value = match load(self.mapping, self.vma, self.map, self.cell) {
            Meets::Value(value) if value != PAST => Some(value),
            _ => None,
        };
        let Some(value) = value else {
            return Err(MediaError::Buffer);
        };
        touch_user_memory();
        self.writes(value);
        media.put(device..device + CELL, value, Persist::Yes);
        Ok(())
    }
}

impl<B: Subject> Sink<SimMedia> for InMap<'_, B> {
    fn len(&self) -> u64 {
        CELL
    }

    fn copy_from(&mut self, _: Range<u64>, media: &SimMedia, at: u64) -> Result<(), MediaError> {
        touch_user_memory();
        world::step(Pending::Step, || format!("copy from device {at:x}"));
        let value = media.get(at);
        self.read(value);
        match store(self.mapping, self.vma, self.map, self.cell, value) {
            true => Ok(()),
            false => Err(MediaError::Buffer),
        }
    }

    fn zero(&mut self, _: Range<u64>) -> Result<(), MediaError> {
        touch_user_memory();
        self.read(ZERO);
        match store(self.mapping, self.vma, self.map, self.cell, ZERO) {
            true => Ok(()),
            false => Err(MediaError::Buffer),
        }
    }
}
