//! The switchboard of planted bugs, for tests only (feature `canary`).
//!
//! Each step that keeps a crash harmless, and that a test may leave out or do at a wrong moment,
//! has a name here. Without the feature [`left_out`] is constant and the compiler removes the
//! question.

/// A step that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Writing a record back from the caches before it counts as committed.
    FlushRecord,
    /// The fence between a record and what it allows.
    FenceRecord,
    /// Applying changes in place after their record, not before.
    CommitBeforeApply,
    /// Fencing file data and fresh blocks before the record that refers to them.
    FencePayload,
    /// Writing changes in place back from the caches.
    FlushApplied,
    /// The fence after changes in place, before the record may be retired.
    FenceApplied,
    /// Covering a record's entries by its checksum, not only its header.
    ChecksumEntries,
    /// Computing a node's checksum after its last change.
    SealNode,
    /// Changing the size together with the extents, not before.
    SizeWithData,
    /// Freeing blocks together with the removal of the last name, not before.
    FreeWithUnlink,
    /// Listing an inode as an orphan when its last name goes while it is open.
    ListOrphan,
    /// Leaving a lane's slot alone until another record or the floor word retires it.
    KeepSlot,
    /// Raising the floor word only after recovery has applied everything.
    RecoverBeforeFloor,
    /// The fence of recovery between what it applies and the floor word.
    FenceRecovery,
    /// Taking the largest floor of all records, not the floor word's.
    FloorOfRecords,
    /// Telling recovery which blocks are no tree nodes any more.
    Revoke,
    /// Writing bitmaps in place together with their descriptors.
    ApplyBits,
    /// Changing both directories of a rename in one transaction.
    RenameAtOnce,
    /// Writing the superblocks of a new pool last.
    SuperblockLast,
    /// Taking the lock of the tree before two subdirectories of one directory are locked.
    LockTree,
    /// Taking the orphans' lock after that of a shard of free inodes.
    OrphansLast,
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
pub(crate) fn left_out(step: Step) -> bool {
    LEFT_OUT.load(core::sync::atomic::Ordering::SeqCst) & (1 << step as u8) != 0
}

/// True if a test left `step` out: never, without the feature `canary`.
#[cfg(not(feature = "canary"))]
#[inline]
pub(crate) const fn left_out(_step: Step) -> bool {
    false
}
