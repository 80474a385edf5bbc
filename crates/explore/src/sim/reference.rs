//! The simulated page tables by themselves, as what real ones are held against
//! (tests/page_tables.rs). What the explorer proves rests on them.

use std::sync::{Mutex, MutexGuard};

use limpid_dax::{Mmu, MmuError, PAGE_SHIFT, PageIndex, PageRange, Protection, Target};

use super::tables::{MapSpec, Meets, Pte, Tables, range};
use super::{Medium, Tracking};
use crate::history::PAST;
use crate::world::SimBug;

/// What an access meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load of this value, or a store that goes through.
    Value(u8),
    /// SIGBUS.
    Bus,
    /// Nothing that can settle it: it waits for an install.
    Fault,
}

/// What a page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// Nothing: any access faults.
    Nothing,
    /// Zeroes.
    Zero,
    /// Zeroes, of which the next store is refused.
    LoadsOnly,
    /// The page of the medium at this offset in bytes.
    Storage(u64),
    /// SIGBUS.
    Poison,
    /// A private copy.
    Copy,
}

/// The page tables of one map over a medium of cells of half a page, without a schedule.
///
/// ```
/// use limpid_dax::{Mmu, PageRange, Target};
/// use limpid_explore::{Access, MapSpec, ReferenceTables, Tracking};
/// let spec = MapSpec {
///     file: 0,
///     start: 0,
///     end: 8,
///     shared: true,
///     writable: true,
///     stores_fault: false,
///     tracking: Tracking::Noted,
/// };
/// let tables = ReferenceTables::new(&spec);
/// assert_eq!(tables.load(0), Access::Fault);
/// tables.install(PageRange::new(0, 1), Target::Zero)?;
/// assert_eq!((tables.load(0), tables.store(0, 1)), (Access::Value(0), Access::Fault));
/// # Ok::<(), limpid_dax::MmuError>(())
/// ```
pub struct ReferenceTables {
    inner: Mutex<(Tables, Medium)>,
}

impl ReferenceTables {
    /// Tables that show nothing, over a medium of zeroes.
    pub fn new(spec: &MapSpec) -> ReferenceTables {
        let mut medium = Medium::new();
        medium.store(0..super::DEVICE_PAGES * 2, 0);
        ReferenceTables { inner: Mutex::new((Tables::new(spec), medium)) }
    }

    fn lock(&self) -> MutexGuard<'_, (Tables, Medium)> {
        self.inner.lock().expect("nothing panics with this lock held")
    }

    /// A load of a cell of the file.
    pub fn load(&self, cell: u32) -> Access {
        let inner = self.lock();
        Access::of(inner.0.load(cell, &inner.1))
    }

    /// A store to a cell of the file.
    pub fn store(&self, cell: u32, value: u8) -> Access {
        let mut inner = self.lock();
        match inner.0.store(cell, value) {
            Ok(device) => {
                if let Some(device) = device {
                    inner.1.store(device..device + 1, value);
                }
                Access::Value(value)
            }
            Err(meets) => Access::of(meets),
        }
    }

    /// A store to a cell of the medium by somebody else.
    pub fn write_medium(&self, cell: u32, value: u8) {
        self.lock().1.store(cell..cell + 1, value);
    }

    /// What a page of the file shows.
    pub fn shows(&self, page: u32) -> Shows {
        let tables = &self.lock().0;
        if tables.private_copy(page).is_some() {
            return Shows::Copy;
        }
        match tables.ptes.get(page) {
            Pte::None => Shows::Nothing,
            Pte::Zero => Shows::Zero,
            Pte::LoadsOnly => Shows::LoadsOnly,
            Pte::Poison { .. } => Shows::Poison,
            Pte::Storage { shift, .. } => {
                Shows::Storage(((i64::from(page) + i64::from(shift)) as u64) << PAGE_SHIFT)
            }
        }
    }
}

impl Access {
    fn of(meets: Meets) -> Access {
        match meets {
            Meets::Fault => Access::Fault,
            Meets::Value(PAST) | Meets::Refused => Access::Bus,
            Meets::Value(value) => Access::Value(value),
        }
    }
}

impl Mmu for ReferenceTables {
    fn can_map_huge(&self, _page: PageIndex) -> bool {
        true
    }

    fn storage_stores_fault(&self) -> bool {
        self.lock().0.spec.stores_fault
    }

    fn install(&self, pages: PageRange, target: Target) -> Result<(), MmuError> {
        let (tables, medium) = &mut *self.lock();
        tables.install(range(pages), target, false, (medium, SimBug::None));
        Ok(())
    }

    fn unmap(&self, pages: PageRange) {
        self.lock().0.unmap(range(pages), SimBug::None);
    }

    fn discard(&self, pages: PageRange) {
        let tables = &mut self.lock().0;
        tables.unmap(range(pages), SimBug::None);
        tables.drop_copies(&range(pages));
    }

    fn write_protect(&self, pages: PageRange, written: &mut dyn FnMut(PageRange)) -> Protection {
        let noted = self.lock().0.write_protect(range(pages), SimBug::None);
        noted.into_iter().for_each(written);
        match self.lock().0.spec.tracking {
            Tracking::Faults => Protection::Faults,
            Tracking::Noted => Protection::Noted,
            Tracking::Unnoticed => Protection::Unnoticed,
        }
    }
}
