//! Free inodes, orphans and counts: all of it follows from the records.

use limpid_pmem::Persist;
use zerocopy::{FromZeros, IntoBytes};

use super::Repair;
use crate::anchor::{RawShard, shard_at};
use crate::attributes::Ino;
use crate::check::{Problem, State};
use crate::error::Result;
use crate::orphans;
use crate::record::{Raw, Slot};
use crate::tx::Tx;

impl Repair<'_> {
    pub(super) fn lists(&self) -> Result<()> {
        let mut free = false;
        for problem in &self.problems {
            match problem {
                Problem::FalseOrphan(Ino(ino)) => {
                    let mut root = self.core.orphans.lock();
                    let mut tx = Tx::shrinking(&self.core);
                    orphans::remove(&mut tx, &mut root, *ino)?;
                    tx.commit()?;
                }
                _ => free = true,
            }
        }
        if free { self.free_inodes() } else { Ok(()) }
    }

    /// One list of all free records, in the first shard. A shard keeps its range of unused
    /// records if nothing is wrong with it; other unused records become free ones.
    fn free_inodes(&self) -> Result<()> {
        let core = &*self.core;
        let inodes = &self.found.inodes;
        let mut ranges: Vec<std::ops::Range<u64>> = Vec::new();
        for (_, fresh) in core.inodes.free_lists() {
            let virgin = |ino: u64| ino == 0 || inodes.state(ino) == Some(State::Virgin);
            let alone =
                |other: &std::ops::Range<u64>| other.end <= fresh.start || fresh.end <= other.start;
            let good = fresh.clone().all(virgin) && ranges.iter().all(alone);
            ranges.push(if good { fresh } else { 0..0 });
        }
        let (mut next, mut live) = (0, 0u64);
        for (ino, state) in inodes.all() {
            let fresh = ranges.iter().any(|range| range.contains(&ino));
            match state {
                State::Used(_) | State::Broken => live += 1,
                State::Virgin if fresh => {}
                State::Virgin | State::Free => {
                    let (at, slot) = core.inodes.slot(core, ino)?;
                    let generation = match slot {
                        Slot::Free { generation, .. } => generation,
                        _ => 0,
                    };
                    let record = Raw::free(ino, generation, next);
                    core.media.write(at, record.as_bytes(), Persist::No)?;
                    next = ino;
                }
            }
        }
        for (shard, fresh) in ranges.iter().enumerate() {
            let first = shard == 0;
            let raw = RawShard {
                free: if first { next } else { 0 }.into(),
                fresh: fresh.start.into(),
                fresh_end: fresh.end.into(),
                live: if first { live } else { 0 }.into(),
                ..RawShard::new_zeroed()
            };
            core.media.write(shard_at(shard), &raw.sealed(), Persist::No)?;
        }
        Ok(())
    }
}
