//! What must hold in every state, and at the end.

use limpid_dax::{Backing, Extent, PAGE_SHIFT, PageIndex, PageRange};

use crate::history::{PAST, cell_at, file_of, local, tracked, value_name};
use crate::ops::{clause_for, wrong};
use crate::sim::{Meets, Owner, Pte};
use crate::world::{self, FileState, Slot, World};

/// Checks I1 to I3, I6 to I8 and what every access would see at this moment (C1 to C5).
pub(crate) fn state(world: &mut World) {
    if world.violation.is_some() {
        return;
    }
    for file in 0..world.file_count {
        index(world, file);
        blocks(world, file);
    }
    page_tables(world);
    contract(world);
}

fn covering(file: &FileState, page: u64) -> Option<&Slot> {
    file.entries.iter().find(|slot| slot.pages.contains(PageIndex(page)))
}

/// I2: unlocked entries agree with the block map, but for those that show zeroes where a write that
/// has not returned has published blocks. I3: those of shared blocks are not DIRTY. I7: marks only
/// on storage. I8: no overlap.
fn index(world: &mut World, file: usize) {
    let written = world.written(file);
    let file = &world.files[file];
    let mut wrong = None;
    let mut end = 0;
    for slot in &file.entries {
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
        let written = written.filter(|_| slot.entry.is_zero());
        let written = written.is_some_and(|written| !written.intersect(pages).is_empty());
        if !slot.entry.is_locked() && !written && !agrees(file, slot) {
            let seen = format!("{pages:?}: {:?} is not what the block map says", slot.entry);
            wrong = Some(("I2", seen));
        }
        if slot.marks.dirty && shares(file, pages) {
            wrong = Some(("I3", format!("{pages:?} are DIRTY, and their blocks are shared")));
        }
    }
    if let Some((clause, seen)) = wrong {
        world.fail(clause, seen);
    }
}

/// C3: no block with data of a file holds what does not belong to it, in any of its bytes.
fn blocks(world: &mut World, file: usize) {
    let with_data = |extent: &&Extent| matches!(extent.backing, Backing::Mapped | Backing::Shared);
    let mut extents = world.files[file].extents.iter().filter(with_data);
    let foreign = extents.find(|extent| {
        let first = (extent.device >> PAGE_SHIFT) as u32 * 2;
        world.medium.has_foreign(first..first + extent.pages.len() as u32 * 2)
    });
    if let Some(extent) = foreign {
        let seen = format!("a block of {:?} holds foreign bytes", extent.pages);
        world.fail("C3", seen);
    }
}

/// True if a block of `pages` is shared.
fn shares(file: &FileState, pages: PageRange) -> bool {
    let mut shared = file.extents.iter().filter(|extent| extent.backing == Backing::Shared);
    shared.any(|extent| !extent.pages.intersect(pages).is_empty())
}

