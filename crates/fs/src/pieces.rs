//! The runs that one operation adds to a file, and the transactions that add them.

use limpid_dax::{Backing, Extent};
use smallvec::SmallVec;

use crate::attributes::Timespec;
use crate::canary::{Step, left_out};
use crate::error::Result;
use crate::extent::Run;
use crate::inode::{Inode, State};
use crate::iomap::LARGE_PAGES;
use crate::layout::BLOCK;
use crate::map::{self, Map};
use crate::tx::Tx;

/// Runs that one operation adds to a file's map; true beside those whose blocks are fresh. Fresh
/// blocks that did not get into a transaction are given back when this is dropped.
pub(crate) struct Pieces<'a> {
    inode: &'a Inode,
    list: SmallVec<[(Run, bool); 4]>,
    /// How many belong to a transaction.
    done: usize,
}

impl<'a> Pieces<'a> {
    pub fn new(inode: &'a Inode) -> Pieces<'a> {
        Pieces { inode, list: SmallVec::new(), done: 0 }
    }

    /// Adds a run; its blocks are reserved for it if they are `fresh`.
    pub fn push(&mut self, run: Run, fresh: bool) {
        self.list.push((run, fresh));
    }

    /// True if no run was added.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All runs.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.list.iter().map(|(run, _)| run)
    }

    /// Takes the pages that are still what they were; the others are lost, and their fresh
    /// blocks given back. True if any were lost.
    pub fn collect(&mut self, map: &Map, extents: &[Extent]) -> bool {
        let mut lost = false;
        for extent in extents {
            let (start, end) = (extent.pages.start.0, extent.pages.end.0);
            let block = |page: u64| extent.device / BLOCK + (page - start);
            match extent.backing {
                // No blocks are shared yet, so `begin` answers neither of the last two.
                Backing::Hole | Backing::Mapped => {}
                Backing::Shared | Backing::Copy { .. } => {}
                Backing::New if map::find(map, start).is_err_and(|next| next >= end) => {
                    let (len, block) = (end - start, block(start));
                    self.list.push((Run { page: start, len, block, unwritten: false }, true));
                }
                Backing::New => {
                    for run in map::runs_in(map, start, end) {
                        lost = true;
                        self.inode.core.space.release(block(run.page), run.len);
                    }
                    for (page, len) in map::holes_in(map, start, end) {
                        let run = Run { page, len, block: block(page), unwritten: false };
                        self.list.push((run, true));
                    }
                }
                Backing::Unwritten => {
                    let mut kept = 0;
                    for run in map::runs_in(map, start, end) {
                        if run.unwritten && run.block == block(run.page) {
                            kept += run.len;
                            self.list.push((Run { unwritten: false, ..run }, false));
                        }
                    }
                    lost |= kept < end - start;
                }
            }
        }
        lost
    }

    /// Gives up what lies from `page` on: blocks with data must not lie past the end of the file.
    pub fn give_up_from(&mut self, page: u64) {
        let space = &self.inode.core.space;
        self.list.retain(|(run, fresh)| {
            if run.end() > page {
                let past = run.clip(page, run.end());
                if *fresh {
                    space.release(past.block, past.len);
                }
                run.len -= past.len;
            }
            run.len > 0
        });
    }

    /// Adds the runs to the map, in one transaction unless they are so many that the journal
    /// cannot hold them; then a crash between two leaves the first part, as after a shorter
    /// operation. The file becomes at least `size` bytes long: with the last part, or, if
    /// `stepwise`, each time as far as the parts reach.
    pub fn commit(&mut self, state: &mut State, size: Option<u64>, stepwise: bool) -> Result<()> {
        if left_out(Step::SizeWithData) {
            self.inode.update(state, Tx::new(&self.inode.core), |_, meta, _| {
                meta.size = meta.size.max(size.unwrap_or(0));
                Ok(())
            })?;
        }
        // Blocks that the file has are promised room in its map, those that were just reserved for
        // it included: what is kept suffices for an extent for each block (`space.rs`). To make
        // them unwritten again is promised to nobody.
        let promised = !self.list.iter().any(|(run, fresh)| run.unwritten && !fresh);
        loop {
            let core = &self.inode.core;
            let mut tx = if promised { Tx::promised(core) } else { Tx::new(core) };
            // Bytes written by the caller have to be durable before the commit.
            tx.fence_first();
            self.inode.update(state, tx, |tx, meta, map| {
                let map = map.expect("it is loaded");
                while let Some((run, fresh)) = self.list.get(self.done).copied() {
                    if tx.is_full() {
                        break;
                    }
                    self.done += 1;
                    if fresh {
                        tx.adopt(run.block, run.len);
                        meta.add_blocks(run.len as i64);
                    }
                    map::edit(tx, meta, map, (run.page, run.end()), &[run])?;
                    if fresh && run.len == 1 && run.page >= LARGE_PAGES {
                        tx.warm(run.block + 1);
                    }
                }
                let mut reached = size;
                if let Some((next, _)) = self.list.get(self.done) {
                    reached = size.filter(|_| stepwise).map(|size| size.min(next.page * BLOCK));
                }
                meta.size = meta.size.max(reached.unwrap_or(0));
                meta.mtime = Timespec::now();
                meta.ctime = meta.mtime;
                Ok(())
            })?;
            if self.done == self.list.len() {
                return Ok(());
            }
        }
    }
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        for (run, fresh) in &self.list[self.done..] {
            if *fresh {
                self.inode.core.space.release(run.block, run.len);
            }
        }
    }
}
