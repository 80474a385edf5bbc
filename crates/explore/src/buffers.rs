//! The caller's memory, simulated: bytes of one value, and a map of the file itself.

use core::ops::Range;

use limpid_dax::{Mapping, Sink, Source, Vma};
use limpid_pmem::{MediaError, Persist};

use crate::history::{PAST, ZERO};
use crate::lab::Cfg;
use crate::sim::{CELL, SimMedia, Subject};
use crate::tables_access::{load, store};
use crate::world::{self, Pending};

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
        if world.locks.iter().skip(1).any(held) {
            world.fail("I9", "user memory touched with lock 2 or i_mmap held".into());
        }
        if world.entries.iter().any(|slot| slot.owner == Some(actor)) {
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
        if offset == 0 || crate::sim::is_shared(&(cell..cell + 1)) {
            world::step(Pending::Step, || format!("{what} device {:x}", device + offset));
        }
        touch_user_memory();
        copy(device + offset);
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
        each_cell(part, device, "copy to", |at| media.put(at..at + CELL, self.value, Persist::Yes));
        Ok(())
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
    pub cell: u32,
}

impl<B: Subject> Source<SimMedia> for InMap<'_, B> {
    fn len(&self) -> u64 {
        CELL
    }

    fn copy_to(&self, _: Range<u64>, media: &SimMedia, device: u64) -> Result<(), MediaError> {
        touch_user_memory();
        let value = load(self.mapping, self.vma, self.map, self.cell);
        if value == PAST {
            return Err(MediaError::Buffer);
        }
        touch_user_memory();
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
        match store(self.mapping, self.vma, self.map, self.cell, media.get(at)) {
            true => Ok(()),
            false => Err(MediaError::Buffer),
        }
    }

    fn zero(&mut self, _: Range<u64>) -> Result<(), MediaError> {
        touch_user_memory();
        match store(self.mapping, self.vma, self.map, self.cell, ZERO) {
            true => Ok(()),
            false => Err(MediaError::Buffer),
        }
    }
}
