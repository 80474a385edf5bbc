//! Bitmaps against what is referred to.

use zerocopy::{FromZeros, IntoBytes};

use crate::bits::Bits;
use crate::check::{Checker, Problem};
use crate::core::Core;
use crate::error::Result;
use crate::layout::{GROUP, Geometry, by_group};
use crate::space::Descriptor;

/// Blocks that something refers to.
pub(crate) struct UsedBlocks(Vec<Option<Bits>>);

impl UsedBlocks {
    pub fn new(geometry: &Geometry) -> UsedBlocks {
        UsedBlocks((0..geometry.groups).map(|_| None).collect())
    }

    /// Marks blocks of the data area; `shared` is told of runs that were marked already.
    pub fn mark(
        &mut self,
        geometry: &Geometry,
        block: u64,
        len: u64,
        shared: &mut dyn FnMut(u64, u64),
    ) {
        for (group, first, len) in by_group(geometry, block, len) {
            let bits = self.0[group].get_or_insert_with(|| Bits::new(geometry.group_len(group)));
            if !bits.all(first, len, false) {
                let start = geometry.group_start(group);
                let mut at = first;
                while let Some(bit) = bits.next(at, first + len, true) {
                    let end = bits.next(bit, first + len, false).unwrap_or(first + len);
                    shared(start + bit, end - bit);
                    at = end;
                }
            }
            bits.fill(first, len, true);
        }
    }

    /// True if nothing refers to any of these blocks.
    pub fn is_free(&self, geometry: &Geometry, block: u64, len: u64) -> bool {
        by_group(geometry, block, len).all(|(group, first, len)| {
            self.0[group].as_ref().is_none_or(|bits| bits.all(first, len, false))
        })
    }

    /// The bits of a group.
    pub fn group(&self, geometry: &Geometry, group: usize) -> Bits {
        let fresh = || Bits::new(geometry.group_len(group));
        self.0[group].clone().unwrap_or_else(fresh)
    }
}

/// Reads and checks the bitmap of a group.
pub(crate) fn marked(core: &Core, group: usize) -> Result<Bits> {
    let geometry = &core.geometry;
    let mut raw = Descriptor::new_zeroed();
    core.media.read(geometry.descriptor_at(group), raw.as_mut_bytes())?;
    raw.check(group, geometry)?;
    raw.bitmap(&*core.media, group, geometry)
}

/// Compares the bitmaps with what was marked.
pub(crate) fn compare(checker: &mut Checker<'_>) {
    let core = checker.core;
    let geometry = core.geometry;
    for group in 0..geometry.groups as usize {
        let Some(marked) = checker.note_broken(marked(core, group)) else {
            continue;
        };
        let used = checker.used.group(&geometry, group);
        let start = geometry.group_start(group);
        for (first, len) in difference(&marked, &used) {
            checker.report(Problem::Leaked { block: start + first, len });
        }
        for (first, len) in difference(&used, &marked) {
            checker.report(Problem::Unmarked { block: start + first, len });
        }
    }
}

/// Runs of bits set in `left` and clear in `right`.
pub(crate) fn difference(left: &Bits, right: &Bits) -> Vec<(u64, u64)> {
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some(first) = left.next(at, GROUP, true) {
        let end = left.next(first, GROUP, false).unwrap_or(GROUP);
        let mut inner = first;
        while let Some((start, len)) = right.free_run(inner, end, GROUP) {
            runs.push((start, len));
            inner = start + len;
        }
        at = end;
    }
    runs
}
