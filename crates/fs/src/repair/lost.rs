//! Blocks in use that nothing refers to: what they look like by their own marks.

use crate::check::{UsedBlocks, difference, marked};
use crate::core::Core;
use crate::layout::{BLOCK, BLOCK_LEN, INODE, INODES_PER_BLOCK};
use crate::node::{self, Bytes, Expected};
use crate::record::Raw;

/// What a block looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Nothing,
    /// A tree node that is whole and says that it lies here.
    Node {
        owner: u64,
        level: u32,
    },
    /// A block of inode records, with this number.
    Inodes {
        index: u64,
    },
}

impl Look {
    /// What the block `block` looks like, whose contents are `bytes`.
    pub fn at(bytes: &Bytes, block: u64) -> Look {
        if let Some((owner, level)) = node::marks(bytes, block)
            && node::verify(bytes, Expected { owner, block, level }).is_ok()
        {
            return Look::Node { owner, level };
        }
        let records = bytes.chunks_exact(INODE as usize).enumerate();
        let mut votes: Vec<u64> = records
            .filter_map(|(slot, record)| {
                let ino = Raw::number(record)?;
                (ino % INODES_PER_BLOCK == slot as u64).then_some(ino / INODES_PER_BLOCK)
            })
            .collect();
        votes.sort_unstable();
        // A damaged record may name another block; most must agree.
        match votes.get(votes.len() / 2) {
            Some(&index)
                if votes.iter().filter(|vote| **vote == index).count() * 2 > votes.len() =>
            {
                Look::Inodes { index }
            }
            _ => Look::Nothing,
        }
    }
}

/// Calls `each` for all blocks that are marked as used and that nothing refers to, and that look
/// like something.
pub(super) fn search(core: &Core, used: &UsedBlocks, each: &mut dyn FnMut(u64, Look)) {
    let mut bytes = [0; BLOCK_LEN];
    for group in 0..core.geometry.groups as usize {
        let Ok(bits) = marked(core, group) else { continue };
        for (first, len) in difference(&bits, &used.group(&core.geometry, group)) {
            let start = core.geometry.group_start(group) + first;
            for block in start..start + len {
                if core.media.read(block * BLOCK, &mut bytes).is_ok() {
                    match Look::at(&bytes, block) {
                        Look::Nothing => {}
                        look => each(block, look),
                    }
                }
            }
        }
    }
}
