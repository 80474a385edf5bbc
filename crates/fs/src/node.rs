//! The 4 KiB node of a tree: cells of a key and a value, in the order of their keys.
//!
//! A slot array grows up from the header, cells grow down from the end of the block:
//!
//! | header 32 | slot 0 | slot 1 | … free … | cell | cell | cell |
//!
//! A slot is the offset of its cell (u16); a cell is key (u64), length (u16), value. A removed
//! cell leaves a gap, which is closed when the room is needed.

use crate::error::{Result, What, corrupt};
use crate::layout::{BLOCK_LEN, GRANULE};
use crate::seal;

/// Bytes of a node.
pub(crate) type Bytes = [u8; BLOCK_LEN];

const MAGIC: u16 = u16::from_le_bytes(*b"LN");
const HEADER: usize = 32;
const CRC: usize = 0;
const LEVEL: usize = 6;
const COUNT: usize = 24;
const HEAP: usize = 26;
const LIVE: usize = 28;
const CELL_HEADER: usize = 10;

/// Room for slots and cells.
pub(crate) const CAPACITY: usize = BLOCK_LEN - HEADER;
/// Longest value: three cells and their slots fit, so that a split always succeeds.
pub(crate) const MAX_VALUE: usize = CAPACITY / 3 - CELL_HEADER - 2;

fn u16_at(bytes: &Bytes, at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn u64_at(bytes: &Bytes, at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// What a node must be: whose, where, and how far above the leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub owner: u64,
    pub block: u64,
    pub level: u32,
}

impl Expected {
    fn corrupt<T>(&self, why: &'static str) -> Result<T> {
        corrupt(What::Node, self.block * BLOCK_LEN as u64, why)
    }
}

/// Checks a node read from the medium wholly. Whoever changes a node has checked it so before.
pub(crate) fn verify(bytes: &Bytes, expected: Expected) -> Result<()> {
    if !seal::sealed(bytes, CRC) {
        return expected.corrupt("its checksum does not match");
    }
    verify_unsealed(bytes, expected)
}

/// As [`verify`], whatever the checksum is.
pub(crate) fn verify_unsealed(bytes: &Bytes, expected: Expected) -> Result<()> {
    check_visit(bytes, expected)?;
    let (count, heap) = (u16_at(bytes, COUNT), u16_at(bytes, HEAP));
    let (mut last, mut live, mut taken) = (None, 0, Taken([0; BLOCK_LEN / 64]));
    for index in 0..count {
        let at = u16_at(bytes, HEADER + 2 * index);
        let len = u16_at(bytes, at + 8);
        if len > MAX_VALUE || at + CELL_HEADER + len > BLOCK_LEN {
            return expected.corrupt("a cell is too long");
        }
        if expected.level > 0 && len != 8 {
            return expected.corrupt("a child pointer of wrong length");
        }
        let key = u64_at(bytes, at);
        if last.is_some_and(|last| last >= key) {
            return expected.corrupt("its keys are out of order");
        }
        if !taken.take(at, CELL_HEADER + len) {
            return expected.corrupt("two cells overlap");
        }
        last = Some(key);
        live += CELL_HEADER + len;
    }
    if live != u16_at(bytes, LIVE) || live > BLOCK_LEN - heap {
        return expected.corrupt("impossible lengths of cells");
    }
    Ok(())
}

/// A bit for each byte of a node that a cell has.
struct Taken([u64; BLOCK_LEN / 64]);

impl Taken {
    /// Takes `len` bytes, at least one, from `at` on; false if some of them are taken.
    fn take(&mut self, at: usize, len: usize) -> bool {
        let end = at + len;
        let mut free = true;
        for word in at / 64..end.div_ceil(64) {
            let low = at.saturating_sub(word * 64);
            let high = (end - word * 64).min(64);
            let mask = (u64::MAX >> (64 - (high - low))) << low;
            free &= self.0[word] & mask == 0;
            self.0[word] |= mask;
        }
        free
    }
}

/// Owner and level of what may be a node that lies at `block`; none if it is not.
pub(crate) fn marks(bytes: &Bytes, block: u64) -> Option<(u64, u32)> {
    let node = u16_at(bytes, 4) == usize::from(MAGIC) && u64_at(bytes, 16) == block;
    node.then(|| (u64_at(bytes, 8), u32::from(bytes[LEVEL])))
}

/// The cheap part of [`verify`], done at each visit, as memory rots: the node is the right one, and
/// all cells begin within it. Afterwards no accessor can go wrong.
pub(crate) fn check_visit(bytes: &Bytes, expected: Expected) -> Result<()> {
    check_identity(bytes, expected)?;
    let (count, heap) = (u16_at(bytes, COUNT), u16_at(bytes, HEAP));
    if count == 0 || heap > BLOCK_LEN || HEADER + 2 * count > heap {
        return expected.corrupt("impossible numbers of cells");
    }
    let (mut first, mut last) = (u16::MAX, 0);
    for slot in bytes[HEADER..HEADER + 2 * count].chunks_exact(2) {
        let at = u16::from_le_bytes([slot[0], slot[1]]);
        first = first.min(at);
        last = last.max(at);
    }
    if usize::from(first) < heap || usize::from(last) > BLOCK_LEN - CELL_HEADER {
        return expected.corrupt("a slot points outside the cells");
    }
    Ok(())
}

/// Whether a node is the right one.
pub(crate) fn check_identity(bytes: &Bytes, expected: Expected) -> Result<()> {
    if u16_at(bytes, 4) != usize::from(MAGIC)
        || u64_at(bytes, 8) != expected.owner
        || u64_at(bytes, 16) != expected.block
        || u32::from(bytes[LEVEL]) != expected.level
    {
        return expected.corrupt("the node of another tree or place");
    }
    Ok(())
}

/// A node to look at; it passed [`check_visit`], or is being built here.
#[derive(Clone, Copy)]
pub(crate) struct View<'a>(pub &'a Bytes);

