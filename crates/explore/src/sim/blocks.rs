//! Who owns each block of the medium, as the harness sees it.

use core::ops::Range;
use std::hash::{Hash, Hasher};

use super::DEVICE_PAGES;
use crate::runs::Runs;

/// The owner of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// Nobody: it may be another file's any moment.
    Free,
    /// Taken for an operation, not published.
    Reserved,
    /// The file.
    File,
}

/// The owner of every block.
pub(crate) struct Own {
    runs: Runs<Owner>,
}

impl Own {
    pub fn new() -> Own {
        Own { runs: Runs::new(DEVICE_PAGES, Owner::Free) }
    }

    pub fn reset(&mut self) {
        self.runs.reset(Owner::Free);
    }

    pub fn set(&mut self, pages: Range<u32>, owner: Owner) {
        self.runs.fill(pages, owner);
    }

    /// True if a page of `pages` belongs to `owner`.
    pub fn any(&self, pages: Range<u32>, owner: Owner) -> bool {
        self.runs.within(pages).any(|(_, found)| found == owner)
    }

    /// How many pages belong to `owner`.
    pub fn count(&self, owner: Owner) -> u64 {
        self.of(owner).iter().map(|run| run.len() as u64).sum()
    }

    /// The runs of pages that belong to `owner`.
    pub fn of(&self, owner: Owner) -> Vec<Range<u32>> {
        self.runs.iter().filter(|run| run.1 == owner).map(|run| run.0).collect()
    }
}

impl Hash for Own {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.runs.hash(state);
    }
}
