//! The switchboard of planted bugs, for tests only (feature `canary`).
//!
//! Each step of the protocol that a test may leave out has a name here. Without the feature
//! [`left_out`] is constant and the compiler removes the question.

/// A step of the protocol that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// The unmap after a write into a hole (the bug of 2017; A4).
    UnmapOnWrite,
    /// Unmapping after the entries are gone rather than before (the review's order).
    UnmapAfterEntries,
    /// Taking the entry lock before asking the block map (A5, A6).
    LockBeforeLookup,
    /// Invalidating although the index looks empty (A4's second half).
    InvalidateEmptyIndex,
    /// Unmapping other maps of the zero page before a fault replaces its entry (A2, A7).
    UnmapZeroOnReplace,
    /// Unmapping before blocks are freed by punch and truncate (C3).
    UnmapBeforeFree,
    /// Waking all waiters when an entry is removed (C2).
    WakeAllOnRemove,
    /// Leaving DIRTY entries alone when a write invalidates (B5).
    KeepDirtyOnInvalidate,
    /// Write-protecting before DIRTY is cleared (B3, B4).
    WriteProtect,
    /// Protecting and writing back the whole entry, not only its first page (B6, B7).
    WritebackWholeEntry,
    /// Marking an entry DIRTY before it is writable (B1).
    MarkDirtyBeforeMap,
    /// Waiting for the owner of an entry in a scan rather than passing by (C5).
    ScanWaits,
    /// Looking at the same index again after a wait (C6).
    ScanLooksAgain,
    /// Waiting in the queue of the entry found, not of the page looked for (C1).
    WaitOnEntryStart,
    /// Waiting in a scan without using up a wake (C4).
    ScanPassesWakes,
    /// Unmapping a large zero page before its entry is split (A2).
    UnmapBeforeSplit,
    /// Waiting for pins before blocks are freed (D1).
    WaitForPins,
    /// Looking at pins even if nothing is mapped (D3).
    PinsWithoutMaps,
    /// Deleting the entries of blocks that are freed (D4).
    DeleteEntriesOnBreak,
    /// Unmapping whole entries where only a part is freed (A8).
    RoundOutOnBreak,
    /// Faulting with lock 2 held (A3, D1).
    FaultHoldsLock2,
    /// Looking at the end of the file under the entry lock.
    CheckEndInFault,
    /// Unmapping SIGBUS when the file grows.
    InvalidateGrown,
    /// Zeroing what was stored behind the end when the file grows (F5).
    ZeroPastEnd,
    /// Zeroing fresh blocks before a fault publishes them (E6).
    ZeroFreshBlocks,
    /// Keeping stale entries locked until they are unmapped.
    StaleStayLocked,
    /// Unmapping zeroes before a store fault publishes its storage.
    UnmapBeforePublish,
    /// Registering a pin before its storage is claimed.
    PinBeforeClaim,
    /// Leaving WHOLE behind when a pin or a map goes.
    MarkWholeOnRelease,
    /// Waiting, in a writeback, for entries that another one has taken.
    WaitForWriteback,
    /// Fencing before DIRTY is cleared.
    FenceBeforeClean,
    /// Waiting for lock 2 at the end of a writeback.
    WritebackWaitsForLock2,
    /// Taking WHOLE after the maps were walked.
    WholeAfterWalk,
    /// Writing entries back before their blocks move (collapse, insert).
    WriteBackBeforeMove,
    /// Asking the block map again once the neighbours are owned (fault-around).
    AskAgainAround,
    /// Unmapping shared blocks that a write has copied (E1).
    UnmapCopied,
    /// Keeping faults out while a write publishes its copies.
    CopyHoldsLock2,
    /// Copying what lies around the written bytes of a shared block (E7).
    CopyEdges,
    /// Copying the contents of a shared block for a store, not zeroing (E6).
    CopyContents,
    /// Copying a shared block before it is stored to.
    CopyShared,
    /// Unmapping a shared block before its copy is published.
    UnmapBeforeCopy,
    /// Installing shared neighbours read-only (fault-around).
    SharedReadOnlyAround,
    /// Writing DIRTY entries back and removing them before their blocks are shared (B9).
    CleanBeforeShare,
    /// Unmapping the source before its blocks are shared.
    UnmapBeforeShare,
    /// Taking the locks of two files in one order.
    ShareLockOrder,
    /// Writing back what was forgotten when the block map then refuses to change.
    KeepStoresOnFailure,
    /// Locking the pages behind a store before they get blocks.
    LockAhead,
    /// Taking private copies away that lie past the end after a change.
    DropCutOff,
    /// Giving an entry back when a panic drops its token.
    UnlockOnUnwind,
    /// Waking all who wait for an entry that a panic gives back.
    WakeAllOnUnwind,
    /// Removing an entry that is not DIRTY when a panic gives it back.
    RemoveOnUnwind,
    /// Marking a DIRTY entry WHOLE when a panic gives it back.
    WholeOnUnwind,
    /// Giving fresh blocks back that are not published after all.
    AbandonFresh,
}

#[cfg(feature = "canary")]
static LEFT_OUT: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

/// Leaves `step` out from now on, in the whole process, or puts it back.
#[cfg(feature = "canary")]
pub fn leave_out(step: Step, out: bool) {
    use core::sync::atomic::Ordering::SeqCst;
    let bit = 1 << step as u8;
    if out {
        LEFT_OUT.fetch_or(bit, SeqCst)
    } else {
        LEFT_OUT.fetch_and(!bit, SeqCst)
    };
}

/// True if a test left `step` out.
#[cfg(feature = "canary")]
pub fn left_out(step: Step) -> bool {
    LEFT_OUT.load(core::sync::atomic::Ordering::SeqCst) & (1 << step as u8) != 0
}

/// True if a test left `step` out: never, without the feature `canary`.
#[cfg(not(feature = "canary"))]
pub const fn left_out(_step: Step) -> bool {
    false
}
