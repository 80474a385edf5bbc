//! Orphans: inodes with work left that a crash must not lose. An inode without names that is
//! still open, or one whose blocks are being freed in several transactions.
//!
//! They are the keys of a tree whose root is in block 1. When a pool is opened, each orphan is
//! freed if it has no names, else cut to its size.

use zerocopy::FromZeros;

use crate::anchor::{ORPHANS_AT, RawOrphans};
use crate::core::Core;
use crate::error::{Result, What, corrupt};
use crate::layout::Geometry;
use crate::record::tree_root;
use crate::tree::{self, TreeRoot};
use crate::tx::Tx;
use limpid_pmem::Media;

/// Owner of the tree's nodes.
pub(crate) const OWNER: u64 = u64::MAX - 1;

/// Reads the root.
pub(crate) fn open(media: &dyn Media, geometry: &Geometry) -> Result<TreeRoot> {
    let raw = RawOrphans::read(media, ORPHANS_AT)?;
    let height = u8::try_from(raw.height.get()).unwrap_or(u8::MAX);
    match tree_root(raw.root.get(), height, geometry) {
        Some(root) => Ok(root),
        None => corrupt(What::Anchor, ORPHANS_AT, "an impossible tree"),
    }
}

/// Writes the root in a transaction.
pub(crate) fn put(tx: &mut Tx<'_>, root: TreeRoot) {
    let raw = RawOrphans {
        root: root.block.into(),
        height: root.height.into(),
        ..RawOrphans::new_zeroed()
    };
    tx.put(ORPHANS_AT, &raw.sealed());
}

/// Adds an inode. Wants the orphans' lock until the commit; `root` is copied back then.
pub(crate) fn add(tx: &mut Tx<'_>, root: &mut TreeRoot, ino: u64) -> Result<()> {
    tree::insert(tx, OWNER, root, &mut 0, ino, &[])?;
    put(tx, *root);
    Ok(())
}

/// Removes an inode. Locks as for [`add`].
pub(crate) fn remove(tx: &mut Tx<'_>, root: &mut TreeRoot, ino: u64) -> Result<()> {
    tree::remove(tx, OWNER, root, &mut 0, ino)?;
    put(tx, *root);
    Ok(())
}

/// All orphans.
pub(crate) fn list(core: &Core) -> Result<Vec<u64>> {
    let root = *core.orphans.lock();
    let mut all = Vec::new();
    tree::scan(core, OWNER, root, 0, |ino, _| {
        all.push(ino);
        Ok(true)
    })?;
    Ok(all)
}