fn agrees(file: &FileState, slot: &Slot) -> bool {
    let extents = file.extents.iter().filter(|extent| {
        !extent.pages.intersect(slot.pages).is_empty()
            && matches!(extent.backing, Backing::Mapped | Backing::Shared)
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

/// I1: what a page table shows has an entry. C5: no private copy lies past the end. I3: what may be
/// stored to is marked. I6: no page table refers to a free block.
fn page_tables(world: &mut World) {
    let mut found = None;
    for (map, tables) in world.tables.iter().enumerate().filter(|(_, tables)| tables.used) {
        let file = &world.files[tables.spec.file];
        let end = file.size.div_ceil(limpid_dax::PAGE_SIZE);
        if !world.holds_lock2(tables.spec.file) && tables.has_copy_from(end) {
            let map = (b'p' + map as u8) as char;
            found = Some(("C5", format!("map {map} has a private copy past the end")));
        }
        for (run, pte) in tables.ptes.iter() {
            let (shift, writable) = match pte {
                Pte::None | Pte::Poison { .. } => continue,
                Pte::Zero | Pte::LoadsOnly => (None, false),
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
    let number = world.tables[map].spec.file;
    let file = &world.files[number];
    let map = (b'p' + map as u8) as char;
    if let Some(shift) = shift {
        let device = (run.start as i32 + shift) as u32..(run.end as i32 + shift) as u32;
        if world.own.any(device, Owner::Free) {
            return Some(("I6", format!("map {map} shows free blocks at pages {run:?}")));
        }
    }
    let mut page = u64::from(run.start);
    while page < u64::from(run.end) {
        let Some(slot) = covering(file, page) else {
            return Some(("I1", format!("map {map} shows page {page}, which has no entry")));
        };
        let start = slot.pages.start;
        let expected =
            slot.entry.device().map(|device| (device >> PAGE_SHIFT) as i64 - start.0 as i64);
        if expected != shift.map(i64::from) {
            let seen = format!("map {map} shows page {page} other than {:?}", slot.entry);
            return Some(("I1", seen));
        }
        if writable && !slot.marks.dirty && !slot.entry.is_locked() {
            return Some(("I3", format!("map {map}: page {page} is writable, but not DIRTY")));
        }
        let part = PageRange::new(page, slot.pages.end.0.min(run.end.into()));
        if writable && shares(file, part) {
            let seen = format!("map {map}: {part:?} are writable, and their blocks are shared");
            return Some(("I3", seen));
        }
        page = slot.pages.end.0;
    }
    None
}

/// Stands for read(2) among the letters of the maps.
const READ: char = ' ';

fn by(who: char) -> String {
    if who == READ { "read".into() } else { format!("through map {who}") }
}

/// What loads through all maps, and a read, would see at this moment: one content of the plain
/// array explains it.
fn contract(world: &mut World) {
    let mut found = None;
    for at in world.tracked() {
        let cell = cell_at(at);
        let file = file_of(cell);
        let maps = world.tables.iter().enumerate().filter(|(_, tables)| {
            tables.used
                && tables.spec.file == file
                && tables.private_copy(local(cell) / 2).is_none()
        });
        let loads = maps.filter_map(|(map, tables)| match tables.load(cell, &world.medium) {
            Meets::Value(value) => Some(((b'p' + map as u8) as char, value)),
            Meets::Refused | Meets::Fault => None,
        });
        let read = (world.locks[3 * file].writer == 0).then(|| (READ, world.stored_value(cell)));
        let mut seen = [0; 8];
        let mut count = 0;
        for (who, value) in loads.chain(read) {
            if !world.history.explains_all(at, &[value]) {
                let allowed = world.history.allowed(at);
                let what = wrong(cell, value, allowed);
                found = Some((clause_for(value, allowed), format!("{}: {what}", by(who))));
            }
            if !seen[..count].contains(&value) {
                seen[count] = value;
                count += 1;
            }
        }
        if found.is_none() && count > 1 && !world.history.explains_all(at, &seen[..count]) {
            let names: Vec<_> = seen[..count].iter().map(|value| value_name(*value)).collect();
            let seen = format!("byte of cell {cell} is {} at once", names.join(" and "));
            found = Some(("C1", seen));
        }
    }
    for copy in &world.copies {
        let kept = world.tables[copy.map].private_copy(copy.page);
        if kept != Some(copy.halves) {
            let [first, second] = copy.halves.map(value_name);
            let map = (b'p' + copy.map as u8) as char;
            let page = copy.page;
            let seen = format!("map {map}: the copy of page {page} is not {first} {second}");
            found = Some(("C4", seen));
        }
    }
    if let Some((clause, seen)) = found {
        world.fail(clause, seen);
    }
}

/// When all have finished: no lock is held, nobody waits, no block is lost.
pub(crate) fn quiet() {
    world::with(|world| {
        if let Some(lost) = world.own.of(Owner::Reserved).first() {
            world
                .fail("space", format!("blocks {lost:?} are neither free nor a file's at the end"));
        }
        let held = world.locks.iter().any(|lock| lock.readers | lock.writer | lock.queued != 0);
        if held {
            world.fail("I5", "a lock is held at the end".into());
        }
        if world.actors[..world.count].iter().any(|actor| actor.parker.is_some()) {
            world.fail("I5", "somebody waits at the end".into());
        }
    });
}

/// When all have finished: every block belongs to a file or is free, and the block map has as many
/// free ones (`free`) as that leaves.
pub(crate) fn account(free: u64) {
    world::with(|world| {
        let left = world.own.count(Owner::Free);
        if free != left {
            world.fail("space", format!("{free} blocks are free, and {left} are no file's"));
        }
    });
}

/// When all have finished: a load agrees with the file.
pub(crate) fn last_load(map: usize, cell: u32, value: u8) {
    let Some(at) = tracked(cell) else { return };
    world::with(|world| {
        if world.tables[map].private_copy(local(cell) / 2).is_some() {
            return;
        }
        let now = world.stored_value(cell);
        if value != now && !(now == PAST && world.history.explains_all(at, &[value])) {
            let map = (b'p' + map as u8) as char;
            let allowed = world.history.allowed(at);
            let seen = format!("at the end, through map {map}: {}", wrong(cell, value, allowed));
            world.fail(clause_for(value, allowed), seen);
        }
    });
}

/// After a last writeback: everything is on the medium.
pub(crate) fn all_durable() {
    world::with(|world| {
        for cell in world.tracked().map(cell_at) {
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
