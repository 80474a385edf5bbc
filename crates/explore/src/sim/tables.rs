//! Page tables of one map: what each page shows, private copies, and which pages were stored to.

use core::ops::Range;
use std::hash::{Hash, Hasher};

use limpid_dax::{Mmu, MmuError, PAGE_SHIFT, PageIndex, PageRange, Protection, Target};

use super::Medium;
use crate::history::{FILE_CELLS, PAST, ZERO, local};
use crate::panics::call;
use crate::runs::Runs;
use crate::scenario::Call;
use crate::world::{self, SimBug, World};

const PAGES: u32 = 4096;
const UNIT_BYTES: u64 = 2 << 20;

/// How a map's page tables track stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tracking {
    /// Write-protected pages fault.
    Faults,
    /// Stores are noted, without a fault.
    Noted,
    /// Stores go by unnoticed.
    Unnoticed,
}

/// A map of an explored file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MapSpec {
    /// The file: 0, or 1 where there are two.
    pub file: usize,
    /// First page of the file.
    pub start: u32,
    /// Page after the last.
    pub end: u32,
    /// Shared, or private.
    pub shared: bool,
    /// May be stored to.
    pub writable: bool,
    /// Whether storage may be read-only in a writable map (`Mmu::storage_stores_fault`).
    pub stores_fault: bool,
    /// What write-protecting does.
    pub tracking: Tracking,
}

/// What a page shows. `shift` is device page less file page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pte {
    None,
    Zero,
    /// Zeroes, of which the next store is refused; the one after it faults again.
    LoadsOnly,
    Storage {
        shift: i32,
        writable: bool,
    },
    /// SIGBUS: past the end of the file, or since a fault was refused what it needs.
    Poison {
        refused: bool,
    },
}

/// The page tables of one map.
pub(crate) struct Tables {
    pub spec: MapSpec,
    /// False for a map that nothing uses: it shows nothing, ever.
    pub used: bool,
    pub ptes: Runs<Pte>,
    stored: Runs<bool>,
    /// (page, its two cells) of private copies.
    private: Vec<(u32, [u8; 2])>,
}

/// What an access through a map meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Meets {
    Value(u8),
    /// SIGBUS for want of what a failing call refused.
    Refused,
    Fault,
}

impl Tables {
    pub fn new(spec: &MapSpec) -> Tables {
        Tables {
            spec: *spec,
            used: true,
            ptes: Runs::new(PAGES, Pte::None),
            stored: Runs::new(PAGES, false),
            private: Vec::new(),
        }
    }

    pub fn reset(&mut self, spec: &MapSpec) {
        self.spec = *spec;
        self.ptes.reset(Pte::None);
        self.stored.reset(false);
        self.private.clear();
    }

    /// The private copy of a page, if there is one.
    pub fn private_copy(&self, page: u32) -> Option<[u8; 2]> {
        self.private.iter().find(|copy| copy.0 == page).map(|copy| copy.1)
    }

    /// True if there is a private copy of a page from `end` on.
    pub fn has_copy_from(&self, end: u64) -> bool {
        self.private.iter().any(|copy| u64::from(copy.0) >= end)
    }

    /// True if a page of this map shows a block of `device` (pages).
    pub fn shows_device(&self, device: &Range<u32>) -> bool {
        self.ptes.iter().any(|(pages, pte)| match pte {
            Pte::Storage { shift, .. } => {
                let first = (pages.start as i32 + shift) as u32;
                first < device.end && device.start < first + pages.len() as u32
            }
            _ => false,
        })
    }

    /// What a load of a cell of the file meets now.
    pub fn load(&self, cell: u32, medium: &Medium) -> Meets {
        let cell = local(cell);
        let page = cell / 2;
        if let Some(copy) = self.private_copy(page) {
            return Meets::Value(copy[(cell % 2) as usize]);
        }
        match self.ptes.get(page) {
            Pte::None => Meets::Fault,
            Pte::Zero | Pte::LoadsOnly => Meets::Value(ZERO),
            Pte::Poison { refused: false } => Meets::Value(PAST),
            Pte::Poison { refused: true } => Meets::Refused,
            Pte::Storage { shift, .. } => Meets::Value(medium.stored(device_cell(cell, shift))),
        }
    }

