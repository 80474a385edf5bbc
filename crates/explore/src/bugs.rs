//! Bugs planted in the simulated parts.

/// What is left out or done wrongly in the simulated parts, to show that this is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SimBug {
    /// Nothing.
    #[default]
    None,
    /// The block map publishes over what somebody else published meanwhile (A1).
    PublishUnconditional,
    /// The block map publishes without zeroing what was not written (E2).
    PublishKeepsEdges,
    /// An unmap takes private copies along (A10).
    UnmapDropsPrivate,
    /// An unmap takes away all but the last page of a unit (D2).
    UnmapEndInclusive,
    /// Write-protecting leaves large pages writable (B4).
    ProtectSkipsLarge,
    /// Write-protecting looks only at maps that begin with the entry (B7).
    ProtectSkipsSmallMaps,
    /// An unmap forgets which pages were stored to (B2).
    UnmapForgetsStores,
    /// An unmap clears and shows again for a moment (A13).
    ProtectClearsForAMoment,
    /// Only the first page of a range is written back (B8).
    FlushFirstPage,
    /// A fence does nothing (B11).
    NoFence,
    /// A load through a map installs a writable page that nothing marks (B1).
    LoadInstallsWritable,
    /// The block map publishes a copy of a block that is no longer shared.
    CopyThoughUnshared,
    /// A store through a map lands, and a moment later once more.
    StoreLandsTwice,
    /// Fresh blocks that are given back stay taken.
    AbandonForgets,
    /// The bytes of a write are not written back.
    WriteUnflushed,
    /// Where a store is refused, loads are refused as well.
    RefusalPoisons,
    /// An unmap by who holds lock 2 comes when that lock is let go.
    UnmapPutOff,
    /// The time of the last change is not moved.
    TouchForgets,
    /// Only the first two pages of a range are zeroed.
    ZeroFirstPages,
    /// A private copy has the first half of the page only.
    CopyFirstHalf,
    /// A map that begins inside a unit shows the unit from its beginning.
    InstallDropsOffset,
    /// A private copy is one of the first page of the entry.
    CopyOfUnit,
    /// A write-back leaves the last page of a unit out.
    FlushSkipsLast,
    /// To an append the size is what it was when the operation began.
    SizeOfBegin,
    /// The block map publishes three extents at most.
    PublishThree,
}
