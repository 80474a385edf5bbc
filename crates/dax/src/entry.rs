//! The entry word: what the index knows of one page, or of one aligned unit of pages.
//!
//! ```text
//!  63                                   8 7     5  4      3     2..1     0
//! +--------------------------------------+-------+-------+------+-------+--------+
//! | device page number (0 unless storage)|   0   | EMPTY | ZERO | order | LOCKED |
//! +--------------------------------------+-------+-------+------+-------+--------+
//! ```
//!
//! - LOCKED: somebody owns the entry; all others wait (lock class 4).
//! - order: 0 one page, 1 a 2 MiB unit, 2 a 1 GiB unit.
//! - ZERO: the pages may be mapped to zeroes; there is no storage behind them.
//! - EMPTY: a place-holder that only carries the lock; it never outlives it.
//! - neither: the device page number names the storage of the first page, the rest follows it.
//!
//! The marks DIRTY, TOWRITE and WHOLE live beside the word ([`Marks`]), so that the word can be
//! replaced without touching them. Nothing outside this file looks at the bits.

use crate::units::{Order, PAGE_SHIFT};

const LOCKED: u64 = 1 << 0;
const ORDER_SHIFT: u32 = 1;
const ORDER_MASK: u64 = 0b11 << ORDER_SHIFT;
const ZERO: u64 = 1 << 3;
const EMPTY: u64 = 1 << 4;
const FRAME_SHIFT: u32 = 8;

/// The entry word. See the module's documentation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry(u64);

impl Entry {
    /// A locked place-holder.
    pub const fn locked_empty(order: Order) -> Entry {
        Entry(EMPTY | LOCKED | order_bits(order))
    }

    /// An unlocked entry for pages that read as zeroes.
    pub const fn zero(order: Order) -> Entry {
        Entry(ZERO | order_bits(order))
    }

    /// An unlocked entry for storage at `device` (bytes, page aligned).
    pub const fn storage(device: u64, order: Order) -> Entry {
        Entry(((device >> PAGE_SHIFT) << FRAME_SHIFT) | order_bits(order))
    }

    /// The same entry, owned.
    pub const fn locked(self) -> Entry {
        Entry(self.0 | LOCKED)
    }

    /// The same entry, not owned.
    pub const fn unlocked(self) -> Entry {
        Entry(self.0 & !LOCKED)
    }

    /// True if somebody owns the entry.
    pub const fn is_locked(self) -> bool {
        self.0 & LOCKED != 0
    }

    /// True for a place-holder.
    pub const fn is_empty(self) -> bool {
        self.0 & EMPTY != 0
    }

    /// True if the pages may be mapped to zeroes.
    pub const fn is_zero(self) -> bool {
        self.0 & ZERO != 0
    }

    /// True if there is storage behind the entry.
    pub const fn is_storage(self) -> bool {
        self.0 & (ZERO | EMPTY) == 0
    }

    /// Device offset of the first page, if there is storage.
    pub const fn device(self) -> Option<u64> {
        if self.is_storage() { Some((self.0 >> FRAME_SHIFT) << PAGE_SHIFT) } else { None }
    }

    /// The size class.
    pub const fn order(self) -> Order {
        match (self.0 & ORDER_MASK) >> ORDER_SHIFT {
            0 => Order::Pte,
            1 => Order::Pmd,
            _ => Order::Pud,
        }
    }

    /// True if both show the same pages, whoever owns them.
    pub const fn same_target(self, other: Entry) -> bool {
        self.0 & !LOCKED == other.0 & !LOCKED
    }
}

const fn order_bits(order: Order) -> u64 {
    let class = match order {
        Order::Pte => 0,
        Order::Pmd => 1,
        Order::Pud => 2,
    };
    class << ORDER_SHIFT
}

impl core::fmt::Debug for Entry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.device() {
            Some(device) => write!(f, "storage {device:#x}")?,
            None if self.is_zero() => write!(f, "zero")?,
            None => write!(f, "empty")?,
        }
        write!(f, " {:?}", self.order())?;
        if self.is_locked() { write!(f, " locked") } else { Ok(()) }
    }
}

/// Marks beside the entry word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Stores through a map may not be on the medium yet.
    pub dirty: bool,
    /// Picked by a running writeback.
    pub towrite: bool,
    /// What the page tables noted of stores is lost (a map was closed): the next writeback writes
    /// the whole entry.
    pub whole: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicates_read_back_what_was_built() {
        for order in [Order::Pte, Order::Pmd, Order::Pud] {
            let empty = Entry::locked_empty(order);
            assert!(empty.is_empty() && empty.is_locked() && !empty.is_storage());
            assert_eq!(empty.order(), order);
            let zero = Entry::zero(order);
            assert!(zero.is_zero() && !zero.is_locked() && zero.device().is_none());
            let storage = Entry::storage(0x7fff_f000, order);
            assert_eq!(storage.device(), Some(0x7fff_f000));
            assert!(storage.is_storage() && storage.locked().is_locked());
            assert!(storage.locked().same_target(storage) && !storage.same_target(zero));
            assert_eq!(storage.locked().unlocked(), storage);
        }
    }
}
