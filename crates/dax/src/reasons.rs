//! Why units were mapped with small pages, for people who wonder: the last reason of each unit, of
//! a bounded number of units.

use alloc::collections::{BTreeMap, VecDeque};

use crate::error::Fallback;
use crate::units::{Order, PageIndex};

/// Units whose reasons are kept.
const UNITS: usize = 4096;

/// The last reason of each 2 MiB unit, by its first page. Those of the units that fell back first
/// go when there are too many.
#[derive(Default)]
pub(crate) struct Reasons {
    by_unit: BTreeMap<u64, Fallback>,
    /// Units in the order in which they came; some may be gone from the table, or be in here
    /// twice.
    order: VecDeque<u64>,
}

impl Reasons {
    /// The reason of the unit that holds `page`.
    pub fn of(&self, page: PageIndex) -> Option<Fallback> {
        self.by_unit.get(&page.round_down(Order::Pmd).0).copied()
    }

    /// Notes why the unit that holds `page` fell back.
    pub fn note(&mut self, page: PageIndex, reason: Fallback) {
        let unit = page.round_down(Order::Pmd).0;
        if self.by_unit.insert(unit, reason).is_some() {
            return;
        }
        self.order.push_back(unit);
        if self.order.len() > UNITS {
            let oldest = self.order.pop_front();
            oldest.and_then(|unit| self.by_unit.remove(&unit));
        }
    }

    /// The unit that holds `page` was mapped with a large page.
    pub fn forget(&mut self, page: PageIndex) {
        self.by_unit.remove(&page.round_down(Order::Pmd).0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_units_takes_bounded_memory() {
        let mut reasons = Reasons::default();
        let page = |unit: u64| PageIndex(unit * 512 + unit % 512);
        for unit in 0..100_000 {
            reasons.note(page(unit), Fallback::Layout);
            reasons.note(page(unit), Fallback::Conflict);
            if unit % 3 == 0 {
                reasons.forget(page(unit));
            }
        }
        assert!(reasons.by_unit.len() <= UNITS && reasons.order.len() <= UNITS);
        assert_eq!(reasons.of(page(99_998)), Some(Fallback::Conflict));
        assert_eq!((reasons.of(page(99_999)), reasons.of(page(0))), (None, None));
    }
}
