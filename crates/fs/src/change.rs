//! Operations on the block map that free blocks or give blocks to holes.

use limpid_dax::{MAX_FILE_SIZE, PageRange};
use limpid_pmem::Persist;

use crate::attributes::Timespec;
use crate::error::{FsError, Result};
use crate::extent::Run;
use crate::inode::{Inode, State};
use crate::iomap::Hole;
use crate::layout::{BLOCK, GROUP, MAX_PAGES};
use crate::map::{self, Map};
use crate::orphans;
use crate::pieces::Pieces;
use crate::record::Meta;
use crate::tx::Tx;

/// Most blocks of one run that are freed in one step: as many groups as fit into a record with
/// everything else.
pub(crate) const STEP: u64 = 32 * GROUP;

impl Inode {
    /// Changes the size. Blocks wholly past the end are freed, unless the file grows; if they are
    /// so many that it takes several transactions, the first notes the inode as an orphan, so that
    /// a crash in between only delays the rest to the next opening.
    pub(crate) fn resize(&self, size: u64) -> Result<()> {
        if size > MAX_FILE_SIZE {
            return Err(FsError::TooLarge);
        }
        self.core.writable()?;
        let mut state = self.write_mapped()?;
        let last = state.map.as_ref().and_then(|map| map.last_key_value());
        let past = last.is_some_and(|(_, run)| run.end() > size.div_ceil(BLOCK));
        if size < state.meta.size || (size == state.meta.size && past) {
            self.core.space.soft.release(&self.core.space, self.ino().0);
            return self.cut_to(&mut state, size);
        }
        self.update(&mut state, Tx::shrinking(&self.core), |_, meta, _| {
            meta.size = size;
            changed_now(meta);
            Ok(())
        })
    }

    /// Sets the size and frees all blocks past it. The map is loaded.
    pub(crate) fn cut_to(&self, state: &mut State, size: u64) -> Result<()> {
        let keep = size.div_ceil(BLOCK);
        // Only who does not finish at once takes the orphans' lock.
        let mut orphans = None;
        let done = self.update(state, Tx::shrinking(&self.core), |tx, meta, map| {
            meta.size = size;
            changed_now(meta);
            let done = cut(tx, meta, map.expect("it is loaded"), keep, MAX_PAGES)?;
            if !done {
                let guard = self.core.orphans.lock();
                let mut root = *guard;
                orphans::add(tx, &mut root, self.ino().0)?;
                orphans = Some((guard, root));
            }
            Ok(done)
        })?;
        if let Some((mut guard, root)) = orphans {
            *guard = root;
        }
        if done { Ok(()) } else { self.finish_cut(state) }
    }

    /// Frees all blocks past the size, and takes the inode off the list of orphans if it has
    /// names.
    pub(crate) fn finish_cut(&self, state: &mut State) -> Result<()> {
        let keep = state.meta.size.div_ceil(BLOCK);
        self.cut_all(state, keep, MAX_PAGES)?;
        self.unlist(state)
    }

    /// Takes the inode off the list of orphans, if it has names.
    pub(crate) fn unlist(&self, state: &State) -> Result<()> {
        if state.meta.nlink == 0 {
            return Ok(());
        }
        let mut orphans = self.core.orphans.lock();
        let mut root = *orphans;
        let mut tx = Tx::shrinking(&self.core);
        orphans::remove(&mut tx, &mut root, self.ino().0)?;
        tx.commit()?;
        *orphans = root;
        Ok(())
    }

    /// Frees the blocks of `start..end`, in as many transactions as it takes. The map is loaded.
    pub(crate) fn cut_all(&self, state: &mut State, start: u64, end: u64) -> Result<()> {
        loop {
            let done = self.update(state, Tx::shrinking(&self.core), |tx, meta, map| {
                changed_now(meta);
                cut(tx, meta, map.expect("it is loaded"), start, end)
            })?;
            if done {
                return Ok(());
            }
        }
    }

    /// Makes pages a hole.
    pub(crate) fn free_pages(&self, pages: PageRange) -> Result<()> {
        self.core.writable()?;
        let mut state = self.write_mapped()?;
        self.cut_all(&mut state, pages.start.0, pages.end.0)
    }