    /// The device cell that a store of a cell of the file goes to now; `Err` is what it meets
    /// instead.
    pub fn store(&mut self, cell: u32, value: u8) -> Result<Option<u32>, Meets> {
        let cell = local(cell);
        let page = cell / 2;
        if let Some(copy) = self.private.iter_mut().find(|copy| copy.0 == page) {
            copy.1[(cell % 2) as usize] = value;
            return Ok(None);
        }
        match self.ptes.get(page) {
            Pte::Storage { shift, writable: true } => {
                self.stored.fill(page..page + 1, true);
                Ok(Some(device_cell(cell, shift)))
            }
            Pte::LoadsOnly => {
                self.ptes.fill(page..page + 1, Pte::Zero);
                Err(Meets::Refused)
            }
            Pte::Poison { refused: false } => Err(Meets::Value(PAST)),
            Pte::Poison { refused: true } => Err(Meets::Refused),
            _ => Err(Meets::Fault),
        }
    }

    pub fn install(
        &mut self,
        pages: Range<u32>,
        target: Target,
        refused: bool,
        world: (&Medium, SimBug),
    ) {
        let (medium, bug) = world;
        let shift = |device: u64| (device >> PAGE_SHIFT) as i32 - pages.start as i32;
        let pte = match target {
            Target::Zero => Pte::Zero,
            Target::LoadsOnly => Pte::LoadsOnly,
            Target::Poison => Pte::Poison { refused },
            Target::Storage { device, writable } => Pte::Storage { shift: shift(device), writable },
            Target::Private { device } => {
                if self.private_copy(pages.start).is_none() {
                    self.private.push((pages.start, copy_of(device, medium, bug)));
                }
                return;
            }
        };
        self.ptes.fill(pages, pte);
    }

    pub fn unmap(&mut self, mut pages: Range<u32>, bug: SimBug) {
        if bug == SimBug::UnmapEndInclusive && pages.len() > 1 {
            pages.start = pages.end - 1;
        }
        if bug == SimBug::UnmapDropsPrivate {
            self.drop_copies(&pages);
        }
        if bug == SimBug::UnmapForgetsStores {
            self.stored.fill(pages.clone(), false);
        }
        self.ptes.fill(pages, Pte::None);
    }

    pub fn drop_copies(&mut self, pages: &Range<u32>) {
        self.private.retain(|copy| !pages.contains(&copy.0));
    }

    pub fn write_protect(&mut self, pages: Range<u32>, bug: SimBug) -> Vec<PageRange> {
        let noted = self.stored.within(pages.clone()).filter(|run| run.1);
        let noted = noted.map(|(run, _)| PageRange::new(run.start.into(), run.end.into()));
        let noted = noted.collect();
        self.stored.fill(pages.clone(), false);
        if self.spec.tracking == Tracking::Faults {
            let large = bug == SimBug::ProtectSkipsLarge && pages.len() > 1;
            let small =
                bug == SimBug::ProtectSkipsSmallMaps && self.spec.end - self.spec.start < 512;
            if !large && !small {
                let shown: Vec<_> = self.ptes.within(pages).collect();
                for (run, pte) in shown {
                    if let Pte::Storage { shift, .. } = pte {
                        self.ptes.fill(run, Pte::Storage { shift, writable: false });
                    }
                }
            }
        }
        noted
    }
}

fn device_cell(cell: u32, shift: i32) -> u32 {
    (cell as i32 + 2 * shift) as u32
}

impl Hash for Tables {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ptes.hash(state);
        self.stored.hash(state);
        if !self.private.is_empty() {
            self.private.hash(state);
        }
    }
}

/// What a private copy must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Copy {
    pub map: usize,
    pub page: u32,
    /// Both cells.
    pub halves: [u8; 2],
}

/// Implements [`Mmu`] over the world of this thread: the page tables of map number `map`.
#[derive(Debug)]
pub struct SimMmu {
    pub(crate) map: usize,
}

pub(super) fn range(pages: PageRange) -> Range<u32> {
    pages.start.0 as u32..pages.end.0.min(u64::from(PAGES)) as u32
}

fn name(map: usize) -> char {
    (b'p' + map as u8) as char
}

/// True if `target` stands for a refusal: the call that failed was made for the running operation,
/// and for no other. SIGBUS past the end needs no failure.
fn is_refused(world: &mut World, map: usize, pages: PageRange, target: Target) -> bool {
    let size = world.files[world.tables[map].spec.file].size;
    let hit = world.was_hit();
    if target == Target::LoadsOnly && !hit {
        world.fail("C4", format!("a store to {pages:?} is refused, and nothing had failed"));
    }
    let refused = hit && pages.start.offset() < size;
    let actor = world.running.map(|actor| &world.actors[actor]);
    let one_store = actor.is_some_and(|actor| actor.storing && actor.hits == 1);
    if target == Target::Poison && refused && one_store && world.tables[map].spec.stores_fault {
        world.fail("C4", format!("loads of {pages:?} are refused since a store was"));
    }
    refused
}

