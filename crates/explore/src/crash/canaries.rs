//! Planted bugs, each of which the search for bad crash states must find.

use limpid_fs::Step;

use super::catalog::workloads;
use super::choose::Bound;
use super::replay::{Broken, shrink};
use super::runs::{Starts, search_one};
use super::search::Counts;
use super::seen::Seen;

/// A planted bug.
#[derive(Clone, Copy, Debug)]
pub struct Canary {
    /// A short name.
    pub name: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// Where it is planted.
    pub plant: Plant,
}

/// Where a bug is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A step of the file system is left out (feature `canary`).
    Fs(Step),
    /// A step of the DAX layer is left out (feature `canary`).
    Dax(limpid_dax::Step),
    /// The medium does not do what it is asked.
    Medium(MediumBug),
}

/// What a medium may fail to do: as if `limpid-pmem` did not reach the hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediumBug {
    /// Stores that are asked to leave the caches stay there.
    NoFlush,
    /// Fences do not wait.
    NoFence,
}

/// What became of a canary.
#[derive(Clone, Debug)]
pub struct Caught {
    /// Workloads that were searched, the last of which found the bug.
    pub workloads: u64,
    /// What was looked at.
    pub counts: Counts,
    /// How it was found, if it was.
    pub broken: Option<Broken>,
}

impl Canary {
    /// Layer and switch.
    pub fn place(&self) -> String {
        match self.plant {
            Plant::Fs(step) => format!("fs: `{step:?}`"),
            Plant::Dax(step) => format!("dax: `{step:?}`"),
            Plant::Medium(bug) => format!("medium: `{bug:?}`"),
        }
    }

    /// Searches the workloads one after the other until the planted bug is found. The switches are
    /// those of the whole process: run one canary at a time.
    pub fn search(&self, bound: Bound) -> Caught {
        let (starts, seen) = (Starts::new(), Seen::new());
        let mut caught = Caught { workloads: 0, counts: Counts::default(), broken: None };
        self.set(true);
        for workload in workloads() {
            let scratch = starts.scratch(&workload);
            let bug = match self.plant {
                Plant::Medium(bug) => Some(bug),
                _ => None,
            };
            let (counts, found) = search_one(&workload, &scratch, &seen, bound, bug);
            caught.workloads += 1;
            caught.counts.add(counts);
            if let Some(found) = found {
                caught.broken = Some(shrink(&workload, &scratch, found, bug));
                break;
            }
        }
        self.set(false);
        caught
    }

    #[cfg(feature = "canary")]
    fn set(&self, out: bool) {
        match self.plant {
            Plant::Fs(step) => limpid_fs::leave_out(step, out),
            Plant::Dax(step) => limpid_dax::leave_out(step, out),
            Plant::Medium(_) => {}
        }
    }

    /// Without the feature the layers have no switches.
    #[cfg(not(feature = "canary"))]
    fn set(&self, _out: bool) {}
}

const fn fs(name: &'static str, what: &'static str, step: Step) -> Canary {
    Canary { name, what, plant: Plant::Fs(step) }
}

/// All planted bugs.
pub const CANARIES: &[Canary] = &[
    fs("J1", "a record is not written back", Step::FlushRecord),
    fs("J2", "no fence after a record", Step::FenceRecord),
    fs("J3", "changes are applied before their record", Step::CommitBeforeApply),
    fs("J4", "a record is committed before what it refers to", Step::FencePayload),
    fs("J5", "applied changes are not written back", Step::FlushApplied),
    fs("J6", "no fence after applied changes", Step::FenceApplied),
    fs("J7", "a record's checksum covers its header only", Step::ChecksumEntries),
    fs("J8", "a node's checksum in a record is that before the change", Step::SealNode),
    fs("J9", "a slot is used again while its record may be needed", Step::KeepSlot),
    fs("J10", "bitmaps are not applied", Step::ApplyBits),
    fs("R1", "recovery raises the floor before it applies", Step::RecoverBeforeFloor),
    fs("R2", "recovery does not fence before it raises the floor", Step::FenceRecovery),
    fs("R3", "recovery does not look at the floors of records", Step::FloorOfRecords),
    fs("R4", "freed nodes are not revoked", Step::Revoke),
    fs("F1", "the size is set before the data", Step::SizeWithData),
    fs("F2", "blocks are freed before the unlink is durable", Step::FreeWithUnlink),
    fs("F3", "an orphan is not listed", Step::ListOrphan),
    fs("F4", "a rename removes, then adds", Step::RenameAtOnce),
    fs("F5", "a new pool's superblock comes first", Step::SuperblockLast),
    Canary {
        name: "D1",
        what: "a flush of a map writes nothing back",
        plant: Plant::Dax(limpid_dax::Step::WriteProtect),
    },
    Canary {
        name: "D2",
        what: "a flush of a map does not fence",
        plant: Plant::Dax(limpid_dax::Step::FenceBeforeClean),
    },
    Canary {
        name: "M1",
        what: "nothing is written back from the caches",
        plant: Plant::Medium(MediumBug::NoFlush),
    },
    Canary { name: "M2", what: "fences do not wait", plant: Plant::Medium(MediumBug::NoFence) },
];

/// The table of `docs/crash.md`, or the names of those that were not found. `each` is told what
/// became of every canary.
pub fn crash_canary_table(
    bound: Bound,
    each: &mut dyn FnMut(&Canary, &Caught),
) -> Result<String, String> {
    let mut table =
        String::from("| name | what is wrong | planted in | found by |\n|---|---|---|---|\n");
    let mut missed = Vec::new();
    for canary in CANARIES {
        let caught = canary.search(bound);
        each(canary, &caught);
        let Some(broken) = caught.broken else {
            missed.push(canary.name);
            continue;
        };
        let workload = broken.replay.split('@').next().unwrap_or_default().replace('|', "\\|");
        let (name, what) = (canary.name, canary.what);
        table.push_str(&format!("| {name} | {what} | {} | {workload} |\n", canary.place()));
    }
    if missed.is_empty() { Ok(table) } else { Err(format!("not found: {}", missed.join(", "))) }
}

/// A text with the part between the two lines of the table's marks replaced by `table`; none if
/// the marks are missing.
pub fn with_crash_table(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(TABLE_BEGINS)?;
    let (_, after) = rest.split_once(TABLE_ENDS)?;
    Some(format!("{before}{TABLE_BEGINS}{table}{TABLE_ENDS}{after}"))
}

const TABLE_BEGINS: &str = "<!-- canaries begin -->\n";
const TABLE_ENDS: &str = "<!-- canaries end -->\n";
