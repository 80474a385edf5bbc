//! Collapse and insert: all later pages of a file move, atomically.
//!
//! The keys of the extents change, so their tree is written anew into fresh blocks, which nothing
//! refers to yet; one transaction then swaps the roots and frees the old nodes. It costs one node
//! per 130 extents. A file with more extents than one transaction can free the nodes of (some
//! hundred thousand) is refused with [`FsError::TooLarge`], and stays as it was.

use limpid_dax::{MAX_FILE_SIZE, PageRange};

use crate::alloc::Want;
use crate::attributes::Timespec;
use crate::change::STEP;
use crate::error::{FsError, Result};
use crate::extent::Run;
use crate::inode::{Inode, State};
use crate::layout::{BLOCK, MAX_PAGES};
use crate::map::{Map, most_extents};
use crate::node::{Expected, NodeBuf};
use crate::orphans;
use crate::record::{Body, INLINE_EXTENTS, Meta};
use crate::tree::{self, TreeRoot};
use crate::tx::Tx;

/// Runs in a collapsed range up to which they are freed in the transaction of the collapse.
const FREED_AT_ONCE: usize = 64;

/// How pages of a file move.
struct Move {
    /// Size of the file then.
    size: u64,
    /// Where runs are cut: what lies between goes another way than the rest.
    start: u64,
    end: u64,
    /// What lies between is freed.
    free: bool,
}

impl Inode {
    /// Frees `pages` and moves all later pages down, in one transaction: an error leaves the file
    /// as it was. If there is more to free than a record holds, the transaction moves it behind
    /// all else, past the end of the file, and lists the inode as an orphan; it is freed there
    /// afterwards, after a crash by the next opening.
    pub(crate) fn remove_pages(&self, pages: PageRange) -> Result<()> {
        self.core.writable()?;
        let mut state = self.write_mapped()?;
        let (start, end, len) = (pages.start.0, pages.end.0, pages.len());
        let map = state.map.as_ref().expect("it is loaded");
        let (count, blocks) = crate::map::runs_in(map, start, end)
            .fold((0, 0), |(count, blocks), run| (count + 1, blocks + run.len));
        let free = count <= FREED_AT_ONCE && blocks <= STEP;
        let behind = map.last_key_value().map_or(end, |(_, run)| run.end().max(end)) - len;
        let size = state.meta.size;
        let size = size - size.min(end * BLOCK).saturating_sub(start * BLOCK);
        let to = |page: u64| match page {
            page if page < start => page,
            page if page < end => behind + (page - start),
            page => page - len,
        };
        let mut orphans = (!free).then(|| self.core.orphans.lock());
        let mut root = orphans.as_deref().copied();
        let tx = Tx::shrinking(&self.core);
        self.shift(&mut state, tx, &Move { size, start, end, free }, to, |tx| match &mut root {
            Some(root) => orphans::add(tx, root, self.ino().0),
            None => Ok(()),
        })?;
        if let (Some(mut orphans), Some(root)) = (orphans.take(), root) {
            *orphans = root;
            drop(orphans);
            self.cut_all(&mut state, behind, MAX_PAGES)?;
            self.unlist(&state)?;
        }
        Ok(())
    }

    /// Moves all pages from `pages.start` on up, leaving a hole.
    pub(crate) fn insert_pages(&self, pages: PageRange) -> Result<()> {
        self.core.writable()?;
        let mut state = self.write_mapped()?;
        let (start, len) = (pages.start.0, pages.len());
        let map = state.map.as_ref().expect("it is loaded");
        let end = map.last_key_value().map_or(0, |(_, run)| run.end());
        let size = len.checked_mul(BLOCK).and_then(|more| state.meta.size.checked_add(more));
        let Some(size) = size.filter(|size| *size <= MAX_FILE_SIZE) else {
            return Err(FsError::TooLarge);
        };
        if end > start && end + len > MAX_PAGES {
            return Err(FsError::TooLarge);
        }
        let plan = Move { size, start, end: start, free: false };
        let to = |page: u64| if page < start { page } else { page + len };
        self.shift(&mut state, Tx::new(&self.core), &plan, to, |_| Ok(()))
    }

