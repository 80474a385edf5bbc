//! The operations actors run, and what each may do to the bytes.

use core::fmt;
use core::ops::Range;

use limpid_dax::PageRange;

use crate::history::{Action, PAST, TRACKED, ZERO, cell_at, file_of, local, tracked};
use crate::sim::CELL;

/// One operation on the file. Cells are halves of pages (2 KiB), counted from the start of the
/// file; a 2 MiB unit has 1024. Those from 4096 on are the second file's. Maps are numbers into the
/// scenario's maps.
#[allow(missing_docs)] // The fields are what the enum's documentation calls them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Loads a cell through a map.
    Load { map: usize, cell: u32 },
    /// Stores to a cell through a map.
    Store { map: usize, cell: u32 },
    /// read.
    Read { cells: Range<u32> },
    /// write; it may extend the file.
    Write { cells: Range<u32> },
    /// write, with a buffer that is a map of the file itself.
    WriteFrom { map: usize, from: u32, to: u32 },
    /// read, into a buffer that is a map of the file itself.
    ReadInto { map: usize, from: u32, to: u32 },
    /// Punches a hole.
    Punch { cells: Range<u32> },
    /// Zeroes a range, keeping blocks; it may extend the file.
    Zero { cells: Range<u32> },
    /// Gives blocks to a range.
    Allocate { cells: Range<u32> },
    /// Removes whole pages.
    Collapse { cells: Range<u32> },
    /// Inserts a hole of whole pages.
    Insert { cells: Range<u32> },
    /// Sets the size, in cells.
    Truncate { cells: u32 },
    /// Writes the stores of a range back.
    Sync { cells: Range<u32> },
    /// Pins pages, stores to a cell of them by their device address, and unpins.
    Pin { cells: Range<u32> },
    /// Stores through a map, then closes it.
    Close { map: usize, cell: u32 },
    /// write at the end of the file, of so many cells.
    Append { cells: u32 },
    /// Gives blocks to a range; the file grows to its end.
    AllocateGrow { cells: Range<u32> },
    /// Zeroes a range, keeping blocks; the file grows to its end.
    ZeroGrow { cells: Range<u32> },
    /// Opens a map that was not there, and loads a cell through it.
    Open { map: usize, cell: u32 },
    /// As `Pin`, and loads a cell through a map meanwhile.
    PinLoad { cells: Range<u32>, map: usize, cell: u32 },
    /// Makes what is at `to` on share the blocks of `cells`, here or in the other file.
    Clone { cells: Range<u32>, to: u32 },
}

/// The bytes of the file; a range lies in one file.
pub(crate) fn bytes(cells: &Range<u32>) -> Range<u64> {
    let start = u64::from(local(cells.start)) * CELL;
    start..start + cells.len() as u64 * CELL
}

pub(crate) fn pages(cells: &Range<u32>) -> PageRange {
    let end = local(cells.start) + cells.len() as u32;
    PageRange::new(u64::from(local(cells.start) / 2), u64::from(end.div_ceil(2)))
}

fn bits(cells: &Range<u32>) -> u32 {
    (0..TRACKED).filter(|at| cells.contains(&cell_at(*at))).fold(0, |bits, at| bits | 1 << at)
}

impl Op {
    /// True if the operation may change the size of the file, given its size in cells.
    pub fn changes_size(&self, size: u32) -> bool {
        match self {
            Op::Write { cells } => cells.end > size,
            Op::Append { .. } | Op::AllocateGrow { .. } | Op::ZeroGrow { .. } => true,
            Op::Zero { .. } => self.zeroes_past(),
            Op::Truncate { .. } | Op::Collapse { .. } | Op::Insert { .. } | Op::Clone { .. } => {
                true
            }
            _ => false,
        }
    }

    /// True for a zeroing that makes the file larger: one that ends beyond two units.
    pub(crate) fn zeroes_past(&self) -> bool {
        matches!(self, Op::Zero { cells } if local(cells.start) + cells.len() as u32 > 2048)
    }

