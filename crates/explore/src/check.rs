//! What must hold in every state, and at the end.

use limpid_dax::PageIndex;

use crate::history::{PAST, TRACKED, cell_at, tracked, value_name};
use crate::ops::{clause_for, is_allowed, wrong};
use crate::sim::{Meets, Owner, Pte};
use crate::world::{self, Slot, World};

/// Checks I1 to I3, I6 to I8 and what every access would see at this moment (C1 to C5).
pub(crate) fn state(world: &mut World) {
    if world.violation.is_some() {
        return;
    }
    index(world);
    page_tables(world);
    contract(world);
}

fn covering(world: &World, page: u64) -> Option<&Slot> {
    world.entries.iter().find(|slot| slot.pages.contains(PageIndex(page)))
}

/// True while an operation that changes the block map has not returned: it holds lock 1 or 2.
fn changing(world: &World) -> bool {
    world.locks[0].writer != 0 || world.locks[1].writer != 0
}

/// I2: unlocked entries agree with the block map. I7: marks only on storage. I8: no overlap.
fn index(world: &mut World) {
    let mut wrong = None;
    let mut end = 0;
    for slot in &world.entries {
        let pages = slot.pages;
        if pages.start.0 < end || pages.start.0 % pages.len() != 0 {
            wrong = Some(("I8", format!("{pages:?} overlap or are not aligned")));
        }
        end = pages.end.0;
        let marked = slot.marks.dirty || slot.marks.towrite || slot.marks.whole;
        if marked && !slot.entry.is_storage() {
            wrong = Some(("I7", format!("{pages:?} are marked without storage")));
        }
        if slot.entry.is_empty() && !slot.entry.is_locked() {
            wrong = Some(("I5", format!("{pages:?} are left as a place-holder")));
        }
        if !slot.entry.is_locked() && !changing(world) && !agrees(world, slot) {
            let seen = format!("{pages:?}: {:?} is not what the block map says", slot.entry);
            wrong = Some(("I2", seen));
        }
    }
    if let Some((clause, seen)) = wrong {
        world.fail(clause, seen);
    }
}

fn agrees(world: &World, slot: &Slot) -> bool {
    let extents = world.extents.iter().filter(|extent| {
        !extent.pages.intersect(slot.pages).is_empty()
            && extent.backing == limpid_dax::Backing::Mapped
    });
    match slot.entry.device() {
        None => extents.count() == 0,
        Some(device) => {
            let mut covered = 0;
            for extent in extents {
                let part = extent.pages.intersect(slot.pages);
                let at = device + (part.start.offset() - slot.pages.start.offset());
                if extent.device_at(part.start.offset()) != at {
                    return false;
                }
                covered += part.len();
            }
            covered == slot.pages.len()
        }
    }
}

/// I1: what a page table shows has an entry. I3: what may be stored to is marked. I6: no page
/// table refers to a free block.
fn page_tables(world: &mut World) {
    let mut found = None;
    for (map, tables) in world.tables.iter().enumerate() {
        for (run, pte) in tables.ptes.iter() {
            let (shift, writable) = match pte {
                Pte::None | Pte::Poison => continue,
                Pte::Zero => (None, false),
                Pte::Storage { shift, writable } => (Some(shift), writable),
            };
            if let Some(wrong) = shown(world, map, run, shift, writable) {
                found = Some(wrong);
            }
        }
    }
    if let Some((clause, seen)) = found {
        world.fail(clause, seen);
    }
}