/// A private copy is taken of what the owned entry shows (C3), and what it holds is what a load
/// may see now, in both halves. From now on only stores through this map change it (C4).
fn take_copy(world: &mut World, map: usize, pages: PageRange, target: Target) {
    let Target::Private { device } = target else { return };
    let (page, file) = (pages.start.0 as u32, world.tables[map].spec.file);
    if world.tables[map].private_copy(page).is_some() {
        return;
    }
    let slot = world.files[file].entries.iter().find(|slot| slot.pages.contains(pages.start));
    let shown = slot.and_then(|slot| {
        slot.entry.device().map(|first| first + pages.start.offset() - slot.pages.start.offset())
    });
    if world.running.is_some() && shown != device {
        let seen = format!("the copy of {pages:?} is of {device:x?}, the entry shows {shown:x?}");
        world.fail("C3", seen);
    }
    let halves = copy_of(device, &world.medium, world.bug);
    for (half, value) in halves.into_iter().enumerate() {
        world.loaded(file as u32 * FILE_CELLS + 2 * page + half as u32, value);
    }
    world.copies.push(Copy { map, page, halves });
}

fn copy_of(device: Option<u64>, medium: &Medium, bug: SimBug) -> [u8; 2] {
    device.map_or([ZERO; 2], |device| {
        let cell = (device >> PAGE_SHIFT) as u32 * 2;
        let second = if bug == SimBug::CopyFirstHalf { ZERO } else { medium.stored(cell + 1) };
        [medium.stored(cell), second]
    })
}

impl Mmu for SimMmu {
    fn can_map_huge(&self, _page: PageIndex) -> bool {
        true
    }

    fn storage_stores_fault(&self) -> bool {
        world::with(|world| world.tables[self.map].spec.stores_fault)
    }

    fn install(&self, pages: PageRange, target: Target) -> Result<(), MmuError> {
        let called = call(|| format!("install {target:x?} at {pages:?} of map {}", name(self.map)));
        if world::with(|world| world.fails_now(Call::Install)) {
            world::note(|| "fails".into());
            return Err(MmuError::NoMemory);
        }
        world::with(|world| {
            let target = match target {
                Target::Storage { device, .. } if world.bug == SimBug::LoadInstallsWritable => {
                    Target::Storage { device, writable: world.tables[self.map].spec.writable }
                }
                target => target,
            };
            let target = match target {
                Target::LoadsOnly if world.bug == SimBug::RefusalPoisons => Target::Poison,
                Target::Storage { device, writable }
                    if world.bug == SimBug::InstallDropsOffset
                        && u64::from(world.tables[self.map].spec.start) == pages.start.0
                        && pages.len() > 1 =>
                {
                    Target::Storage { device: device & !(UNIT_BYTES - 1), writable }
                }
                Target::Private { device: Some(device) } if world.bug == SimBug::CopyOfUnit => {
                    Target::Private { device: Some(device & !(UNIT_BYTES - 1)) }
                }
                target => target,
            };
            let refused = is_refused(world, self.map, pages, target);
            take_copy(world, self.map, pages, target);
            world.tables[self.map].install(
                range(pages),
                target,
                refused,
                (&world.medium, world.bug),
            );
        });
        called.done();
        Ok(())
    }

    fn unmap(&self, pages: PageRange) {
        let called = call(|| format!("unmap {pages:?} of map {}", name(self.map)));
        world::with(|world| {
            let bug = world.bug;
            let tables = &mut world.tables[self.map];
            if bug == SimBug::UnmapPutOff && world.locks[3 * tables.spec.file + 1].writer != 0 {
                world.put_off.push((self.map, range(pages)));
                return;
            }
            tables.unmap(range(pages), bug);
        });
        called.done();
    }

    fn discard(&self, pages: PageRange) {
        self.unmap(pages);
        world::with(|world| {
            let map = self.map;
            let gone = range(pages);
            world.tables[map].drop_copies(&gone);
            world.copies.retain(|copy| copy.map != map || !gone.contains(&copy.page));
        });
    }

    fn write_protect(&self, pages: PageRange, written: &mut dyn FnMut(PageRange)) -> Protection {
        let called = call(|| format!("protect {pages:?} of map {}", name(self.map)));
        let (noted, tracking) = world::with(|world| {
            let bug = world.bug;
            let tables = &mut world.tables[self.map];
            (tables.write_protect(range(pages), bug), tables.spec.tracking)
        });
        world::with(|world| {
            for run in &noted {
                world.observe(*run);
            }
        });
        noted.into_iter().for_each(written);
        called.done();
        match tracking {
            Tracking::Faults => Protection::Faults,
            Tracking::Noted => Protection::Noted,
            Tracking::Unnoticed => Protection::Unnoticed,
        }
    }
}
