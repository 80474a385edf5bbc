//! The index of one file: page → entry, entries of several sizes.
//!
//! Invariants, asserted at every change (I8):
//! - entries never overlap, and each is aligned to its own size;
//! - `pages` is the number of pages covered by all entries;
//! - a ZERO or EMPTY entry carries no mark (I7).
//!
//! The index is plain data: its mutex is the caller's (a leaf lock, never held across a wait or a
//! call into page tables).

use alloc::collections::BTreeMap;

use crate::entry::{Entry, Marks};
use crate::units::{Order, PageIndex, PageRange};

/// One entry, where it lies, and its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub start: PageIndex,
    pub entry: Entry,
    pub marks: Marks,
}

impl Slot {
    /// The pages the entry covers.
    pub fn pages(&self) -> PageRange {
        self.start.unit(self.entry.order())
    }
}

/// The multi-order index.
#[derive(Default)]
pub(crate) struct Index {
    slots: BTreeMap<u64, (Entry, Marks)>,
    pages: u64,
}

impl Index {
    /// The entry that covers `page`.
    pub fn find(&self, page: PageIndex) -> Option<Slot> {
        let (&start, &(entry, marks)) = self.slots.range(..=page.0).next_back()?;
        let slot = Slot { start: PageIndex(start), entry, marks };
        slot.pages().contains(page).then_some(slot)
    }

    /// The first entry that covers at least one page of `pages`; it may begin before them.
    pub fn first_in(&self, pages: PageRange) -> Option<Slot> {
        if pages.is_empty() {
            return None;
        }
        if let Some(slot) = self.find(pages.start) {
            return Some(slot);
        }
        let (&start, &(entry, marks)) = self.slots.range(pages.start.0..pages.end.0).next()?;
        Some(Slot { start: PageIndex(start), entry, marks })
    }

    /// `pages` extended to whole entries at both ends.
    pub fn round_out(&self, pages: PageRange) -> PageRange {
        if pages.is_empty() {
            return pages;
        }
        let start = self.find(pages.start).map_or(pages.start, |slot| slot.start);
        let last = PageIndex(pages.end.0 - 1);
        let end = self.find(last).map_or(pages.end, |slot| slot.pages().end);
        PageRange { start, end }
    }

    /// Adds an entry where there is none.
    pub fn insert(&mut self, start: PageIndex, entry: Entry) {
        let pages = start.unit(entry.order());
        assert_eq!(pages.start, start, "an entry is aligned to its size");
        assert!(self.first_in(pages).is_none(), "entries do not overlap");
        self.slots.insert(start.0, (entry, Marks::default()));
        self.pages += pages.len();
    }

    /// Changes the entry at `start`; the size stays.
    pub fn update(&mut self, start: PageIndex, change: impl FnOnce(&mut Entry, &mut Marks)) {
        let (entry, marks) = self.slots.get_mut(&start.0).expect("an entry starts here");
        let order = entry.order();
        change(entry, marks);
        assert_eq!(entry.order(), order, "an entry keeps its size");
        assert!(
            entry.is_storage() || *marks == Marks::default(),
            "an entry without storage is never marked (I7)"
        );
    }

    /// Removes the entry at `start`.
    pub fn remove(&mut self, start: PageIndex) -> Slot {
        let (entry, marks) = self.slots.remove(&start.0).expect("an entry starts here");
        self.pages -= entry.order().pages();
        Slot { start, entry, marks }
    }

    /// Looks at the entries that overlap `pages`, in order, and does with each what `decide` says.
    /// Stops at the first [`Visit::Stop`] and returns that entry.
    pub fn visit(
        &mut self,
        pages: PageRange,
        mut decide: impl FnMut(&Slot) -> Visit,
    ) -> Option<Slot> {
        let mut cursor = pages;
        while let Some(slot) = self.first_in(cursor) {
            match decide(&slot) {
                Visit::Keep => {}
                Visit::Remove => {
                    self.remove(slot.start);
                }
                Visit::Stop => return Some(slot),
            }
            cursor.start = slot.pages().end;
        }
        None
    }

    /// Number of pages covered by entries.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().map(|(&start, &(entry, marks))| Slot {
            start: PageIndex(start),
            entry,
            marks,
        })
    }

    /// True if a smaller entry than `order` lies in the unit of `page`.
    pub fn has_smaller(&self, page: PageIndex, order: Order) -> bool {
        self.first_in(page.unit(order)).is_some_and(|slot| slot.entry.order() < order)
    }
}

/// What [`Index::visit`] does with an entry.
pub(crate) enum Visit {
    Keep,
    Remove,
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_entries_of_both_sizes_and_rounds_out() {
        let mut index = Index::default();
        index.insert(PageIndex(512), Entry::zero(Order::Pmd));
        index.insert(PageIndex(3), Entry::storage(0x5000, Order::Pte));
        assert_eq!(index.pages(), 513);
        assert_eq!(index.find(PageIndex(700)).unwrap().start, PageIndex(512));
        assert!(index.find(PageIndex(4)).is_none());
        assert!(index.find(PageIndex(1024)).is_none());
        assert_eq!(index.first_in(PageRange::new(4, 600)).unwrap().start, PageIndex(512));
        assert_eq!(index.round_out(PageRange::new(2, 600)), PageRange::new(2, 1024));
        assert!(index.has_smaller(PageIndex(400), Order::Pmd));
        assert!(!index.has_smaller(PageIndex(600), Order::Pmd));
        index.remove(PageIndex(512));
        assert_eq!(index.pages(), 1);
    }

    #[test]
    #[should_panic(expected = "entries do not overlap")]
    fn refuses_overlap() {
        let mut index = Index::default();
        index.insert(PageIndex(7), Entry::zero(Order::Pte));
        index.insert(PageIndex(0), Entry::zero(Order::Pmd));
    }

    #[test]
    #[should_panic(expected = "never marked")]
    fn refuses_marks_without_storage() {
        let mut index = Index::default();
        index.insert(PageIndex(7), Entry::zero(Order::Pte));
        index.update(PageIndex(7), |_, marks| marks.dirty = true);
    }
}
