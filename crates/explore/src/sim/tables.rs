//! Page tables of one map: what each page shows, private copies, and which pages were stored to.

use core::ops::Range;
use std::hash::{Hash, Hasher};

use limpid_dax::{Mmu, MmuError, PAGE_SHIFT, PageIndex, PageRange, Protection, Target};

use crate::history::{PAST, ZERO, local};
use crate::panics::call;
use crate::runs::Runs;
use crate::scenario::Call;
use crate::world::{self, SimBug};

const PAGES: u32 = 4096;

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
    Poison,
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
    pub fn load(&self, cell: u32, medium: &super::Medium) -> Meets {
        let cell = local(cell);
        let page = cell / 2;
        if let Some(copy) = self.private_copy(page) {
            return Meets::Value(copy[(cell % 2) as usize]);
        }
        match self.ptes.get(page) {
            Pte::None => Meets::Fault,
            Pte::Zero | Pte::LoadsOnly => Meets::Value(ZERO),
            Pte::Poison => Meets::Value(PAST),
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
                Err(Meets::Value(PAST))
            }
            Pte::Poison => Err(Meets::Value(PAST)),
            _ => Err(Meets::Fault),
        }
    }

    pub fn install(&mut self, pages: Range<u32>, target: Target, medium: &super::Medium) {
        let shift = |device: u64| (device >> PAGE_SHIFT) as i32 - pages.start as i32;
        let pte = match target {
            Target::Zero => Pte::Zero,
            Target::LoadsOnly => Pte::LoadsOnly,
            Target::Poison => Pte::Poison,
            Target::Storage { device, writable } => Pte::Storage { shift: shift(device), writable },
            Target::Private { device } => {
                if self.private_copy(pages.start).is_none() {
                    let copy = device.map_or([ZERO; 2], |device| {
                        let cell = (device >> PAGE_SHIFT) as u32 * 2;
                        [medium.stored(cell), medium.stored(cell + 1)]
                    });
                    self.private.push((pages.start, copy));
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
            world.tables[self.map].install(range(pages), target, &world.medium);
        });
        called.done();
        Ok(())
    }

    fn unmap(&self, pages: PageRange) {
        let called = call(|| format!("unmap {pages:?} of map {}", name(self.map)));
        world::with(|world| {
            let bug = world.bug;
            world.tables[self.map].unmap(range(pages), bug);
        });
        called.done();
    }

    fn discard(&self, pages: PageRange) {
        self.unmap(pages);
        world::with(|world| {
            let map = self.map;
            let gone = range(pages);
            world.tables[map].drop_copies(&gone);
            world.private_stores.retain(|one| one.0 != map || !gone.contains(&(local(one.1) / 2)));
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