    /// Gives unwritten blocks to the holes in `pages`; with `convert` everything in `pages`
    /// becomes unwritten. All blocks are reserved before anything is changed.
    ///
    /// If there is no room for the nodes in the end, the first holes may have got blocks, which
    /// read as zeroes. What is to become unwritten is zeroed in place where there is none.
    pub(crate) fn fill(&self, pages: PageRange, size: Option<u64>, convert: bool) -> Result<()> {
        if pages.end.0 > MAX_PAGES || size.is_some_and(|size| size > MAX_FILE_SIZE) {
            return Err(FsError::TooLarge);
        }
        self.core.writable()?;
        let mut state = self.write_mapped()?;
        let mut pieces = Pieces::new(self);
        self.fill_holes(&mut pieces, state.map.as_ref().expect("it is loaded"), pages)?;
        if !convert {
            return pieces.commit(&mut state, size, false);
        }
        if !pieces.is_empty() {
            pieces.commit(&mut state, None, false)?;
            pieces = Pieces::new(self);
        }
        let map = state.map.as_ref().expect("the commit left it");
        let written = map::runs_in(map, pages.start.0, pages.end.0).filter(|run| !run.unwritten);
        let written: Vec<Run> = written.collect();
        for run in &written {
            pieces.push(Run { unwritten: true, ..*run }, false);
        }
        match pieces.commit(&mut state, size, false) {
            Err(FsError::NoSpace) => self.zero_written(&mut state, &written, size),
            done => done,
        }
    }

    /// Reserves blocks for the holes in `pages`.
    fn fill_holes(&self, pieces: &mut Pieces<'_>, map: &Map, pages: PageRange) -> Result<()> {
        let holes = map::holes_in(map, pages.start.0, pages.end.0);
        if holes.iter().map(|(_, len)| len).sum::<u64>() > self.core.space.available() {
            return Err(FsError::NoSpace);
        }
        for (start, len) in holes {
            let before = map.range(..start).next_back().map(|(_, run)| *run);
            let mut goal = before.filter(|run| run.end() == start).map(|run| run.block + run.len);
            let last = map.range(start..).next().is_none();
            let (mut page, end) = (start, start + len);
            while page < end {
                let hole = Hole { page, len: end - page, goal, last };
                let (block, len) = self.place(hole)?;
                pieces.push(Run { page, len, block, unwritten: true }, true);
                page += len;
                goal = Some(block + len);
            }
        }
        Ok(())
    }

    /// Zeroes blocks of the file in place, which no map shows (the DAX layer sees to that). The
    /// file becomes at least `size` bytes long.
    fn zero_written(&self, state: &mut State, runs: &[Run], size: Option<u64>) -> Result<()> {
        for run in runs {
            let bytes = run.block * BLOCK..(run.block + run.len) * BLOCK;
            self.core.media.zero(bytes, Persist::Yes)?;
        }
        let mut tx = Tx::shrinking(&self.core);
        tx.fence_first();
        self.update(state, tx, |_, meta, _| {
            meta.size = meta.size.max(size.unwrap_or(0));
            changed_now(meta);
            Ok(())
        })
    }
}

/// Frees blocks of `start..end`, from the end on, until all are freed (true) or the transaction is
/// full (false).
pub(crate) fn cut(
    tx: &mut Tx<'_>,
    meta: &mut Meta,
    map: &mut Map,
    start: u64,
    end: u64,
) -> Result<bool> {
    if start >= end {
        return Ok(true);
    }
    loop {
        let last = map.range(..end).next_back().map(|(_, run)| *run);
        let Some(run) = last.filter(|run| run.end() > start) else {
            return Ok(true);
        };
        if tx.is_full() {
            return Ok(false);
        }
        let run = run.clip(start, end);
        let run = run.clip(run.end().saturating_sub(STEP), run.end());
        tx.free(run.block, run.len);
        meta.add_blocks(-(run.len as i64));
        map::edit(tx, meta, map, (run.page, run.end()), &[])?;
    }
}

fn changed_now(meta: &mut Meta) {
    meta.mtime = Timespec::now();
    meta.ctime = meta.mtime;
}
