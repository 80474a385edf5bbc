//! The one ordered tree of the format: a B+tree from u64 keys to short values.
//!
//! It serves the extents of files, the names of directories, extended attributes, the inode table
//! and the orphans. Invariants:
//!
//! - Leaves are at level 0; a child is one level below its parent, so a descent always ends.
//! - The keys of a child lie between its own key in the parent and that of the next child; the
//!   first child of a node has no lower bound other than that of its parent.
//! - No node is empty: a tree without keys has no node.
//! - A node says whose it is and where it lies, and has a checksum.

use crate::error::{FsError, Result, What, corrupt};
use crate::layout::{BLOCK, BLOCK_LEN};
use crate::node::{Bytes, CAPACITY, Expected, View};
use crate::tx::Tx;

/// Largest number of levels; 2^64 keys would need fewer.
pub(crate) const MAX_HEIGHT: u32 = 12;

/// Where a tree begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeRoot {
    /// Block of the root node; 0 if there is none.
    pub block: u64,
    /// Number of levels; 0 for an empty tree.
    pub height: u32,
}

impl TreeRoot {
    pub const EMPTY: TreeRoot = TreeRoot { block: 0, height: 0 };

    pub fn is_empty(&self) -> bool {
        self.height == 0
    }
}

/// Where nodes are read from: the medium, or a transaction over it.
pub(crate) trait Nodes {
    /// Reads and checks a node.
    fn load(&self, expected: Expected, into: &mut Bytes) -> Result<()>;
}

/// Reads the leaf under which `key` belongs. Returns the smallest key that belongs to the next
/// leaf, if there is one. The tree is not empty.
pub(crate) fn leaf(
    nodes: &impl Nodes,
    owner: u64,
    root: TreeRoot,
    key: u64,
    into: &mut Bytes,
) -> Result<Option<u64>> {
    let (mut block, mut bound) = (root.block, None);
    for level in (0..root.height).rev() {
        nodes.load(Expected { owner, block, level }, into)?;
        if level > 0 {
            let view = View(into);
            let index = view.child_index(key);
            if index + 1 < view.count() {
                let next = view.key(index + 1);
                if bound.is_some_and(|bound| bound < next) {
                    return corrupt(What::Node, block * BLOCK, "a key outside its parent's bounds");
                }
                bound = Some(next);
            }
            block = view.child(index);
        }
    }
    if bound.is_some_and(|bound| bound <= key) {
        return corrupt(What::Node, block * BLOCK, "its parent's keys are out of order");
    }
    Ok(bound)
}

