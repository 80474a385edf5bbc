//! The cells of a damaged tree: those of the nodes that can still be read, wherever they are.

use std::cell::OnceCell;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Repair;
use super::lost::{self, Look};
use crate::core::Core;
use crate::error::Result;
use crate::layout::{BLOCK, BLOCK_LEN};
use crate::node::{self, Bytes, Expected, View};
use crate::tree::{self, TreeRoot};
use crate::tx::Tx;

/// A key of a damaged tree.
pub(super) struct Cell {
    pub key: u64,
    pub value: Vec<u8>,
    /// The node's checksum is right.
    pub sure: bool,
}

/// Lost leaves by their owner; looked for once, when they are first needed.
#[derive(Default)]
pub(super) struct Leaves(OnceCell<FxHashMap<u64, Vec<u64>>>);

impl Leaves {
    /// The lost leaves of an owner.
    pub fn of(&self, repair: &Repair<'_>, owner: u64) -> &[u64] {
        let all = self.0.get_or_init(|| {
            let mut leaves: FxHashMap<u64, Vec<u64>> = FxHashMap::default();
            lost::search(&repair.core, &repair.found.used, &mut |block, look| {
                if let Look::Node { owner, level: 0 } = look {
                    leaves.entry(owner).or_default().push(block);
                }
            });
            leaves
        });
        all.get(&owner).map_or(&[], |blocks| &blocks[..])
    }
}

/// The walk over what is left of a tree.
struct Walk<'a> {
    core: &'a Core,
    owner: u64,
    seen: FxHashSet<u64>,
    cells: Vec<Cell>,
    /// A part could not be read.
    broken: bool,
}

impl Walk<'_> {
    fn visit(&mut self, block: u64, level: u32) {
        let mut bytes: Box<Bytes> = Box::new([0; BLOCK_LEN]);
        let core = self.core;
        let expected = Expected { owner: self.owner, block, level };
        let readable = core.geometry.is_data(block, 1)
            && self.seen.insert(block)
            && core.media.read(block * BLOCK, &mut bytes[..]).is_ok();
        if !readable {
            self.broken = true;
            return;
        }
        let sure = node::verify(&bytes, expected).is_ok();
        self.broken |= !sure;
        if !sure && node::verify_unsealed(&bytes, expected).is_err() {
            return;
        }
        let view = View(&bytes);
        for index in 0..view.count() {
            match level {
                0 => {
                    let (key, value) = (view.key(index), view.value(index).to_vec());
                    self.cells.push(Cell { key, value, sure });
                }
                _ => self.visit(view.child(index), level - 1),
            }
        }
    }
}

/// All cells of a tree that can be found, in the order of their keys. Of two with one key the
/// surer one stays.
pub(super) fn gather(
    repair: &Repair<'_>,
    leaves: &Leaves,
    owner: u64,
    root: TreeRoot,
) -> Vec<Cell> {
    let core = &*repair.core;
    let (seen, cells) = (FxHashSet::default(), Vec::new());
    let mut walk = Walk { core, owner, seen, cells, broken: root.is_empty() };
    if !root.is_empty() {
        walk.visit(root.block, root.height - 1);
    }
    if walk.broken {
        for block in leaves.of(repair, owner) {
            if !walk.seen.contains(block) {
                walk.visit(*block, 0);
            }
        }
    }
    let mut cells = walk.cells;
    cells.sort_by_key(|cell| (cell.key, !cell.sure));
    cells.dedup_by_key(|cell| cell.key);
    cells
}

/// Writes a tree of these cells; returns its root.
pub(super) fn build(
    core: &Core,
    owner: u64,
    cells: impl Iterator<Item = (u64, Vec<u8>)>,
) -> Result<TreeRoot> {
    let mut root = TreeRoot::EMPTY;
    let mut tx = Tx::shrinking(core);
    for (key, value) in cells {
        if tx.is_full() {
            tx.commit()?;
            tx = Tx::shrinking(core);
        }
        tree::insert(&mut tx, owner, &mut root, &mut 0, key, &value)?;
    }
    tx.commit()?;
    Ok(root)
}
