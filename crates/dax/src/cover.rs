//! Which branches of the protocol were taken, for tests only (feature `canary`).
//!
//! Each branch calls [`cover`] with its name. Without the feature that is an empty function, and
//! the compiler removes it. Marks are shared by the whole process and order nothing.

macro_rules! branches {
    ($($file:literal: $($name:ident $what:literal)*;)*) => {
        /// A branch of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Branch {
            $($(#[doc = $what] $name,)*)*
        }

        #[cfg(feature = "canary")]
        impl Branch {
            /// All branches, each with the file it is in and what happens there.
            pub const ALL: &[(Branch, &str, &str)] =
                &[$($((Branch::$name, $file, $what),)*)*];
        }
    };
}

branches! {
    "fault.rs":
    FaultConflict "a fault of a large page finds smaller entries"
    FaultSmaller "a fault tries smaller pages"
    FaultPastEnd "a fault past the end of the file"
    FaultFailed "a fault that the block map or the medium refuses"
    OrderPrivateStore "a private store wants a single page"
    OrderStoreUnit "a store to a hole takes small pages"
    OrderMapBounds "the unit reaches beyond the map"
    OrderEndOfFile "the unit reaches beyond the end of the file"
    RefuseKeepsShared "a refused store leaves the shared blocks to loads"
    RefuseSmaller "a refused store to a unit of which loads need smaller pages"
    RefusePoisons "a refused store to a page that loads cannot see either"
    GiveUpPlaceHolder "a place-holder goes with its lock"
    GiveUpEntry "an entry that no longer fits the block map goes"
    EndInsideUnit "the end of the file moved into the unit meanwhile"
    InstallPrivate "a private copy is installed"
    InstallRefused "the page tables refuse"
    ShowReplaces "an entry shows something else than before";

    "resolve.rs":
    ResolveMapped "an entry shows blocks with data"
    ResolveMappedInPart "blocks do not cover the unit, or not aligned"
    ResolveZero "an entry shows zeroes"
    ResolveZeroInPart "a unit begins with a hole, and has data behind it"
    ResolveShared "an entry shows shared blocks"
    ResolveSharedInPart "shared blocks do not cover the unit, or not aligned"
    ResolveCopiesForLoad "shared blocks are copied for a load, where storage is always writable"
    ResolveUnmapsShared "shared blocks are unmapped before a copy is published"
    ResolveUnmapsZeroes "zeroes are unmapped before storage is published"
    ClaimPublished "a store fault publishes blocks"
    ClaimLost "a write published a block first"
    ResolveNewInPart "there is no room for a whole unit"
    ResolveUnwrittenInPart "unwritten blocks do not cover the unit"
    ZeroInSeveralExtents "zeroes of a unit lie in several extents"
    ClaimZeroesFresh "fresh blocks are zeroed"
    ClaimCopies "shared blocks are copied"
    ClaimFillFails "the medium refuses to zero fresh blocks, or to copy to them";

    "around.rs":
    AroundShared "a neighbour is shared"
    AroundNothing "no neighbours to install around"
    AroundHintFails "the block map fails before the neighbours are locked"
    AroundTakes "a neighbour is locked"
    AroundStops "a neighbour is in use or shows something else"
    AroundAnswerFails "the block map fails after the neighbours are locked"
    AroundGivesBack "a neighbour changed before it was locked";

    "ahead.rs":
    AheadStops "a page behind a store is in use"
    AheadNoHole "a page to store to is no hole any more"
    AheadUnmapsZeroes "zeroes are unmapped before pages behind a store get blocks"
    AheadLost "a write published a block behind a store first"
    AheadClaims "a store takes pages behind it";

    "lock.rs":
    LookConflict "smaller entries stand where a large one is wanted"
    LookInserts "a place-holder is inserted, locked"
    LookWaits "the entry's owner is waited for"
    LookSplits "a large zero entry is split"
    LookTakes "an entry is locked as it is"
    TryInserts "a neighbour's place-holder is inserted, locked"
    TryTakes "a neighbour's entry is locked"
    TryRefused "a neighbour cannot be locked without waiting"
    UnlockPlaceHolder "a place-holder is removed by its owner"
    UnlockEntry "an entry is unlocked"
    SetOtherTarget "an entry gets another target and loses its marks"
    UnwindKeepsDirty "a panic gives a DIRTY entry back"
    UnwindRemoves "a panic gives another entry back: it goes";

    "unpublished.rs":
    UnpublishedGivenBack "fresh blocks are given back unseen";

    "invalidate.rs":
    InvalidateNothing "nothing to invalidate"
    InvalidateGrown "the file has grown: maps may show SIGBUS there"
    InvalidateKeepsDirty "an invalidation leaves a DIRTY entry alone"
    InvalidateLocks "an invalidation locks a stale entry"
    InvalidateWaits "an invalidation waits for an entry's owner"
    RemoveWaits "a removal waits for an entry's owner"
    RemoveKeepsDirty "a removal leaves a DIRTY entry alone"
    RemoveForgets "a DIRTY entry goes with its blocks"
    RemoveWritesBack "a DIRTY entry is written back and goes"
    RemoveClean "a clean entry goes";

    "write.rs":
    WriteTooLarge "a write ends beyond the largest file"
    WriteNothing "a write of no bytes"
    WriteLeavesGap "a write begins past the end"
    WriteInPlace "a write goes into one extent with data"
    WriteSeveralExtents "a write collects several extents"
    WriteStopsEarly "a later extent of a write fails"
    WriteCopyFails "the copy of a write fails"
    WritePublishesNothing "a write changes neither blocks nor size"
    WritePublishesBlocks "a write publishes blocks"
    WritePublishedPart "a write is refused, and a part of it is in the file"
    WriteLost "a fault published a block first";

    "copy.rs":
    CopyEdges "the edges of a written range are copied"
    PublishCopies "copies of shared blocks are published"
    ZeroCopyTooLate "a block to zero in is no longer shared"
    ZeroCopyFails "the medium refuses to zero or copy"
    ZeroCopyLost "a block to zero in was copied by a fault, or is no longer shared"
    ZeroCopies "bytes of a shared block are zeroed in a copy";

    "writeback.rs":
    WritebackWaits "a writeback waits for an entry's owner"
    WritebackPassesBy "a writeback passes by an entry not marked"
    WritebackTakes "a writeback locks an entry"
    WritebackMarks "a writeback marks a DIRTY entry"
    WritebackProtects "a map is write-protected"
    WritebackWhole "a whole entry is written"
    WritebackLeftWhole "a map or pin went while its entry was written"
    WritebackKeepsDirty "an entry stays DIRTY after its writeback"
    WritebackCleans "an entry becomes clean"
    WritebackTakesWhole "an entry was WHOLE";

    "change.rs":
    BreakWaitsForPin "who frees or moves blocks waits for a pin"
    ChangeFails "the block map refuses after DIRTY entries were deleted unwritten"
    TruncateTooLarge "a size beyond the largest file"
    TruncateGrows "truncate makes the file larger"
    TruncateShrinks "truncate makes the file smaller, or leaves it"
    PunchFrees "punch frees whole pages"
    ZeroGrows "zero makes the file larger"
    ZeroKeepsBlocks "zero finds no whole page"
    ZeroMakesUnwritten "zero makes whole pages unwritten"
    AllocateGrows "allocate makes the file larger"
    CollapseMoves "collapse moves pages down"
    InsertTooLarge "insert would make the file too large"
    InsertMoves "insert moves pages up"
    RangeReachesEnd "a range ends at the end of the file or beyond"
    EdgesWithinPages "a range without a whole page is zeroed"
    EdgesAroundPages "the edges of a range are zeroed"
    MoveUnaligned "a range to collapse or insert that is refused"
    RangeRefused "an empty or too large range";

    "mapping.rs":
    DiscardCopies "private copies past the new end go";

    "share.rs":
    CloneGrows "a clone makes the file larger"
    CloneWaitsForPin "a clone waits for a pin"
    CloneZeroesTail "a clone takes the last page of its source"
    CloneUnaligned "a clone of a range that is refused"
    CloneTooLarge "a clone would make the file too large"
    CloneOverlaps "a clone of a range onto itself";

    "pin.rs":
    PinRefused "an empty pin, or one past the end"
    PinInPartOfUnit "a pin covers a part of a unit"
    PinConflict "a pin of a large entry finds smaller ones"
    PinClaims "a pin gets storage"
    PinSmaller "a pin tries a smaller entry"
    PinFails "a pin that the block map or the medium refuses";

    "wait.rs":
    WakePassesOtherKeys "a wake meets a waiter of another key in its queue"
    WakeTaker "one who will take the entry is woken"
    WakeLooker "one who only looks is woken"
    WakeLeavesTaker "one who will take the entry is left asleep";
}

#[cfg(feature = "canary")]
mod marks {
    use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::Branch;

    static TAKEN: [AtomicBool; Branch::ALL.len()] =
        [const { AtomicBool::new(false) }; Branch::ALL.len()];

    /// Takes note that a branch was taken.
    pub(crate) fn cover(branch: Branch) {
        let mark = &TAKEN[branch as usize];
        // Mostly a load, so that threads do not fight for the line.
        if !mark.load(Relaxed) {
            mark.store(true, Relaxed);
        }
    }

    impl Branch {
        /// True if this process took the branch since [`Branch::forget_all`].
        pub fn was_taken(self) -> bool {
            TAKEN[self as usize].load(Relaxed)
        }

        /// Forgets which branches were taken.
        pub fn forget_all() {
            TAKEN.iter().for_each(|mark| mark.store(false, Relaxed));
        }
    }
}

#[cfg(feature = "canary")]
pub(crate) use marks::cover;

/// Takes note that a branch was taken: nothing, without the feature `canary`.
#[cfg(not(feature = "canary"))]
#[inline(always)]
pub(crate) const fn cover(_branch: Branch) {}