/// Calls `visit` for each key from `from` on, in order, until it returns false.
pub(crate) fn scan(
    nodes: &impl Nodes,
    owner: u64,
    root: TreeRoot,
    from: u64,
    mut visit: impl FnMut(u64, &[u8]) -> Result<bool>,
) -> Result<()> {
    if root.is_empty() {
        return Ok(());
    }
    let mut bytes = [0; BLOCK_LEN];
    let mut next = Some(from);
    while let Some(key) = next {
        next = leaf(nodes, owner, root, key, &mut bytes)?;
        let view = View(&bytes);
        let first = view.search(key).unwrap_or_else(|place| place);
        for index in first..view.count() {
            // Keys past the bound would come again with the next leaf.
            if next.is_some_and(|bound| view.key(index) >= bound) {
                return corrupt(What::Node, owner, "a key lies outside the bounds of its leaf");
            }
            if !visit(view.key(index), view.value(index))? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The value of the largest key that is at most `key`, if it is in the leaf where `key` belongs.
pub(crate) fn floor<T>(
    nodes: &impl Nodes,
    owner: u64,
    root: TreeRoot,
    key: u64,
    found: impl FnOnce(u64, &[u8]) -> Result<T>,
) -> Result<Option<T>> {
    if root.is_empty() {
        return Ok(None);
    }
    let mut bytes = [0; BLOCK_LEN];
    leaf(nodes, owner, root, key, &mut bytes)?;
    let view = View(&bytes);
    let index = match view.search(key) {
        Ok(index) => index,
        Err(0) => return Ok(None),
        Err(index) => index - 1,
    };
    found(view.key(index), view.value(index)).map(Some)
}

/// An inner node on the way to a leaf.
struct Step {
    block: u64,
    /// The child taken.
    index: usize,
    /// No node of its level has larger keys.
    last: bool,
}

/// Descends to the leaf of `key`: the inner nodes on the way, the leaf, and whether it is the last.
fn path(tx: &Tx<'_>, owner: u64, root: TreeRoot, key: u64) -> Result<(Vec<Step>, u64, bool)> {
    let mut bytes = [0; BLOCK_LEN];
    let mut path = Vec::with_capacity(root.height as usize);
    let (mut block, mut last) = (root.block, true);
    for level in (1..root.height).rev() {
        tx.load(Expected { owner, block, level }, &mut bytes)?;
        let index = View(&bytes).child_index(key);
        path.push(Step { block, index, last });
        last &= index + 1 == View(&bytes).count();
        block = View(&bytes).child(index);
    }
    Ok((path, block, last))
}

/// Adds `key`, or replaces its value. `blocks` grows by the nodes the tree takes.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    owner: u64,
    root: &mut TreeRoot,
    blocks: &mut i64,
    key: u64,
    value: &[u8],
) -> Result<()> {
    if root.is_empty() {
        let block = tx.new_node(owner, 0)?;
        tx.node(Expected { owner, block, level: 0 })?.put(key, value);
        *root = TreeRoot { block, height: 1 };
        *blocks += 1;
        return Ok(());
    }
    let (mut path, mut block, mut last) = path(tx, owner, *root, key)?;
    let node = tx.node(Expected { owner, block, level: 0 })?;
    if node.put(key, value) {
        return Ok(());
    }
    if let Ok(index) = node.view().search(key) {
        node.remove_at(index);
    }
    // The node at `level` is full: its upper half moves to a new node, which the parent learns of.
    let (mut key, mut value, mut level) = (key, value.to_vec(), 0);
    loop {
        let right = tx.new_node(owner, level)?;
        *blocks += 1;
        let mut new = tx.take(Expected { owner, block: right, level })?;
        let node = tx.node(Expected { owner, block, level })?;
        let separator = node.split(&mut new, key, value.len(), last);
        let side = if key < separator { node } else { &mut new };
        assert!(side.put(key, &value), "a split makes room");
        tx.give(new);
        (key, value, level) = (separator, right.to_le_bytes().to_vec(), level + 1);
        let Some(parent) = path.pop() else {
            break;
        };
        (block, last) = (parent.block, parent.last);
        if tx.node(Expected { owner, block, level })?.put(key, &value) {
            return Ok(());
        }
    }
    if level >= MAX_HEIGHT {
        return Err(FsError::NoSpace);
    }
    let top = tx.new_node(owner, level)?;
    *blocks += 1;
    let node = tx.node(Expected { owner, block: top, level })?;
    node.put(0, &root.block.to_le_bytes());
    node.put(key, &value);
    *root = TreeRoot { block: top, height: level + 1 };
    Ok(())
}

/// Removes `key`; false if it is not there. `blocks` shrinks by the nodes given back.
pub(crate) fn remove(
    tx: &mut Tx<'_>,
    owner: u64,
    root: &mut TreeRoot,
    blocks: &mut i64,
    key: u64,
) -> Result<bool> {
    if root.is_empty() {
        return Ok(false);
    }
    let (mut path, mut block, _) = path(tx, owner, *root, key)?;
    let leaf = tx.node(Expected { owner, block, level: 0 })?;
    let Ok(index) = leaf.view().search(key) else {
        return Ok(false);
    };
    leaf.remove_at(index);
    let mut level = 0;
    loop {
        let node = tx.node(Expected { owner, block, level })?;
        let (count, used) = (node.view().count(), node.view().used());
        if count == 0 {
            tx.free_node(block);
            *blocks -= 1;
            let Some(Step { block: parent, index, .. }) = path.pop() else {
                *root = TreeRoot::EMPTY;
                return Ok(true);
            };
            (block, level) = (parent, level + 1);
            let parent = tx.node(Expected { owner, block, level })?;
            let bound = parent.view().key(index);
            parent.remove_at(index);
            // The next child takes over the range of the first.
            if index == 0 && parent.view().count() > 0 {
                parent.set_key(0, bound);
            }
            continue;
        }
        let Some(&Step { block: parent, index, .. }) = path.last() else {
            shrink(tx, owner, root, blocks)?;
            return Ok(true);
        };
        if used > CAPACITY / 3 || !merge(tx, owner, level, parent, index, blocks)? {
            return Ok(true);
        }
        path.pop();
        (block, level) = (parent, level + 1);
    }
}

/// Drops root nodes that have one child only.
fn shrink(tx: &mut Tx<'_>, owner: u64, root: &mut TreeRoot, blocks: &mut i64) -> Result<()> {
    while root.height > 1 {
        let node = tx.node(Expected { owner, block: root.block, level: root.height - 1 })?;
        if node.view().count() > 1 {
            break;
        }
        let child = node.view().child(0);
        tx.free_node(root.block);
        *blocks -= 1;
        *root = TreeRoot { block: child, height: root.height - 1 };
    }
    Ok(())
}

/// Merges child `index` of `parent`, which lies at `level`, with a neighbour if both fit into
/// one node. False if they do not.
fn merge(
    tx: &mut Tx<'_>,
    owner: u64,
    level: u32,
    parent: u64,
    index: usize,
    blocks: &mut i64,
) -> Result<bool> {
    let view = tx.node(Expected { owner, block: parent, level: level + 1 })?.view();
    let count = view.count();
    let child = view.child(index);
    let neighbours = [index.checked_sub(1), Some(index + 1)]
        .map(|n| n.filter(|n| *n < count).map(|n| (n, view.child(n))));
    let mut bytes: Box<Bytes> = Box::new([0; BLOCK_LEN]);
    for (neighbour, block) in neighbours.into_iter().flatten() {
        tx.load(Expected { owner, block, level }, &mut bytes)?;
        let node = tx.node(Expected { owner, block: child, level })?;
        if View(&bytes).used() + node.view().used() > CAPACITY {
            continue;
        }
        let right = neighbour.max(index);
        let (left_block, right_block) =
            if neighbour < index { (block, child) } else { (child, block) };
        let right_node = tx.node(Expected { owner, block: right_block, level })?;
        bytes.copy_from_slice(&right_node.bytes[..]);
        let left = tx.node(Expected { owner, block: left_block, level })?;
        if left.view().key(left.view().count() - 1) >= View(&bytes).key(0) {
            return corrupt(What::Node, right_block * BLOCK, "its keys belong to its neighbour");
        }
        left.append(View(&bytes));
        tx.free_node(right_block);
        *blocks -= 1;
        tx.node(Expected { owner, block: parent, level: level + 1 })?.remove_at(right);
        return Ok(true);
    }
    Ok(false)
}

/// Calls `visit` with each node's block, parents after their children, and with its level.
pub(crate) fn nodes(
    source: &impl Nodes,
    owner: u64,
    root: TreeRoot,
    visit: &mut dyn FnMut(u64, u32) -> Result<()>,
) -> Result<()> {
    if root.is_empty() {
        return Ok(());
    }
    walk(source, owner, root.block, root.height - 1, (0, None), visit)
}

/// The part of [`nodes`] below one node whose keys lie in `bounds`. The bounds keep a node from
/// being visited twice, whatever the medium holds; the levels bound the depth.
fn walk(
    source: &impl Nodes,
    owner: u64,
    block: u64,
    level: u32,
    bounds: (u64, Option<u64>),
    visit: &mut dyn FnMut(u64, u32) -> Result<()>,
) -> Result<()> {
    let mut bytes: Box<Bytes> = Box::new([0; BLOCK_LEN]);
    source.load(Expected { owner, block, level }, &mut bytes)?;
    let view = View(&bytes);
    let outside = |key: u64| key < bounds.0 || bounds.1.is_some_and(|end| key >= end);
    if (0..view.count()).any(|index| outside(view.key(index))) {
        return corrupt(What::Node, block * BLOCK, "a key lies outside the bounds of its parent");
    }
    if level > 0 {
        for index in 0..view.count() {
            let low = if index == 0 { bounds.0 } else { view.key(index) };
            let high = if index + 1 < view.count() { Some(view.key(index + 1)) } else { bounds.1 };
            walk(source, owner, view.child(index), level - 1, (low, high), visit)?;
        }
    }
    visit(block, level)
}

#[cfg(test)]
mod tests;
