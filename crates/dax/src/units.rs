//! Units: pages, page ranges and the sizes of entries.

use core::fmt;
use core::ops::Range;

/// log2 of the page size.
pub const PAGE_SHIFT: u32 = 12;
/// Size of a page in bytes.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// Largest file size in bytes (8 EiB less one byte, as off_t has it).
pub const MAX_FILE_SIZE: u64 = i64::MAX as u64;

/// Size class of an entry or a mapping: how many pages it covers, as a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// One page of 4 KiB.
    Pte,
    /// 512 pages, 2 MiB.
    Pmd,
    /// 262 144 pages, 1 GiB.
    Pud,
}

impl Order {
    /// Number of pages covered.
    pub const fn pages(self) -> u64 {
        match self {
            Order::Pte => 1,
            Order::Pmd => 512,
            Order::Pud => 512 * 512,
        }
    }

    /// Number of bytes covered.
    pub const fn bytes(self) -> u64 {
        self.pages() << PAGE_SHIFT
    }

    /// The next smaller order, if any.
    pub const fn smaller(self) -> Option<Order> {
        match self {
            Order::Pte => None,
            Order::Pmd => Some(Order::Pte),
            Order::Pud => Some(Order::Pmd),
        }
    }
}

/// Index of a page within a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageIndex(pub u64);

impl PageIndex {
    /// The page that holds the byte at `offset`.
    pub const fn of(offset: u64) -> PageIndex {
        PageIndex(offset >> PAGE_SHIFT)
    }

    /// File offset of the page's first byte.
    pub const fn offset(self) -> u64 {
        self.0 << PAGE_SHIFT
    }

    /// This index rounded down to a multiple of the order's pages.
    pub const fn round_down(self, order: Order) -> PageIndex {
        PageIndex(self.0 & !(order.pages() - 1))
    }

    /// The pages of the aligned unit of `order` that holds this page.
    pub const fn unit(self, order: Order) -> PageRange {
        let start = self.round_down(order);
        PageRange { start, end: PageIndex(start.0 + order.pages()) }
    }
}

impl fmt::Debug for PageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}", self.0)
    }
}

/// Half-open range of pages of a file. "To the end" is [`PageRange::from`], never a zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRange {
    /// First page.
    pub start: PageIndex,
    /// Page after the last.
    pub end: PageIndex,
}

impl PageRange {
    /// The pages `start..end`.
    pub const fn new(start: u64, end: u64) -> PageRange {
        PageRange { start: PageIndex(start), end: PageIndex(end) }
    }

    /// The pages that hold at least one byte of `bytes`.
    pub const fn covering(bytes: &Range<u64>) -> PageRange {
        if bytes.start >= bytes.end {
            return PageRange::new(bytes.start >> PAGE_SHIFT, bytes.start >> PAGE_SHIFT);
        }
        PageRange::new(bytes.start >> PAGE_SHIFT, ((bytes.end - 1) >> PAGE_SHIFT) + 1)
    }

    /// The pages that lie wholly inside `bytes`.
    pub const fn inside(bytes: &Range<u64>) -> PageRange {
        let start = bytes.start.div_ceil(PAGE_SIZE);
        let end = bytes.end >> PAGE_SHIFT;
        if end < start { PageRange::new(start, start) } else { PageRange::new(start, end) }
    }

    /// All pages from `start` on.
    pub const fn from(start: PageIndex) -> PageRange {
        PageRange { start, end: PageIndex(u64::MAX >> PAGE_SHIFT) }
    }

    /// Number of pages.
    pub const fn len(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// True if there is no page in the range.
    pub const fn is_empty(&self) -> bool {
        self.start.0 >= self.end.0
    }

    /// True if `page` lies in the range.
    pub const fn contains(&self, page: PageIndex) -> bool {
        self.start.0 <= page.0 && page.0 < self.end.0
    }

    /// True if every page of `other` lies in this range.
    pub const fn covers(&self, other: PageRange) -> bool {
        self.start.0 <= other.start.0 && other.end.0 <= self.end.0
    }

    /// The pages in both ranges.
    pub fn intersect(&self, other: PageRange) -> PageRange {
        let start = self.start.max(other.start);
        PageRange { start, end: self.end.min(other.end).max(start) }
    }

    /// The byte range of these pages.
    pub const fn bytes(&self) -> Range<u64> {
        self.start.offset()..self.end.offset()
    }
}

impl fmt::Debug for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pages {}..{}", self.start.0, self.end.0)
    }
}
