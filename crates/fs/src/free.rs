//! Freeing inodes whose last name is gone.

use crate::canary::{Step, left_out};
use crate::error::{Result, What, corrupt};
use crate::inode::{Inode, State};
use crate::inodes::Shard;
use crate::map;
use crate::orphans;
use crate::record::{Body, Meta};
use crate::tx::Tx;
use crate::xattr;

/// True if an inode's blocks can be freed together with the removal of its last name.
pub(crate) fn is_light(meta: &Meta) -> bool {
    let body = match meta.body {
        Body::Extents { count, list } => {
            list[..count].iter().map(|run| run.len).sum::<u64>() <= crate::layout::GROUP
        }
        Body::Tree(root) => root.is_empty(),
        Body::Target(_) | Body::TargetBlock { .. } => true,
    };
    body && meta.xattrs.is_empty()
}

/// Frees all of a light inode in a transaction. Wants the inode's lock and the shard's; the
/// copy of the shard becomes the shard with the commit.
pub(crate) fn free_light(tx: &mut Tx<'_>, shard: &mut Shard, meta: &Meta) {
    match meta.body {
        Body::Extents { count, list } => {
            list[..count].iter().for_each(|run| tx.free(run.block, run.len));
        }
        Body::TargetBlock { block, .. } => tx.free(block, 1),
        Body::Tree(_) | Body::Target(_) => {}
    }
    shard.give(tx, meta);
    shard.put(tx);
}

impl Inode {
    /// Frees an orphan that nobody has open: its blocks and attributes in as many transactions
    /// as it takes, then the inode itself. A crash leaves the rest to the next opening.
    pub(crate) fn free_orphan(&self, state: &mut State) -> Result<()> {
        let core = &self.core;
        if state.meta.nlink != 0 {
            return corrupt(What::Inode, state.meta.at, "an inode with names is to be freed");
        }
        core.space.soft.release(&core.space, self.ino().0);
        if let Body::Extents { .. } | Body::Tree(_) = state.meta.body
            && self.kind() == crate::attributes::FileKind::File
        {
            if state.map.is_none() {
                state.map = Some(map::load(core, &state.meta)?);
            }
            self.cut_all(state, 0, crate::layout::MAX_PAGES)?;
        }
        while !state.meta.xattrs.is_empty() {
            self.update(state, Tx::shrinking(core), |tx, meta, _| xattr::free_some(tx, meta))?;
        }
        if !is_light(&state.meta) {
            return corrupt(What::Inode, state.meta.at, "a directory without names has entries");
        }
        if left_out(Step::OrphansLast) {
            drop((core.orphans.lock(), core.inodes.lock_any()));
        }
        let mut guard = core.inodes.lock_any();
        let mut shard = *guard;
        let mut orphans = core.orphans.lock();
        let mut root = *orphans;
        let mut tx = Tx::shrinking(core);
        free_light(&mut tx, &mut shard, &state.meta);
        orphans::remove(&mut tx, &mut root, self.ino().0)?;
        tx.commit()?;
        *orphans = root;
        self.set_freed();
        *guard = shard;
        Ok(())
    }
}