impl<'a> View<'a> {
    pub fn count(self) -> usize {
        u16_at(self.0, COUNT)
    }

    pub fn key(self, index: usize) -> u64 {
        u64_at(self.0, u16_at(self.0, HEADER + 2 * index))
    }

    /// Empty, which no reader of values takes for one, if the cell does not lie within the node.
    pub fn value(self, index: usize) -> &'a [u8] {
        let at = u16_at(self.0, HEADER + 2 * index);
        let len = u16_at(self.0, at + 8);
        self.0.get(at + CELL_HEADER..at + CELL_HEADER + len).unwrap_or_default()
    }

    /// The child block of an inner node's cell; 0, where no node can lie, if it has none.
    pub fn child(self, index: usize) -> u64 {
        self.value(index).try_into().map_or(0, u64::from_le_bytes)
    }

    /// Index of `key`, or of the place where it belongs.
    pub fn search(self, key: u64) -> core::result::Result<usize, usize> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = (low + high) / 2;
            match self.key(middle).cmp(&key) {
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
                core::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Index of the child under which `key` belongs: the last whose key is not larger. The key
    /// of the first child counts as smaller than all.
    pub fn child_index(self, key: u64) -> usize {
        match self.search(key) {
            Ok(index) => index,
            Err(index) => index.saturating_sub(1),
        }
    }

    /// Bytes used by cells and slots.
    pub fn used(self) -> usize {
        u16_at(self.0, LIVE) + 2 * self.count()
    }
}

/// Runs of set bits: the first and how many.
pub(crate) fn runs(mut bits: u64) -> impl Iterator<Item = (usize, usize)> {
    core::iter::from_fn(move || {
        if bits == 0 {
            return None;
        }
        let first = bits.trailing_zeros();
        let count = (bits >> first).trailing_ones();
        bits &= !((u64::MAX >> (64 - count)) << first);
        Some((first as usize, count as usize))
    })
}

/// A node that is being changed in a transaction, with a bit for each changed granule.
pub(crate) struct NodeBuf {
    pub block: u64,
    pub bytes: Box<Bytes>,
    pub dirty: u64,
}

impl NodeBuf {
    /// An empty node; all of it is dirty.
    pub fn new(expected: Expected) -> NodeBuf {
        let mut bytes: Box<Bytes> = Box::new([0; BLOCK_LEN]);
        bytes[4..6].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[LEVEL] = expected.level as u8;
        bytes[8..16].copy_from_slice(&expected.owner.to_le_bytes());
        bytes[16..24].copy_from_slice(&expected.block.to_le_bytes());
        let mut node = NodeBuf { block: expected.block, bytes, dirty: u64::MAX };
        node.set_u16(HEAP, BLOCK_LEN);
        node
    }