    /// Gives each run the page that `to` says, in one transaction, with what `also` adds to it. The
    /// map is loaded.
    fn shift(
        &self,
        state: &mut State,
        tx: Tx<'_>,
        plan: &Move,
        to: impl Fn(u64) -> u64,
        also: impl FnOnce(&mut Tx<'_>) -> Result<()>,
    ) -> Result<()> {
        self.core.space.soft.release(&self.core.space, self.ino().0);
        self.update(state, tx, |tx, meta, map| {
            let map = map.expect("it is loaded");
            if plan.free {
                // The old tree still holds it, but is replaced as a whole below.
                forget(tx, meta, map, (plan.start, plan.end));
            }
            let mut moved: Vec<Run> = Vec::with_capacity(map.len() + 2);
            for run in map.values() {
                let cuts = [plan.start, plan.end].map(|at| at.clamp(run.page, run.end()));
                let parts = [(run.page, cuts[0]), (cuts[0], cuts[1]), (cuts[1], run.end())];
                for (first, end) in parts.into_iter().filter(|(first, end)| first < end) {
                    moved.push(Run { page: to(first), ..run.clip(first, end) });
                }
            }
            moved.sort_unstable_by_key(|run| run.page);
            moved.dedup_by(|next, last| {
                let joins = last.joins(next);
                last.len += if joins { next.len } else { 0 };
                joins
            });
            rebuild(tx, meta, &moved)?;
            *map = moved.into_iter().map(|run| (run.page, run)).collect();
            meta.size = plan.size;
            meta.mtime = Timespec::now();
            meta.ctime = meta.mtime;
            also(tx)
        })
    }
}

/// Frees the blocks of a range in the transaction and the map, not in the tree.
fn forget(tx: &mut Tx<'_>, meta: &mut Meta, map: &mut Map, (start, end): (u64, u64)) {
    let inside: Vec<Run> = crate::map::runs_in(map, start, end).collect();
    for run in inside {
        tx.free(run.block, run.len);
        meta.add_blocks(-(run.len as i64));
        let whole = crate::map::find(map, run.page).expect("the run is in the map");
        map.remove(&whole.page);
        for rest in [(whole.page, run.page), (run.end(), whole.end())] {
            if rest.0 < rest.1 {
                map.insert(rest.0, whole.clip(rest.0, rest.1));
            }
        }
    }
}

/// Replaces the body of a record by one that holds `runs`.
fn rebuild(tx: &mut Tx<'_>, meta: &mut Meta, runs: &[Run]) -> Result<()> {
    if let Body::Tree(root) = meta.body {
        let mut blocks = Vec::new();
        tree::nodes(tx, meta.ino, root, &mut |block, _| {
            blocks.push(block);
            Ok(())
        })?;
        meta.add_blocks(-(blocks.len() as i64));
        blocks.into_iter().for_each(|block| tx.free_node(block));
    }
    if most_extents(runs.iter()) <= INLINE_EXTENTS as u64 {
        let mut list = [Run::EMPTY; INLINE_EXTENTS];
        list[..runs.len()].copy_from_slice(runs);
        meta.body = Body::Extents { count: runs.len(), list };
        return Ok(());
    }
    let mut cells: Vec<(u64, Vec<u8>)> =
        runs.iter().map(|run| (run.page, run.value().to_vec())).collect();
    let mut level = 0;
    loop {
        let mut parents = Vec::new();
        let mut at = 0;
        while at < cells.len() {
            let (block, _) = tx.allocate(Want::Blocks(1), None)?;
            let mut node = NodeBuf::new(Expected { owner: meta.ino, block, level });
            let first = if at == 0 { 0 } else { cells[at].0 };
            while at < cells.len() && node.has_room(cells[at].1.len()) {
                node.put(cells[at].0, &cells[at].1);
                at += 1;
            }
            node.seal();
            tx.write_fresh(block, &node.bytes[..])?;
            meta.add_blocks(1);
            parents.push((first, block.to_le_bytes().to_vec()));
        }
        level += 1;
        if let [(_, block)] = &parents[..] {
            let block = u64::from_le_bytes(block[..].try_into().expect("8 bytes"));
            meta.body = Body::Tree(TreeRoot { block, height: level });
            return Ok(());
        }
        cells = parents;
    }
}