    /// A cell of the file that the operation works on; of a clone, of its source.
    pub(crate) fn cell(&self) -> u32 {
        match self {
            Op::Load { cell, .. } | Op::Store { cell, .. } | Op::Close { cell, .. } => *cell,
            Op::Open { cell, .. } => *cell,
            Op::Append { .. } => 0,
            Op::WriteFrom { to, .. } => *to,
            Op::ReadInto { from, .. } => *from,
            Op::Truncate { cells } => *cells,
            Op::Read { cells }
            | Op::Write { cells }
            | Op::Punch { cells }
            | Op::Zero { cells }
            | Op::Allocate { cells }
            | Op::Collapse { cells }
            | Op::Insert { cells }
            | Op::Sync { cells }
            | Op::Pin { cells }
            | Op::PinLoad { cells, .. }
            | Op::AllocateGrow { cells }
            | Op::ZeroGrow { cells }
            | Op::Clone { cells, .. } => cells.start,
        }
    }

    /// A cell of the file that the operation changes when it is done, unless by stores.
    pub(crate) fn changes_data(&self) -> Option<u32> {
        match self {
            Op::Clone { to, .. } => Some(*to),
            Op::Load { .. } | Op::Store { .. } | Op::Close { .. } | Op::Pin { .. } => None,
            Op::Open { .. } | Op::PinLoad { .. } => None,
            Op::Read { .. } | Op::ReadInto { .. } | Op::Sync { .. } => None,
            op => Some(op.cell()),
        }
    }

    /// The pages that a write may give blocks.
    pub(crate) fn writes(&self) -> Option<PageRange> {
        match self {
            Op::Write { cells } => Some(pages(cells)),
            Op::WriteFrom { to, .. } => Some(pages(&(*to..*to + 1))),
            // Wherever the end is.
            Op::Append { .. } => Some(PageRange::from(limpid_dax::PageIndex(0))),
            _ => None,
        }
    }

    /// The cells (bits) of which what was stored before the operation began is durable when it
    /// returns.
    pub(crate) fn syncs(&self) -> u32 {
        match self {
            Op::Sync { cells } => bits(cells),
            _ => 0,
        }
    }

    /// What the operation does to the cells, but for stores, and the cells (bits) it looks at.
    /// `held` tells what cells hold that are not tracked; nobody changes these.
    pub(crate) fn effects(
        &self,
        value: u8,
        held: impl Fn(u32) -> u8,
    ) -> (Vec<(usize, Action)>, u32) {
        let mut reads = self.syncs();
        let actions = match self {
            Op::Read { cells } => {
                reads |= bits(cells);
                Vec::new()
            }
            Op::ReadInto { from, .. } => {
                reads |= bits(&(*from..*from + 1));
                Vec::new()
            }
            Op::Load { .. } | Op::Store { .. } | Op::Close { .. } | Op::Pin { .. } => Vec::new(),
            // Where an append goes is known when it has lock 1.
            Op::Open { .. } | Op::PinLoad { .. } | Op::Append { .. } => Vec::new(),
            Op::AllocateGrow { cells } => {
                on_file(cells.start, |cell| (cell < cells.end).then_some(Action::Grow))
            }
            Op::ZeroGrow { cells } => on_file(cells.start, |cell| {
                let grows = (cell < cells.end).then_some(Action::Grow);
                if cells.contains(&cell) { Some(Action::Write(ZERO)) } else { grows }
            }),
            Op::Allocate { .. } | Op::Sync { .. } => Vec::new(),
            Op::Write { cells } => on_file(cells.start, |cell| match cells.contains(&cell) {
                true => Some(Action::Write(value)),
                false => (cell < cells.start).then_some(Action::Grow),
            }),
            // What is written is known when it was loaded.
            Op::WriteFrom { to, .. } => on_file(*to, |cell| (cell < *to).then_some(Action::Grow)),
            Op::Zero { cells } if self.zeroes_past() => {
                on_file(cells.start, |cell| match cells.contains(&cell) {
                    true => Some(Action::Write(ZERO)),
                    false => (cell < cells.start).then_some(Action::Grow),
                })
            }
            Op::Punch { cells } | Op::Zero { cells } => {
                on_file(cells.start, |cell| cells.contains(&cell).then_some(Action::Zero))
            }
            Op::Truncate { cells } => on_file(*cells, |cell| {
                Some(if cell >= *cells { Action::Past } else { Action::Grow })
            }),
            Op::Clone { cells, to } => on_file(*to, |cell| {
                let from = cell.checked_sub(*to).map(|by| cells.start + by);
                match from.filter(|from| cells.contains(from)).and_then(tracked) {
                    Some(from) => Some(Action::Clone(from)),
                    None => (cell < *to).then_some(Action::Grow),
                }
            }),
            Op::Collapse { cells } => collapsed(cells, held),
            Op::Insert { cells } => inserted(cells, held),
        };
        (actions, reads)
    }
}

