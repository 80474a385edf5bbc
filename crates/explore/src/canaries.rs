//! Planted bugs, each of which the explorer must find: one for each shape of `history.md` that has
//! a counterpart here, and one for each bug that the explorer itself found in this DAX layer.

use limpid_dax::Step;

use crate::catalog::scenario_named;
use crate::scenario::Scenario;
use crate::search::{Limits, Outcome, Search, search};
use crate::sim::ToyBlockMap;
use crate::world::SimBug;

/// Where a bug is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A step of the DAX layer that is left out (feature `canary`).
    Step(Step),
    /// A fault of a simulated part.
    Sim(SimBug),
}

/// A planted bug.
#[derive(Clone, Copy, Debug)]
pub struct Canary {
    /// The entry of `history.md`, or `L` and a number for bugs found here first.
    pub name: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// Where it is planted.
    pub plant: Plant,
    /// The scenario that must find it.
    pub scenario: &'static str,
}

/// What a canary came to.
#[derive(Clone, Debug)]
pub struct Caught {
    /// The scenario.
    pub scenario: Scenario,
    /// The search with the bug planted.
    pub planted: Outcome,
    /// The same search without it; it must find nothing.
    pub clean: Outcome,
}

impl Canary {
    /// Searches with the bug planted, then without. `None` if the scenario does not exist.
    ///
    /// The switches of the DAX layer are process-wide: run one canary at a time.
    pub fn run(&self, limits: Limits) -> Option<Caught> {
        let scenario = scenario_named(self.scenario)?;
        let planted = self.search(&scenario, limits);
        let clean = search::<ToyBlockMap>(&scenario, SimBug::None, Search::Complete, limits);
        Some(Caught { scenario, planted, clean })
    }

    /// Searches one scenario with the bug planted.
    pub fn search(&self, scenario: &Scenario, limits: Limits) -> Outcome {
        self.planted(|bug| search::<ToyBlockMap>(scenario, bug, Search::Complete, limits))
    }

    /// Runs `work` with the bug planted.
    pub fn planted<R>(&self, work: impl FnOnce(SimBug) -> R) -> R {
        match self.plant {
            Plant::Sim(bug) => work(bug),
            Plant::Step(step) => {
                set(step, true);
                let result = work(SimBug::None);
                set(step, false);
                result
            }
        }
    }
}

#[cfg(feature = "canary")]
fn set(step: Step, out: bool) {
    limpid_dax::leave_out(step, out);
}

/// Without the feature, the DAX layer has no switches: nothing is planted.
#[cfg(not(feature = "canary"))]
fn set(_: Step, _: bool) {}

const fn canary(
    name: &'static str,
    what: &'static str,
    plant: Plant,
    scenario: &'static str,
) -> Canary {
    Canary { name, what, plant, scenario }
}

