//! The roots: superblocks, the inode table, the orphans' tree.

use std::collections::BTreeMap;

use super::Repair;
use super::lost::{self, Look};
use super::salvage::{self, Leaves};
use crate::check::{PoolTree, Problem};
use crate::error::Result;
use crate::inodes::{self, Table};
use crate::layout::{BLOCK, BLOCK_LEN};
use crate::orphans;
use crate::tx::Tx;

impl Repair<'_> {
    pub(super) fn roots(&self) -> Result<()> {
        let (mut table, mut list) = (false, false);
        for problem in &self.problems {
            match problem {
                Problem::Tree { tree: PoolTree::InodeTable, .. } => table = true,
                Problem::Tree { tree: PoolTree::Orphans, .. } => list = true,
                Problem::Shared { .. } => (table, list) = (true, true),
                _ => {
                    let superblock = &self.core.superblock;
                    superblock.write_at(&*self.core.media, 0)?;
                    superblock.write_at(&*self.core.media, self.core.geometry.data_end * BLOCK)?;
                }
            }
        }
        if table {
            self.rebuild_table()?;
        }
        if list { self.rebuild_orphans() } else { Ok(()) }
    }

    /// Writes the inode table anew: from its own cells, and from inode blocks that look like it.
    fn rebuild_table(&self) -> Result<()> {
        let core = &*self.core;
        let old = core.inodes.table();
        let mut places: BTreeMap<u64, u64> = BTreeMap::new();
        for cell in salvage::gather(self, &Leaves::default(), inodes::OWNER, old.root) {
            let Ok((block, len)) = inodes::decode(cell.key, &cell.value, &core.geometry) else {
                continue;
            };
            for step in 0..len {
                let index = cell.key.saturating_add(step);
                if self.may_hold(block + step, index) {
                    places.entry(index).or_insert(block + step);
                }
            }
        }
        lost::search(core, &self.found.used, &mut |block, look| {
            if let Look::Inodes { index } = look {
                places.entry(index).or_insert(block);
            }
        });
        let mut runs: Vec<(u64, (u64, u64))> = Vec::new();
        for (index, block) in places {
            match runs.last_mut() {
                Some((first, (start, len))) if (*first + *len, *start + *len) == (index, block) => {
                    *len += 1;
                }
                _ => runs.push((index, (block, 1))),
            }
        }
        let end = runs.last().map_or(0, |(first, (_, len))| first + len);
        let cells = runs.iter().map(|(first, run)| (*first, inodes::encode(*run).to_vec()));
        let root = salvage::build(core, inodes::OWNER, cells)?;
        let mut tx = Tx::shrinking(core);
        inodes::put_table(&mut tx, Table { root, blocks: end });
        tx.commit()
    }

    /// True if a block can be the inode block with number `index`: it says so, or says nothing.
    fn may_hold(&self, block: u64, index: u64) -> bool {
        let mut bytes = [0; BLOCK_LEN];
        if self.core.media.read(block * BLOCK, &mut bytes).is_err() {
            return false;
        }
        let virgin = bytes.iter().all(|byte| *byte == 0);
        virgin || Look::at(&bytes, block) == Look::Inodes { index }
    }

    fn rebuild_orphans(&self) -> Result<()> {
        let core = &*self.core;
        let old = *core.orphans.lock();
        let cells = salvage::gather(self, &Leaves::default(), orphans::OWNER, old);
        let cells = cells.into_iter().map(|cell| (cell.key, Vec::new()));
        let root = salvage::build(core, orphans::OWNER, cells)?;
        let mut tx = Tx::shrinking(core);
        orphans::put(&mut tx, root);
        tx.commit()
    }
}
