//! Repairing a pool, in a layer of changed blocks over the medium.
//!
//! Round by round: check everything, and repair the problems of the earliest stage that has any,
//! since later ones may only follow from it. A round that finds nothing ends it. Nothing here has
//! to think of crashes: the medium is not changed before the whole repair is (`log.rs`).
//!
//! What cannot be read is looked for before it is given up: a record or node with a wrong checksum
//! counts if all else about it is possible; a node or inode block that nothing refers to any more
//! is found by its own marks among the blocks in use. Blocks are given out only where the bitmap
//! and the walk agree that they are free.

mod entries;
mod lists;
pub(crate) mod log;
mod lost;
mod parts;
mod records;
mod salvage;
mod space;
mod table;

use std::sync::Arc;

use limpid_pmem::Media;

use crate::check::{self, Found, Part, Problem, UsedBlocks};
use crate::core::Core;
use crate::error::{FsError, Result, What};
use crate::fsck::{Finding, Patient, put_words};
use crate::layout::{BLOCK, BLOCK_LEN};
use crate::overlay::Overlay;
use crate::recovery::Blocks;

/// Rounds after which a repair gives up; each stage needs one or two.
const MAX_ROUNDS: u32 = 32;

/// What a repair came to.
pub(crate) struct Outcome {
    /// What is still wrong.
    pub left: Vec<Finding>,
    /// Blocks in use after the repair.
    used: UsedBlocks,
}

/// The order in which problems are repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Roots,
    Records,
    Parts,
    Counts,
    Lists,
    Entries,
    Links,
    Space,
}

fn stage(problem: &Problem) -> Stage {
    use crate::fs::ROOT;
    match problem {
        Problem::Broken(FsError::Corrupt { what, .. }) => match what {
            What::Superblock => Stage::Roots,
            What::GroupDescriptor | What::Bitmap => Stage::Space,
            _ => Stage::Lists,
        },
        Problem::Broken(_) | Problem::Superblocks | Problem::Journal(_) => Stage::Roots,
        Problem::Tree { .. } | Problem::Shared { ino: None, .. } => Stage::Roots,
        Problem::Inode { part: Part::Record, .. } => Stage::Records,
        Problem::Unreachable(ino) if ino.0 == ROOT => Stage::Records,
        Problem::Inode { .. } | Problem::Shared { .. } => Stage::Parts,
        Problem::PastEnd { .. } | Problem::Blocks { .. } => Stage::Counts,
        Problem::FalseOrphan(_) | Problem::FreeInodes(_) | Problem::InodeCount { .. } => {
            Stage::Lists
        }
        Problem::Entry { .. }
        | Problem::Key { .. }
        | Problem::Dangling { .. }
        | Problem::Duplicate { .. }
        | Problem::SecondName { .. }
        | Problem::Parent { .. } => Stage::Entries,
        Problem::Unreachable(_) | Problem::Links { .. } | Problem::Lost(_) => Stage::Links,
        Problem::Leaked { .. } | Problem::Unmarked { .. } => Stage::Space,
    }
}

/// One round's work: what was found, and the pool to change.
struct Repair<'a> {
    core: Arc<Core>,
    found: &'a Found,
    /// The problems of the round's stage.
    problems: Vec<&'a Problem>,
}

impl Repair<'_> {
    fn run(&self, stage: Stage) -> Result<()> {
        match stage {
            Stage::Roots => self.roots(),
            Stage::Records => self.records(),
            Stage::Parts => self.parts(),
            Stage::Counts => self.counts(),
            Stage::Lists => self.lists(),
            Stage::Entries => self.entries(),
            Stage::Links => self.links(),
            Stage::Space => space::rewrite(&self.core, &self.found.used),
        }
    }
}

/// Repairs what can be repaired, in the layer. `round` makes the watcher of a round.
pub(crate) fn repair<W: Fn(u64, u64)>(
    patient: &Patient,
    layer: &Arc<Overlay>,
    round: &dyn Fn(u32) -> W,
) -> Result<Outcome> {
    let mut last = Vec::new();
    for number in 1.. {
        let (core, before) = patient.open(false)?;
        let found = check::check(&core, before, usize::MAX, &round(number));
        let stage = found.problems.iter().map(stage).min();
        // Where the medium fails, nobody knows what would be lost: a copy has to be made first.
        let media_fails = |problem: &Problem| matches!(problem.error(), Some(FsError::Media(_)));
        let hopeless = found.problems.iter().any(media_fails);
        let stage = match stage {
            Some(stage) if number <= MAX_ROUNDS && !hopeless && found.problems != last => stage,
            _ => {
                let left = crate::fsck::name(&core, &found.inodes, found.problems);
                return Ok(Outcome { left, used: found.used });
            }
        };
        if stage < Stage::Space {
            space::protect(&core, &found.used)?;
        }
        drop(core);
        // Opened again, since the bitmaps may have been changed under it.
        let (core, _) = patient.open(false)?;
        let problems = found.problems.iter().filter(|one| self::stage(one) == stage).collect();
        let work = Repair { core: Arc::new(core), found: &found, problems };
        match work.run(stage) {
            Ok(()) => {}
            Err(FsError::NoSpace) => {
                let left = crate::fsck::name(&work.core, &found.inodes, found.problems);
                return Ok(Outcome { left, used: found.used });
            }
            Err(error) => return Err(error),
        }
        put_words(&**layer, patient.superblock.salt(), patient.next)?;
        last = found.problems;
    }
    unreachable!("the rounds are bounded")
}

/// Makes a repair durable, and does it.
pub(crate) fn commit(
    media: &dyn Media,
    patient: &Patient,
    layer: &Overlay,
    outcome: &Outcome,
) -> Result<()> {
    let (geometry, salt) = (&patient.superblock.geometry, patient.superblock.salt());
    let mut blocks = Blocks::new();
    for (block, bytes) in layer.blocks() {
        let mut old = [0; BLOCK_LEN];
        if media.read(block * BLOCK, &mut old).is_err() || old != *bytes {
            blocks.insert(block, bytes);
        }
    }
    let mut free = space::free_runs(media, geometry, &outcome.used);
    log::write(media, geometry, salt, &blocks, &mut free)?;
    let blocks = log::find(media, geometry, salt)?.ok_or(FsError::Corrupt {
        what: What::Journal,
        at: crate::layout::JOURNAL * BLOCK,
        why: "the repair's log was not kept",
    })?;
    log::apply(media, &blocks)
}
