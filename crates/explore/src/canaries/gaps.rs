//! One bug for each kind of thing that was once not looked at, or never tried: each of them lived,
//! or one like it, and was found by the next round of planting only.
//!
//! N8 and N9 do wrong with small entries as well, which older scenarios see. N10 to N12 were found
//! by no scenario outside of the families.

use super::{Canary, Plant, canary};
use crate::world::SimBug;

/// The bugs.
pub(super) const BUGS: &[Canary] = &[
    canary(
        "N1",
        "fresh blocks are not given back",
        Plant::Sim(SimBug::AbandonForgets),
        "fails/Media-0/hole/kernel/store p[0] | load q[1]",
    ),
    canary(
        "N2",
        "the bytes of a write are not written back, and the old ones are durable",
        Plant::Sim(SimBug::WriteUnflushed),
        "dirty-pmd/kernel/load q[0] | write 1..3",
    ),
    canary(
        "N3",
        "a store that is refused takes loads of the page along",
        Plant::Sim(SimBug::RefusalPoisons),
        "fails/Begin-0/hole/kernel/store p[0] | write 2..4",
    ),
    canary(
        "N4",
        "page tables are behind while lock 2 is held",
        Plant::Sim(SimBug::UnmapPutOff),
        "clean-pmd/kernel/load q[0] | insert 0..1024",
    ),
    canary(
        "N5",
        "a change in place does not move the time of the last change",
        Plant::Sim(SimBug::TouchForgets),
        "clean-pmd/kernel/load q[0] | write 1..3",
    ),
    canary(
        "N6",
        "all but the first pages of a fresh unit keep foreign bytes",
        Plant::Sim(SimBug::ZeroFirstPages),
        "hole/kernel/load q[0] | store p[0]",
    ),
    canary(
        "N7",
        "a private copy has only the half of the page that was stored to",
        Plant::Sim(SimBug::CopyFirstHalf),
        "clean-pte/kernel/load q[0] | store s[0]",
    ),
    canary(
        "N8",
        "a map that begins inside a unit shows it from its beginning (around-page finds it, too)",
        Plant::Sim(SimBug::InstallDropsOffset),
        "inner/clean-pmd/kernel/load u[2] | store p[5]",
    ),
    canary(
        "N9",
        "a private copy is one of the first page of a large entry (shared-pte finds it, too)",
        Plant::Sim(SimBug::CopyOfUnit),
        "inner/clean-pmd/kernel/store w[5] | store p[5]",
    ),
    canary(
        "N10",
        "the last page of a unit is not written back",
        Plant::Sim(SimBug::FlushSkipsLast),
        "last/clean-pmd/kernel/pin 1022..1024, store, unpin | sync 1020..1024",
    ),
    canary(
        "N11",
        "an append goes to where the file ended before the lock was had",
        Plant::Sim(SimBug::SizeOfBegin),
        "append/clean-pte/kernel/append 1 | append 2",
    ),
    canary(
        "N12",
        "a write of more than three extents publishes three",
        Plant::Sim(SimBug::PublishThree),
        "extents/hole/kernel/write 0..17 | load q[4]",
    ),
];