/// What a collapse does.
fn collapsed(cells: &Range<u32>, held: impl Fn(u32) -> u8) -> Vec<(usize, Action)> {
    on_file(cells.start, |cell| {
        let from = cell + cells.len() as u32;
        (cell >= cells.start).then(|| match tracked(from) {
            _ if file_of(from) != 0 => Action::Past,
            Some(from) => Action::Move(from),
            None => action_of(held(from)),
        })
    })
}

/// What an insertion does.
fn inserted(cells: &Range<u32>, held: impl Fn(u32) -> u8) -> Vec<(usize, Action)> {
    on_file(cells.start, |cell| {
        let from = cell.checked_sub(cells.len() as u32).filter(|from| *from >= cells.start);
        (cell >= cells.start).then(|| match (from, from.and_then(tracked)) {
            (None, _) => Action::Write(ZERO),
            (_, Some(from)) => Action::Move(from),
            (Some(from), None) => action_of(held(from)),
        })
    })
}

/// What becomes of a cell to which this value is moved.
fn action_of(value: u8) -> Action {
    if value == PAST { Action::Past } else { Action::Write(value) }
}

/// What an operation does to each tracked cell of the file that `cell` belongs to.
fn on_file(cell: u32, action: impl Fn(u32) -> Option<Action>) -> Vec<(usize, Action)> {
    let cells = (0..TRACKED).filter(|at| file_of(cell_at(*at)) == file_of(cell));
    cells.filter_map(|at| Some((at, action(cell_at(at))?))).collect()
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = |map: &usize| (b'p' + *map as u8) as char;
        match self {
            Op::Load { map: m, cell } => write!(f, "load {}[{cell}]", map(m)),
            Op::Store { map: m, cell } => write!(f, "store {}[{cell}]", map(m)),
            Op::Read { cells } => write!(f, "read {cells:?}"),
            Op::Write { cells } => write!(f, "write {cells:?}"),
            Op::WriteFrom { map: m, from, to } => write!(f, "write {to} from {}[{from}]", map(m)),
            Op::ReadInto { map: m, from, to } => write!(f, "read {from} into {}[{to}]", map(m)),
            Op::Punch { cells } => write!(f, "punch {cells:?}"),
            Op::Zero { cells } => write!(f, "zero {cells:?}"),
            Op::Allocate { cells } => write!(f, "allocate {cells:?}"),
            Op::Collapse { cells } => write!(f, "collapse {cells:?}"),
            Op::Insert { cells } => write!(f, "insert {cells:?}"),
            Op::Truncate { cells } => write!(f, "truncate to {cells}"),
            Op::Sync { cells } => write!(f, "sync {cells:?}"),
            Op::Pin { cells } => write!(f, "pin {cells:?}, store, unpin"),
            Op::Append { cells } => write!(f, "append {cells}"),
            Op::AllocateGrow { cells } => write!(f, "allocate {cells:?} and grow"),
            Op::ZeroGrow { cells } => write!(f, "zero {cells:?} and grow"),
            Op::Open { map: m, cell } => write!(f, "open {0}, load {0}[{cell}]", map(m)),
            Op::PinLoad { cells, map: m, cell } => {
                write!(f, "pin {cells:?}, load {}[{cell}], store, unpin", map(m))
            }
            Op::Close { map: m, cell } => write!(f, "store {}[{cell}] and close", map(m)),
            Op::Clone { cells, to } => write!(f, "clone {cells:?} to {to}"),
        }
    }
}

/// The cells (bits) whose new content is durable when an operation returns that does this.
pub(crate) fn promised(actions: &[(usize, Action)]) -> u32 {
    let kept = |action: &Action| matches!(action, Action::Grow);
    let changed = actions.iter().filter(|(_, action)| !kept(action));
    changed.fold(0, |bits, (cell, _)| bits | 1 << cell)
}
