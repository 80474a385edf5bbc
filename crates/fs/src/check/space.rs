//! Bitmaps against what is referred to.

use zerocopy::{FromZeros, IntoBytes};

use crate::bits::Bits;
use crate::check::{Checker, Problem};
use crate::layout::{GROUP, Geometry, by_group};
use crate::space::Descriptor;

/// Blocks that something refers to.
pub(crate) struct UsedBlocks(Vec<Option<Bits>>);

impl UsedBlocks {
    pub fn new(geometry: &Geometry) -> UsedBlocks {
        UsedBlocks((0..geometry.groups).map(|_| None).collect())
    }

    /// Marks blocks of the data area; false if some were marked already.
    pub fn mark(&mut self, geometry: &Geometry, block: u64, len: u64) -> bool {
        let mut fresh = true;
        for (group, first, len) in by_group(geometry, block, len) {
            let bits = self.0[group].get_or_insert_with(|| Bits::new(geometry.group_len(group)));
            fresh &= bits.all(first, len, false);
            bits.fill(first, len, true);
        }
        fresh
    }
}

/// Compares the bitmaps with what was marked.
pub(crate) fn compare(checker: &mut Checker<'_>) {
    let core = checker.core;
    let geometry = core.geometry;
    for group in 0..geometry.groups as usize {
        let mut raw = Descriptor::new_zeroed();
        let read = core
            .media
            .read(geometry.descriptor_at(group), raw.as_mut_bytes())
            .map_err(Into::into)
            .and_then(|()| raw.check(group, &geometry))
            .and_then(|()| raw.bitmap(&*core.media, group, &geometry));
        let Some(marked) = checker.note(read) else {
            continue;
        };
        let fresh = Bits::new(geometry.group_len(group));
        let used = checker.used.0[group].take().unwrap_or(fresh);
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
fn difference(left: &Bits, right: &Bits) -> Vec<(u64, u64)> {
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
