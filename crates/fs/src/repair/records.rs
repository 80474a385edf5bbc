//! Inode records that cannot be read.

use limpid_pmem::Persist;
use zerocopy::{FromZeros, IntoBytes};

use super::Repair;
use super::salvage::{self, Leaves};
use crate::attributes::{FileKind, Ino};
use crate::check::{Part, Problem, marked};
use crate::dir;
use crate::error::Result;
use crate::extent::Run;
use crate::fs::ROOT;
use crate::layout::by_group;
use crate::record::{Body, INLINE_EXTENTS, Meta, Raw, Slot};
use crate::tree::TreeRoot;

impl Repair<'_> {
    pub(super) fn records(&self) -> Result<()> {
        let leaves = Leaves::default();
        for problem in &self.problems {
            match problem {
                Problem::Inode { ino: Ino(ino), part: Part::Record, .. } => {
                    self.record(&leaves, *ino)?;
                }
                Problem::Unreachable(Ino(ROOT)) => self.make_root()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes a record in place.
    pub(super) fn put(&self, meta: &Meta) -> Result<()> {
        Ok(self.core.media.write(meta.at, meta.encode().as_bytes(), Persist::No)?)
    }

    /// Makes the best of a broken record: what it says, if that is possible but for the checksum;
    /// a directory or file whose tree is found elsewhere; else a free record.
    fn record(&self, leaves: &Leaves, ino: u64) -> Result<()> {
        let core = &*self.core;
        let at = core.inodes.record_at(core, ino)?;
        let mut raw = Raw::new_zeroed();
        core.media.read(at, raw.as_mut_bytes())?;
        let meta = match raw.salvage(ino, at, &core.geometry) {
            Some(Slot::Used(meta)) => Some(self.without_foreign_blocks(meta)),
            Some(Slot::Free { .. } | Slot::Virgin) if ino != ROOT => {
                let free = Raw::free(ino, raw.generation(), 0);
                return Ok(core.media.write(at, free.as_bytes(), Persist::No)?);
            }
            _ => None,
        };
        let known = meta.filter(|meta| ino != ROOT || meta.kind == FileKind::Directory);
        let meta = match known {
            Some(meta) => meta,
            None if ino == ROOT => return self.make_root(),
            None => match self.kind_of_tree(leaves, ino) {
                Some(kind) => Meta::nameless(ino, at, kind),
                None => {
                    let free = Raw::free(ino, raw.generation(), 0);
                    return Ok(core.media.write(at, free.as_bytes(), Persist::No)?);
                }
            },
        };
        self.put(&meta)?;
        match (meta.body, meta.kind) {
            (Body::Tree(root), kind) if root.is_empty() => match kind {
                FileKind::Directory => self.rebuild_names(leaves, ino),
                _ => self.rebuild_extents(leaves, ino, &[], true),
            },
            _ => Ok(()),
        }
    }

    /// The root's record anew. Its names are found by the next round, which meets an empty tree.
    fn make_root(&self) -> Result<()> {
        let at = self.core.inodes.record_at(&self.core, ROOT)?;
        let mut meta = Meta::nameless(ROOT, at, FileKind::Directory);
        (meta.nlink, meta.link, meta.mode) = (2, ROOT, 0o755);
        self.put(&meta)?;
        self.rebuild_names(&Leaves::default(), ROOT)
    }

    /// Leaves out the extents of an unsure record that belong to something else or to nobody.
    fn without_foreign_blocks(&self, mut meta: Meta) -> Meta {
        if let Body::Extents { count, list } = meta.body {
            let mine = list[..count].iter().filter(|run| self.is_unclaimed(run.block, run.len));
            let mut kept = [Run::EMPTY; INLINE_EXTENTS];
            let mut count = 0;
            for run in mine {
                kept[count] = *run;
                count += 1;
            }
            meta.body = Body::Extents { count, list: kept };
        }
        meta
    }

    /// True if blocks are marked as used, and nothing that can be read uses them.
    pub(super) fn is_unclaimed(&self, block: u64, len: u64) -> bool {
        let geometry = &self.core.geometry;
        self.found.used.is_free(geometry, block, len)
            && by_group(geometry, block, len).all(|(group, first, len)| {
                marked(&self.core, group).is_ok_and(|bits| bits.all(first, len, true))
            })
    }

    /// What an inode was, by the leaves of its tree that are found.
    fn kind_of_tree(&self, leaves: &Leaves, ino: u64) -> Option<FileKind> {
        let cells = salvage::gather(self, leaves, ino, TreeRoot::EMPTY);
        let meta = Meta::nameless(ino, 0, FileKind::Directory);
        let named = cells.iter().any(|cell| dir::decode(&meta, cell.key, &cell.value).is_ok());
        let mapped = cells
            .iter()
            .any(|cell| Run::decode(cell.key, &cell.value, &self.core.geometry).is_ok());
        match (named, mapped) {
            (true, _) => Some(FileKind::Directory),
            (_, true) => Some(FileKind::File),
            _ => None,
        }
    }
}
