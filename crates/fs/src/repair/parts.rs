//! What inodes hold: extents, names, link targets, attributes; and blocks that two of them claim.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;
use zerocopy::IntoBytes;

use super::Repair;
use super::salvage::{self, Leaves};
use crate::alloc::Want;
use crate::attributes::{FileKind, Ino};
use crate::check::{Part, Problem};
use crate::dir;
use crate::error::{FsError, Result};
use crate::extent::Run;
use crate::layout::{BLOCK, BLOCK_LEN};
use crate::record::{Body, INLINE_EXTENTS, Meta, Raw};
use crate::tx::Tx;
use crate::xattr::{self, Xattr};
use limpid_pmem::Persist;

/// Blocks that one repair copies at most: they are kept in memory until all is durable.
const MAX_COPIES: u64 = 1 << 16;

/// Blocks that belong to something else, and for extents the first page they are claimed for.
pub(super) struct Shared {
    page: u64,
    block: u64,
    len: u64,
}

/// Broken parts by inode, each with what it shares.
type Work = BTreeMap<(u64, u8), (Part, Vec<Shared>)>;

impl Repair<'_> {
    pub(super) fn parts(&self) -> Result<()> {
        let leaves = Leaves::default();
        let mut work = Work::new();
        for problem in &self.problems {
            let (ino, part, shared) = match **problem {
                Problem::Inode { ino, part, .. } => (ino, part, None),
                Problem::Shared { ino: Some(ino), part, page, block, len } => {
                    (ino, part, Some(Shared { page, block, len }))
                }
                _ => continue,
            };
            let entry = work.entry((ino.0, part as u8)).or_insert((part, Vec::new()));
            entry.1.extend(shared);
        }
        // Of what others claim with better reason a doubtful file keeps nothing.
        let doubtful: FxHashSet<u64> = self
            .found
            .problems
            .iter()
            .filter_map(|problem| match problem {
                Problem::PastEnd { ino, .. } | Problem::Blocks { ino, .. } => Some(ino.0),
                _ => None,
            })
            .collect();
        let copies: u64 = work
            .iter()
            .filter(|((ino, _), _)| !doubtful.contains(ino))
            .flat_map(|(_, (_, shared))| shared.iter().map(|shared| shared.len))
            .sum();
        if copies > MAX_COPIES {
            return Err(FsError::NoSpace);
        }
        for ((ino, _), (part, shared)) in work {
            match part {
                Part::Record => {}
                Part::Extents => {
                    self.rebuild_extents(&leaves, ino, &shared, !doubtful.contains(&ino))?;
                }
                Part::Names => self.rebuild_names(&leaves, ino)?,
                Part::Target => self.rewrite_target(ino)?,
                Part::Attributes => self.rebuild_attributes(&leaves, ino, &shared)?,
            }
        }
        Ok(())
    }

    /// Writes the names of a directory anew: a name counts if its key belongs to it.
    pub(super) fn rebuild_names(&self, leaves: &Leaves, ino: u64) -> Result<()> {
        let core = &*self.core;
        let mut meta = core.inodes.load(core, ino)?;
        let Body::Tree(old) = meta.body else { return Ok(()) };
        let cells = salvage::gather(self, leaves, ino, old);
        let good = cells.into_iter().filter(|cell| {
            let entry = dir::decode(&meta, cell.key, &cell.value);
            entry.is_ok_and(|(_, _, name)| {
                dir::check_name(name).is_ok() && dir::bucket(core, name) == cell.key & !0xff
            })
        });
        let root = salvage::build(core, ino, good.map(|cell| (cell.key, cell.value)))?;
        meta.body = Body::Tree(root);
        self.put(&meta)
    }

    /// Writes the extents of a file anew, with copies of the blocks in `shared`, or without them.
    pub(super) fn rebuild_extents(
        &self,
        leaves: &Leaves,
        ino: u64,
        shared: &[Shared],
        copy: bool,
    ) -> Result<()> {
        let core = &*self.core;
        let meta = core.inodes.load(core, ino)?;
        let mut runs = match meta.body {
            Body::Extents { count, list } => list[..count].to_vec(),
            Body::Tree(root) => self.runs(salvage::gather(self, leaves, ino, root)),
            _ => return Ok(()),
        };
        if !shared.is_empty() {
            runs = self.without_shared(runs, shared, copy)?;
        }
        self.put_runs(meta, runs)
    }

    /// The extents among cells that can be believed: they do not overlap, and those of a node
    /// without checksum lie in blocks that nobody else uses.
    fn runs(&self, cells: Vec<salvage::Cell>) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for cell in cells {
            let Ok(run) = Run::decode(cell.key, &cell.value, &self.core.geometry) else {
                continue;
            };
            let after = runs.last().is_none_or(|last| last.end() <= run.page);
            if after && (cell.sure || self.is_unclaimed(run.block, run.len)) {
                runs.push(run);
            }
        }
        runs
    }

    /// The runs with fresh copies of what is shared, or with holes there.
    fn without_shared(&self, runs: Vec<Run>, shared: &[Shared], copy: bool) -> Result<Vec<Run>> {
        let shared: BTreeMap<u64, (u64, u64)> =
            shared.iter().map(|one| (one.page, (one.block, one.len))).collect();
        let mut all: Vec<Run> = Vec::new();
        for run in runs {
            let mut at = run.page;
            for (page, (block, len)) in shared.range(run.page..run.end()) {
                if run.block + (page - run.page) != *block {
                    continue;
                }
                let end = (page + len).min(run.end());
                if at < *page {
                    all.push(run.clip(at, *page));
                }
                at = *page;
                while copy && at < end {
                    let copy = self.copy(run.clip(at, end))?;
                    at = copy.end();
                    all.push(copy);
                }
                at = end;
            }
            if at < run.end() {
                all.push(run.clip(at, run.end()));
            }
        }
        let mut joined: Vec<Run> = Vec::new();
        for run in all {
            match joined.last_mut() {
                Some(last) if last.joins(&run) => last.len += run.len,
                _ => joined.push(run),
            }
        }
        Ok(joined)
    }

    /// Copies the beginning of a run to fresh blocks.
    fn copy(&self, run: Run) -> Result<Run> {
        let core = &*self.core;
        let mut tx = Tx::shrinking(core);
        let (block, len) = tx.allocate(Want::Blocks(run.len.min(256)), None)?;
        core.media.copy(run.block * BLOCK, block * BLOCK, len * BLOCK, Persist::No)?;
        tx.commit()?;
        Ok(Run { block, len, ..run })
    }

    /// Makes these runs the extents of a file.
    fn put_runs(&self, mut meta: Meta, runs: Vec<Run>) -> Result<()> {
        meta.body = if runs.len() <= INLINE_EXTENTS {
            let mut list = [Run::EMPTY; INLINE_EXTENTS];
            list[..runs.len()].copy_from_slice(&runs);
            Body::Extents { count: runs.len(), list }
        } else {
            let cells = runs.iter().map(|run| (run.page, run.value().to_vec()));
            Body::Tree(salvage::build(&self.core, meta.ino, cells)?)
        };
        self.put(&meta)
    }

    /// A link's target in a block of its own again. One that cannot be a target is given up.
    fn rewrite_target(&self, ino: u64) -> Result<()> {
        let core = &*self.core;
        let mut meta = core.inodes.load(core, ino)?;
        let Body::TargetBlock { block, .. } = meta.body else { return Ok(()) };
        let mut bytes = [0; BLOCK_LEN];
        let target = &mut bytes[..meta.size as usize];
        core.media.read(block * BLOCK, target)?;
        if target.is_empty() || target.contains(&0) {
            let free = Raw::free(ino, meta.generation, 0);
            return Ok(core.media.write(meta.at, free.as_bytes(), Persist::No)?);
        }
        let crc = crc32c::crc32c(target);
        let mut tx = Tx::shrinking(core);
        let (block, _) = tx.allocate(Want::Blocks(1), None)?;
        tx.write_fresh(block, &bytes)?;
        tx.commit()?;
        meta.body = Body::TargetBlock { block, crc };
        self.put(&meta)
    }

    /// Writes the attributes of an inode anew: one counts if its key belongs to its name and its
    /// value is whole.
    fn rebuild_attributes(&self, leaves: &Leaves, ino: u64, shared: &[Shared]) -> Result<()> {
        let core = &*self.core;
        let mut meta = core.inodes.load(core, ino)?;
        let foreign: FxHashSet<u64> =
            shared.iter().flat_map(|shared| shared.block..shared.block + shared.len).collect();
        let (mut good, mut taken) = (Vec::new(), FxHashSet::default());
        for cell in salvage::gather(self, leaves, xattr::owner(&meta), meta.xattrs) {
            let Ok(xattr) = Xattr::decode(&cell.value, meta.at, &core.geometry) else { continue };
            let whole = xattr.value(core, meta.at).is_ok();
            if !whole || dir::bucket(core, xattr.name) != cell.key & !0xff {
                continue;
            }
            let mut value = cell.value.clone();
            let mut again = |block: &u64| !taken.insert(*block);
            let own = !xattr.blocks().iter().any(|block| foreign.contains(block) | again(block));
            if !own {
                let list = value.len() - xattr.blocks().len() * 8;
                for (place, block) in value[list..].chunks_exact_mut(8).zip(xattr.blocks()) {
                    let run = Run { page: 0, len: 1, block: *block, unwritten: false };
                    place.copy_from_slice(&self.copy(run)?.block.to_le_bytes());
                }
            }
            good.push((cell.key, value));
        }
        meta.xattrs = salvage::build(core, xattr::owner(&meta), good.into_iter())?;
        self.put(&meta)
    }

    /// Block counts and sizes as they were found.
    pub(super) fn counts(&self) -> Result<()> {
        for problem in &self.problems {
            match **problem {
                Problem::Blocks { ino: Ino(ino), found, .. } => {
                    let meta = self.core.inodes.load(&self.core, ino)?;
                    self.put(&Meta { blocks: found, ..meta })?;
                }
                Problem::PastEnd { ino: Ino(ino), size } => {
                    let meta = self.core.inodes.load(&self.core, ino)?;
                    let size = size.min(limpid_dax::MAX_FILE_SIZE);
                    debug_assert_eq!(meta.kind, FileKind::File);
                    self.put(&Meta { size, ..meta })?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
