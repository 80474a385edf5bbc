//! Checking a pool that nobody has open, and repairing it.
//!
//! A check reads the medium and changes nothing: what the journal still holds is shown from
//! memory. A repair first lets the journal do its work, as any opening would. Then everything is
//! repaired in memory, in a layer of changed blocks over the medium, checked there again, and only
//! then made durable, all at once (`repair/log.rs`).

mod paths;

pub(crate) use paths::name;

use core::fmt;
use std::sync::Arc;

use limpid_locks::mutex;
use limpid_pmem::Media;

use crate::anchor::{FLOOR_AT, STATE_AT};
use crate::attributes::FileKind;
use crate::check::{self, Found, PoolTree, Problem, State};
use crate::classes::ORPHANS;
use crate::core::{Core, Verified};
use crate::error::{FsError, Result};
use crate::fs::Fs;
use crate::inodes::InodeTable;
use crate::journal::Journal;
use crate::orphans;
use crate::overlay::Overlay;
use crate::recovery::{self, Blocks};
use crate::repair;
use crate::seal;
use crate::space::Space;
use crate::superblock::{KNOWN, Superblock};

/// Problems that a report lists at most; the count goes on.
pub const MAX_FINDINGS: usize = 10_000;

/// A problem, and the name of what it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub problem: Problem,
    /// Path from the root of the inode it concerns, if it has one.
    pub path: Option<Vec<u8>>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.problem.kind())?;
        if let Some(ino) = self.problem.ino() {
            write!(f, ": {ino:?}")?;
        }
        if let Some(path) = &self.path {
            write!(f, " ({})", String::from_utf8_lossy(path))?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// What a check found, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct FsckReport {
    /// What was wrong; at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// What is still wrong after a repair; the same as `findings` without one.
    pub left: Vec<Finding>,
    /// The pool was changed.
    pub repaired: bool,
    /// Transactions that the journal still held.
    pub recovered: u32,
    /// Inodes in use that are directories.
    pub directories: u64,
    /// Inodes in use that are not.
    pub files: u64,
    /// Blocks of the data area in use, as found; and how many there are.
    pub blocks: (u64, u64),
}

/// How far a check is: rounds begun, inode blocks read, and of how many. Each block counts twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsckProgress {
    /// The round, from 0: a repair checks more than once.
    pub round: u32,
    /// Blocks read in this round.
    pub done: u64,
    /// Blocks to read.
    pub total: u64,
}

/// The pool as it is to be checked.
pub(crate) struct Patient {
    pub media: Arc<dyn Media>,
    pub superblock: Superblock,
    /// Number of the next transaction.
    pub next: u64,
}

impl Patient {
    /// Reads the roots; the damaged ones count as empty, and are listed.
    pub fn open(&self, read_only: bool) -> Result<(Core, Vec<Problem>)> {
        let (media, superblock) = (self.media.clone(), self.superblock.clone());
        let geometry = superblock.geometry;
        let mut problems = Vec::new();
        let inodes = InodeTable::open_noting(&*media, &geometry, &mut |table, error| {
            problems.push(match table {
                true => Problem::Tree { tree: PoolTree::InodeTable, error },
                false => Problem::Broken(error),
            });
            Ok(())
        })?;
        let root = orphans::open(&*media, &geometry).unwrap_or_else(|error| {
            problems.push(Problem::Tree { tree: PoolTree::Orphans, error });
            crate::tree::TreeRoot::EMPTY
        });
        let core = Core {
            journal: Journal::new(superblock.salt(), self.next),
            space: Space::open(&*media, geometry),
            inodes,
            orphans: mutex(&ORPHANS, root),
            verified: Verified::new(&geometry),
            read_only,
            media,
            superblock,
            geometry,
        };
        Ok((core, problems))
    }
}