/// All planted bugs.
pub const ALL: &[Canary] = &[
    canary(
        "A1",
        "the block map publishes over what a fault published meanwhile",
        Plant::Sim(SimBug::PublishUnconditional),
        "triple/three waiters on one entry",
    ),
    canary(
        "A2",
        "a fault replaces a zero entry that other maps still show",
        Plant::Step(Step::UnmapZeroOnReplace),
        "triple/three faults on one entry",
    ),
    canary(
        "A2-split",
        "a large zero page stays mapped when its entry is split",
        Plant::Step(Step::UnmapBeforeSplit),
        "triple/large and small faults and a write",
    ),
    canary(
        "A3",
        "a fault runs while an operation frees blocks",
        Plant::Step(Step::FaultHoldsLock2),
        "triple/scan past a locked entry",
    ),
    canary("A4", "no unmap after a write into a hole", Plant::Step(Step::UnmapOnWrite), "seed"),
    canary(
        "A4-empty",
        "invalidation is skipped where the index looks empty",
        Plant::Step(Step::InvalidateEmptyIndex),
        "sequence/shrink and grow under a load",
    ),
    canary(
        "A4-order",
        "the range is unmapped before the entries are gone",
        Plant::Step(Step::UnmapAfterEntries),
        "seed",
    ),
    canary(
        "A5",
        "a small fault asks the block map before it owns the entry",
        Plant::Step(Step::LockBeforeLookup),
        "hole/kernel/load r[2] | write 1..3",
    ),
    canary(
        "A6",
        "a large fault asks the block map before it owns the entry",
        Plant::Step(Step::LockBeforeLookup),
        "seed",
    ),
    canary(
        "A7",
        "a fault does not ask the block map again for what it installs around",
        Plant::Step(Step::AskAgainAround),
        "around-page/hole/kernel/load r[0] | write 2..4",
    ),
    canary(
        "A8",
        "an entry goes while a part of it stays mapped",
        Plant::Step(Step::RoundOutOnBreak),
        "sequence/shrink and grow under a load",
    ),
    canary(
        "A10",
        "an unmap takes private copies along",
        Plant::Sim(SimBug::UnmapDropsPrivate),
        "hole/kernel/store p[0] | store s[0]",
    ),
    canary(
        "B1",
        "a load installs a writable page that nothing marks",
        Plant::Sim(SimBug::LoadInstallsWritable),
        "triple/three faults on one entry",
    ),
    canary(
        "B1-mark",
        "a page becomes writable before its entry is DIRTY",
        Plant::Step(Step::MarkDirtyBeforeMap),
        "triple/three faults on one entry",
    ),
    canary(
        "B2",
        "the page tables forget which pages were stored to",
        Plant::Sim(SimBug::UnmapForgetsStores),
        "triple/three waiters on one entry",
    ),
    canary(
        "B3",
        "DIRTY is cleared without write-protecting",
        Plant::Step(Step::WriteProtect),
        "triple/three faults on one entry",
    ),
    canary(
        "B4",
        "large pages stay writable after a writeback",
        Plant::Sim(SimBug::ProtectSkipsLarge),
        "triple/three faults on one entry",
    ),
    canary(
        "B5",
        "invalidation removes DIRTY entries",
        Plant::Step(Step::KeepDirtyOnInvalidate),
        "triple/three waiters on one entry",
    ),
    canary(
        "B6",
        "only the first page of an entry is protected and written back",
        Plant::Step(Step::WritebackWholeEntry),
        "triple/three faults on one entry",
    ),
    canary(
        "B7",
        "a second, small map stays writable after a writeback",
        Plant::Sim(SimBug::ProtectSkipsSmallMaps),
        "triple/sync of two maps of one large entry",
    ),
    canary(
        "B8",
        "only the first page of a range is written back",
        Plant::Sim(SimBug::FlushFirstPage),
        "clean-pmd/kernel/store r[3] | zero 0..3",
    ),
    canary("B11", "a fence does nothing", Plant::Sim(SimBug::NoFence), "seed"),
    canary(
        "B9",
        "DIRTY entries stay when their blocks are shared, and a write keeps them",
        Plant::Step(Step::CleanBeforeShare),
        "sequence/clone, then write, under a store",
    ),
    canary(
        "C1",
        "a fault waits in the queue of its own page, not of the entry",
        Plant::Step(Step::WaitOnEntryStart),
        "triple/sync of two maps of one large entry",
    ),
    canary(
        "C2",
        "only one waiter is woken when an entry is removed",
        Plant::Step(Step::WakeAllOnRemove),
        "triple/two small stores and a write",
    ),
    canary(
        "C4",
        "a scan uses a wake up and does not pass it on",
        Plant::Step(Step::ScanPassesWakes),
        "triple/three waiters on one entry",
    ),
    canary("C5", "a scan passes by a locked entry", Plant::Step(Step::ScanWaits), "seed"),
    canary(
        "C6",
        "a scan goes on behind the entry it waited for",
        Plant::Step(Step::ScanLooksAgain),
        "seed",
    ),
    canary(
        "D1",
        "blocks are freed under a pin",
        Plant::Step(Step::WaitForPins),
        "hole/kernel/punch 0..1024 | pin 0..2, store, unpin",
    ),
    canary(
        "D2",
        "the end of a range is taken for inclusive: only one page is unmapped",
        Plant::Sim(SimBug::UnmapEndInclusive),
        "seed",
    ),
    canary(
        "D3",
        "pins are not looked for where nothing is mapped",
        Plant::Step(Step::PinsWithoutMaps),
        "hole/kernel/punch 0..1024 | pin 0..2, store, unpin",
    ),
    canary(
        "D4",
        "entries outlive the blocks that are freed",
        Plant::Step(Step::DeleteEntriesOnBreak),
        "triple/scan past a locked entry",
    ),
    canary(
        "D6",
        "blocks are freed while they are mapped",
        Plant::Step(Step::UnmapBeforeFree),
        "triple/scan past a locked entry",
    ),
    canary(
        "E1",
        "shared blocks stay mapped when a write has copied them",
        Plant::Step(Step::UnmapCopied),
        "shared-pte/kernel/load q[0] | write 1..3",
    ),
    canary(
        "E2",
        "the edges of a fresh block are not zeroed",
        Plant::Sim(SimBug::PublishKeepsEdges),
        "triple/three waiters on one entry",
    ),
    canary(
        "E2-fault",
        "a fault publishes fresh blocks without zeroing them",
        Plant::Step(Step::ZeroFreshBlocks),
        "triple/three faults on one entry",
    ),
    canary(
        "E6",
        "a store zeroes the block that it should copy",
        Plant::Step(Step::CopyContents),
        "shared-pte/kernel/store r[3] | read 0..4",
    ),
    canary(
        "E7",
        "what lies around the written bytes of a shared block is not copied",
        Plant::Step(Step::CopyEdges),
        "shared-pte/kernel/load q[0] | write 1..3",
    ),
    canary(
        "F5",
        "bytes stored behind the end come back when the file grows",
        Plant::Step(Step::ZeroPastEnd),
        "sequence/store past the end, then grow",
    ),
    canary(
        "L1",
        "stale entries go before they are unmapped",
        Plant::Step(Step::StaleStayLocked),
        "triple/large and small faults and a write",
    ),
    canary(
        "L2",
        "a store fault publishes before the zeroes are unmapped",
        Plant::Step(Step::UnmapBeforePublish),
        "triple/three waiters on one entry",
    ),
    canary(
        "L3",
        "a pin is registered after its storage is claimed",
        Plant::Step(Step::PinBeforeClaim),
        "hole/kernel/sync 0..2048 | pin 0..2, store, unpin",
    ),
    canary(
        "L4",
        "a pin or map goes without leaving WHOLE behind",
        Plant::Step(Step::MarkWholeOnRelease),
        "hole/kernel/load q[0] | pin 0..2, store, unpin",
    ),
    canary(
        "L5",
        "a writeback does not wait for what another has taken",
        Plant::Step(Step::WaitForWriteback),
        "sequence/store, sync, store, sync",
    ),
    canary(
        "L6",
        "DIRTY is cleared before the fence",
        Plant::Step(Step::FenceBeforeClean),
        "triple/three faults on one entry",
    ),
    canary(
        "L7",
        "a writeback does not wait for who is about to free the blocks",
        Plant::Step(Step::WritebackWaitsForLock2),
        "dirty-pte/kernel/punch 0..1024 | sync 0..2048",
    ),
    canary(
        "L8",
        "WHOLE is taken before the maps are walked",
        Plant::Step(Step::WholeAfterWalk),
        "dirty-pte/kernel/sync 0..2048 | store r[1] and close",
    ),
    canary(
        "L9",
        "the end of the file is not checked under the entry lock",
        Plant::Step(Step::CheckEndInFault),
        "seed",
    ),
    canary(
        "L10",
        "SIGBUS stays mapped when the file grows",
        Plant::Step(Step::InvalidateGrown),
        "sequence/shrink and grow under a load",
    ),
    canary(
        "L11",
        "blocks move without being written back",
        Plant::Step(Step::WriteBackBeforeMove),
        "hole/kernel/store p[0] | insert 0..1024",
    ),
    canary(
        "L12",
        "a store goes to a shared block",
        Plant::Step(Step::CopyShared),
        "shared-pte/kernel/store r[3] | read 0..4",
    ),
    canary(
        "L13",
        "a store fault publishes its copy while maps show the shared block",
        Plant::Step(Step::UnmapBeforeCopy),
        "shared-pte/kernel/store p[0] | store t[4097]",
    ),
    canary(
        "L14",
        "shared neighbours are installed writable around a store",
        Plant::Step(Step::SharedReadOnlyAround),
        "around-page/shared-pte/kernel/store r[0] | punch 4096..4098",
    ),
    canary(
        "L15",
        "the source stays mapped when its blocks are shared",
        Plant::Step(Step::UnmapBeforeShare),
        "dirty-pte/kernel/clone 0..4 to 4096 | load t[4098]",
    ),
    canary(
        "L16",
        "two clones take the locks of two files in different orders",
        Plant::Step(Step::ShareLockOrder),
        "dirty-pte/kernel/clone 0..4 to 4096 | clone 4096..4100 to 0",
    ),
    canary(
        "L17",
        "faults run while a write gives its share of a block up",
        Plant::Step(Step::CopyHoldsLock2),
        "shared-pte/kernel/load q[0] | write 1..3",
    ),
    canary(
        "L18",
        "the block map publishes the copy of a block that is no longer shared",
        Plant::Sim(SimBug::CopyThoughUnshared),
        "triple/store, write, and the other file lets go",
    ),
    canary(
        "L19",
        "a store lands twice, the second time over a write that came between",
        Plant::Sim(SimBug::StoreLandsTwice),
        "dirty-pte/kernel/store p[0] | write 0 from q[2]",
    ),
    canary(
        "L20",
        "stores are forgotten when a hole that was to be punched is not",
        Plant::Step(Step::KeepStoresOnFailure),
        "fails/Change-0/dirty-pte/kernel/punch 1..4 | store r[2]",
    ),
    canary(
        "L21",
        "private copies stay past the end of a file that became shorter",
        Plant::Step(Step::DropCutOff),
        "sequence/collapse below a private copy",
    ),
    canary(
        "L22",
        "pages behind a store get blocks that nobody has locked",
        Plant::Step(Step::LockAhead),
        "ahead/zero/load q[1026]",
    ),
    canary(
        "L23",
        "a panic leaves its entries locked",
        Plant::Step(Step::UnlockOnUnwind),
        "panics/hole/kernel/load q[0] | store r[2]",
    ),
    canary(
        "L24",
        "a panic wakes one of those who wait for its entry",
        Plant::Step(Step::WakeAllOnUnwind),
        "panics/triple/two waiters on one entry",
    ),
    canary(
        "L25",
        "a panic leaves an entry that the block map no longer agrees with",
        Plant::Step(Step::RemoveOnUnwind),
        "panics/hole/kernel/load q[0] | store r[2]",
    ),
    canary(
        "L26",
        "stores that a writeback has taken note of are forgotten when it panics",
        Plant::Step(Step::WholeOnUnwind),
        "panics/dirty-pmd/kernel/sync 0..2048 | load q[1]",
    ),
    canary(
        "L27",
        "fresh blocks are lost that a panic keeps from being published",
        Plant::Step(Step::AbandonFresh),
        "panics/hole/kernel/store p[0] | load q[1]",
    ),
];