type Wrong = (&'static str, String);

fn shown(
    world: &World,
    map: usize,
    run: core::ops::Range<u32>,
    shift: Option<i32>,
    writable: bool,
) -> Option<Wrong> {
    let map = (b'p' + map as u8) as char;
    if let Some(shift) = shift {
        let device = (run.start as i32 + shift) as u32..(run.end as i32 + shift) as u32;
        if world.own.any(device, Owner::Free) {
            return Some(("I6", format!("map {map} shows free blocks at pages {run:?}")));
        }
    }
    let mut page = u64::from(run.start);
    while page < u64::from(run.end) {
        let Some(slot) = covering(world, page) else {
            if changing(world) {
                return None;
            }
            return Some(("I1", format!("map {map} shows page {page}, which has no entry")));
        };
        let start = slot.pages.start;
        let expected = slot
            .entry
            .device()
            .map(|device| (device >> limpid_dax::PAGE_SHIFT) as i64 - start.0 as i64);
        if expected != shift.map(i64::from) && !changing(world) {
            let seen = format!("map {map} shows page {page} other than {:?}", slot.entry);
            return Some(("I1", seen));
        }
        if writable && !slot.marks.dirty && !slot.entry.is_locked() {
            return Some(("I3", format!("map {map}: page {page} is writable, but not DIRTY")));
        }
        page = slot.pages.end.0;
    }
    None
}

/// What a load through any map, or a read, would see at this moment.
fn contract(world: &mut World) {
    let mut found = None;
    for at in 0..TRACKED {
        let cell = cell_at(at);
        let allowed = world.history.allowed(at);
        for (map, tables) in world.tables.iter().enumerate() {
            if tables.private_copy(cell / 2).is_some() {
                continue;
            }
            let Meets::Value(value) = tables.load(cell, &world.medium) else { continue };
            if !is_allowed(allowed, cell, value, world.size) {
                let map = (b'p' + map as u8) as char;
                let seen = format!("through map {map}: {}", wrong(cell, value, allowed));
                found = Some((clause_for(value, allowed), seen));
            }
        }
        let value = world.stored_value(cell);
        if world.locks[0].writer == 0 && !is_allowed(allowed, cell, value, world.size) {
            let seen = format!("read: {}", wrong(cell, value, allowed));
            found = Some((clause_for(value, allowed), seen));
        }
    }
    for &(map, cell, value) in &world.private_stores {
        let copy = world.tables[map].private_copy(cell / 2);
        let latest = world.private_stores.iter().rev();
        let mut latest = latest.filter(|store| store.0 == map && store.1 == cell);
        let value = latest.next().map_or(value, |store| store.2);
        let kept = copy.map(|copy| copy[(cell % 2) as usize]);
        if kept != Some(value) {
            let seen = format!("the private store of {} to cell {cell} is lost", value_name(value));
            found = Some(("C4", seen));
        }
    }
    if let Some((clause, seen)) = found {
        world.fail(clause, seen);
    }
}

/// When all have finished: no lock is held, nobody waits.
pub(crate) fn quiet() {
    world::with(|world| {
        let held = world.locks.iter().any(|lock| lock.readers | lock.writer | lock.queued != 0);
        if held {
            world.fail("I5", "a lock is held at the end".into());
        }
        if world.actors[..world.count].iter().any(|actor| actor.parker.is_some()) {
            world.fail("I5", "somebody waits at the end".into());
        }
    });
}

/// When all have finished: a load agrees with the file.
pub(crate) fn last_load(map: usize, cell: u32, value: u8) {
    let Some(at) = tracked(cell) else { return };
    world::with(|world| {
        if world.tables[map].private_copy(cell / 2).is_some() {
            return;
        }
        let now = world.stored_value(cell);
        let allowed = world.history.allowed(at);
        let fits = value == now || (now == PAST && is_allowed(allowed, cell, value, world.size));
        if !fits || !is_allowed(allowed, cell, value, world.size) {
            let map = (b'p' + map as u8) as char;
            let seen = format!("at the end, through map {map}: {}", wrong(cell, value, allowed));
            world.fail(clause_for(value, allowed), seen);
        }
    });
}

/// After a last writeback: everything is on the medium.
pub(crate) fn all_durable() {
    world::with(|world| {
        for cell in (0..TRACKED).map(cell_at) {
            let (stored, durable) = (world.stored_value(cell), world.durable_value(cell));
            if stored != durable {
                let seen = format!(
                    "after the last writeback cell {cell} is {} on the medium, and {} in the file",
                    value_name(durable),
                    value_name(stored)
                );
                world.fail("I4", seen);
            }
        }
    });
}