impl Fs {
    /// Checks the pool on a medium that nobody has open, and repairs it if that is wanted. Without
    /// `repair` the medium is only read.
    ///
    /// An error means that there is no pool that could be checked, or that the medium failed; what
    /// is merely damaged is in the report.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use limpid_fs::{FormatOptions, Fs};
    /// use limpid_pmem::{Media, VecMedia};
    ///
    /// let media: Arc<dyn Media> = Arc::new(VecMedia::new(4 << 20));
    /// Fs::format(&media, &FormatOptions::default())?;
    /// let report = Fs::fsck(media, false, &|_| {})?;
    /// assert!(report.findings.is_empty() && report.directories == 1);
    /// # Ok::<(), limpid_fs::FsError>(())
    /// ```
    pub fn fsck(
        media: Arc<dyn Media>,
        repair: bool,
        watch: &dyn Fn(FsckProgress),
    ) -> Result<FsckReport> {
        let (superblock, _) = Superblock::read(&*media)?;
        let unknown = superblock.features[1] & !KNOWN[1];
        if repair && unknown != 0 {
            return Err(FsError::UnsupportedFeature { bits: unknown });
        }
        let mut journal = Vec::new();
        let (patient, recovered) = prepare(media.clone(), superblock, repair, &mut journal)?;
        let round = |number| move |done, total| watch(FsckProgress { round: number, done, total });
        let (core, mut problems) = patient.open(true)?;
        problems.splice(0..0, journal.iter().cloned());
        let found = check::check(&core, problems, MAX_FINDINGS, &round(0));
        let mut report = FsckReport { recovered, ..FsckReport::default() };
        report.count(&found, &core);
        report.findings = name(&core, &found.inodes, found.problems);
        drop((core, found.used, found.inodes));
        if !repair || report.findings.is_empty() {
            report.left = report.findings.clone();
            return Ok(report);
        }
        let layer = Arc::new(Overlay::writable(media.clone()));
        let patient = Patient { media: layer.clone(), ..patient };
        let outcome = repair::repair(&patient, &layer, &round)?;
        report.repaired = !journal.is_empty();
        if outcome.left.len() < report.findings.len() && layer.changed() > 0 {
            repair::commit(&*media, &patient, &layer, &outcome)?;
            report.repaired = true;
            report.left = outcome.left;
        } else {
            let still = |finding: &&Finding| !journal.contains(&finding.problem);
            report.left = report.findings.iter().filter(still).cloned().collect();
        }
        Ok(report)
    }
}

/// Brings the journal to its end: on the medium for a repair, else in memory. Notes what is wrong
/// with it, and how many transactions it held.
fn prepare(
    media: Arc<dyn Media>,
    superblock: Superblock,
    repair: bool,
    journal: &mut Vec<Problem>,
) -> Result<(Patient, u32)> {
    let (geometry, salt) = (superblock.geometry, superblock.salt());
    let mut logged = Blocks::new();
    match repair::log::find(&*media, &geometry, salt) {
        Ok(Some(blocks)) if repair => repair::log::apply(&*media, &blocks)?,
        Ok(Some(blocks)) => logged = blocks,
        Ok(None) => {}
        Err(error @ FsError::Corrupt { .. }) => {
            journal.push(Problem::Journal(error));
            if repair {
                repair::log::clear(&*media)?;
            }
        }
        Err(error) => return Err(error),
    }
    let media: Arc<dyn Media> = match logged.is_empty() {
        true => media,
        false => Arc::new(Overlay::read_only(media, logged)),
    };
    let found = recovery::find_noting(&*media, &geometry, salt, &mut |error| {
        journal.push(Problem::Journal(error));
        Ok(())
    })?;
    let (next, replayed) = (found.next, found.replayed);
    let media = if repair {
        recovery::apply(&*media, &found, salt)?;
        if !journal.is_empty() {
            // Nothing in it matters any more, and a number that is above any floor would stay.
            repair::log::clear(&*media)?;
        }
        media
    } else if found.blocks.is_empty() {
        media
    } else {
        Arc::new(Overlay::read_only(media, found.blocks))
    };
    Ok((Patient { media, superblock, next }, replayed))
}

impl FsckReport {
    fn count(&mut self, found: &Found, core: &Core) {
        for (_, state) in found.inodes.all() {
            match state {
                State::Used(FileKind::Directory) => self.directories += 1,
                State::Used(_) => self.files += 1,
                _ => {}
            }
        }
        let geometry = &core.geometry;
        let free = (0..geometry.groups as usize)
            .map(|group| u64::from(found.used.group(geometry, group).free()))
            .sum::<u64>();
        self.blocks = (geometry.data_blocks() - free, geometry.data_blocks());
    }
}

/// Writes the words of the anchor that are stored outside the journal: a pool that was closed, and
/// whose journal holds nothing from before `next`.
pub(crate) fn put_words(media: &dyn Media, salt: u32, next: u64) -> Result<()> {
    media.store_u64(FLOOR_AT, seal::seal_word(next, salt))?;
    media.store_u64(STATE_AT, seal::seal_word(crate::anchor::State::Clean as u64, salt))?;
    Ok(())
}