    pub fn view(&self) -> View<'_> {
        View(&self.bytes)
    }

    /// Writes the checksum.
    pub fn seal(&mut self) {
        seal::seal(&mut self.bytes[..], CRC);
        self.dirty |= 1;
    }

    fn mark(&mut self, at: usize, len: usize) {
        if len > 0 {
            let (first, last) = (at / GRANULE, (at + len - 1) / GRANULE);
            self.dirty |= (u64::MAX >> (63 - (last - first))) << first;
        }
    }

    fn set_u16(&mut self, at: usize, value: usize) {
        self.bytes[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
        self.mark(at, 2);
    }

    /// True if a cell with a value of `len` bytes can be added.
    pub fn has_room(&self, len: usize) -> bool {
        self.view().used() + CELL_HEADER + 2 + len <= CAPACITY
    }

    /// Adds or replaces a cell. False, and nothing changed, if there is no room.
    pub fn put(&mut self, key: u64, value: &[u8]) -> bool {
        assert!(value.len() <= MAX_VALUE, "callers bound their values");
        match self.view().search(key) {
            Ok(index) if self.view().value(index).len() == value.len() => {
                let at = u16_at(&self.bytes, HEADER + 2 * index) + CELL_HEADER;
                self.bytes[at..at + value.len()].copy_from_slice(value);
                self.mark(at, value.len());
                true
            }
            Ok(index) => {
                let old = CELL_HEADER + 2 + self.view().value(index).len();
                let used = self.view().used() - old;
                if used + CELL_HEADER + 2 + value.len() > CAPACITY {
                    return false;
                }
                self.remove_at(index);
                self.insert_at(index, key, value);
                true
            }
            Err(index) => {
                if !self.has_room(value.len()) {
                    return false;
                }
                self.insert_at(index, key, value);
                true
            }
        }
    }

    /// Adds a cell at `index`; there is room.
    fn insert_at(&mut self, index: usize, key: u64, value: &[u8]) {
        let count = self.view().count();
        let len = CELL_HEADER + value.len();
        if HEADER + 2 * (count + 1) + len > u16_at(&self.bytes, HEAP) {
            self.compact();
        }
        let at = u16_at(&self.bytes, HEAP) - len;
        self.bytes[at..at + 8].copy_from_slice(&key.to_le_bytes());
        self.bytes[at + 8..at + 10].copy_from_slice(&(value.len() as u16).to_le_bytes());
        self.bytes[at + CELL_HEADER..at + len].copy_from_slice(value);
        self.mark(at, len);
        let slot = HEADER + 2 * index;
        self.bytes.copy_within(slot..HEADER + 2 * count, slot + 2);
        self.mark(slot, 2 * (count + 1 - index));
        self.set_u16(slot, at);
        self.set_u16(COUNT, count + 1);
        self.set_u16(HEAP, at);
        self.set_u16(LIVE, u16_at(&self.bytes, LIVE) + len);
    }

    /// Removes the cell at `index`.
    pub fn remove_at(&mut self, index: usize) {
        let count = self.view().count();
        let at = u16_at(&self.bytes, HEADER + 2 * index);
        let len = CELL_HEADER + self.view().value(index).len();
        let slot = HEADER + 2 * index;
        self.bytes.copy_within(slot + 2..HEADER + 2 * count, slot);
        self.mark(slot, 2 * (count - index));
        self.set_u16(COUNT, count - 1);
        self.set_u16(LIVE, u16_at(&self.bytes, LIVE) - len);
        if at == u16_at(&self.bytes, HEAP) {
            self.set_u16(HEAP, at + len);
        }
    }

    /// Gives the cell at `index` another key that keeps the order.
    pub fn set_key(&mut self, index: usize, key: u64) {
        let at = u16_at(&self.bytes, HEADER + 2 * index);
        self.bytes[at..at + 8].copy_from_slice(&key.to_le_bytes());
        self.mark(at, 8);
    }

    /// Closes the gaps between the cells.
    fn compact(&mut self) {
        let old = self.bytes.clone();
        let mut heap = BLOCK_LEN;
        for index in 0..self.view().count() {
            let at = u16_at(&old, HEADER + 2 * index);
            let len = CELL_HEADER + u16_at(&old, at + 8);
            heap -= len;
            self.bytes[heap..heap + len].copy_from_slice(&old[at..at + len]);
            self.set_u16(HEADER + 2 * index, heap);
        }
        self.set_u16(HEAP, heap);
        self.mark(heap, BLOCK_LEN - heap);
    }

    /// Moves the upper cells into `right`, an empty node, such that a new cell of `key` and a
    /// value of `len` bytes has room in the half it belongs to. Returns the smallest key of the
    /// right half. In the `last` node of a level that is `key` itself when it is larger than all:
    /// keys that only grow leave full nodes behind. Elsewhere the next key may belong to the full
    /// node again, which would cost a node for each.
    pub fn split(&mut self, right: &mut NodeBuf, key: u64, len: usize, last: bool) -> u64 {
        let count = self.view().count();
        let place = self.view().search(key).unwrap_or_else(|place| place);
        if place == count && last {
            return key;
        }
        let size = |index: usize| CELL_HEADER + 2 + self.view().value(index).len();
        let total = self.view().used() + CELL_HEADER + 2 + len;
        let (mut left, mut index) = (0, 0);
        // `index` counts the old cells that stay; the new one is counted when it is passed.
        while index < count {
            if index == place {
                left += CELL_HEADER + 2 + len;
            }
            if left + size(index) > total / 2 && index > 0 {
                break;
            }
            left += size(index);
            index += 1;
        }
        // A split happens only when three cells do not fit, so both halves get some. A new cell
        // at the seam goes left: it was counted there, and its key is smaller than the separator.
        let index = index.min(count - 1);
        let separator = self.view().key(index);
        for cell in index..count {
            let (key, value) = (self.view().key(cell), self.view().value(cell));
            right.insert_at(cell - index, key, value);
        }
        for cell in (index..count).rev() {
            self.remove_at(cell);
        }
        separator
    }

    /// Appends all cells of `right`, whose keys are larger; there is room.
    pub fn append(&mut self, right: View<'_>) {
        for index in 0..right.count() {
            self.insert_at(self.view().count(), right.key(index), right.value(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected = Expected { owner: 3, block: 9, level: 0 };

    #[test]
    fn cells_that_overlap_are_refused() {
        let mut node = NodeBuf::new(EXPECTED);
        // A cell whose value holds what looks like another cell: key 7, 6 bytes.
        let mut value = [0; 40];
        value[..8].copy_from_slice(&7u64.to_le_bytes());
        value[8] = 6;
        assert!(node.put(5, &value));
        node.seal();
        assert_eq!(verify(&node.bytes, EXPECTED), Ok(()));
        let at = u16_at(&node.bytes, HEADER);
        node.set_u16(HEADER + 2, at + CELL_HEADER);
        node.set_u16(COUNT, 2);
        node.set_u16(LIVE, 2 * CELL_HEADER + 40 + 6);
        node.set_u16(HEAP, at - CELL_HEADER - 6);
        node.seal();
        assert!(verify(&node.bytes, EXPECTED).is_err());
        // It can be visited all the same.
        assert_eq!(check_visit(&node.bytes, EXPECTED), Ok(()));
    }

    #[test]
    fn every_byte_may_be_anything_in_a_node_that_is_visited() {
        let mut sound = NodeBuf::new(EXPECTED);
        for key in 0..40 {
            assert!(sound.put(key * 3, &[key as u8; 30]));
        }
        let mut bytes = sound.bytes;
        for at in 0..BLOCK_LEN {
            let old = bytes[at];
            for new in [0, 0xff, !old] {
                bytes[at] = new;
                if check_visit(&bytes, EXPECTED).is_ok() {
                    let view = View(&bytes);
                    for index in 0..view.count() {
                        let _ = (view.key(index), view.value(index), view.child(index));
                    }
                    let _ = (view.search(17), view.child_index(40), view.used());
                }
            }
            bytes[at] = old;
        }
    }
}
