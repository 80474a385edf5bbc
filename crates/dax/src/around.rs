//! Fault-around: a fault installs more than the page asked for, under the entry locks of all of
//! it.
//!
//! The neighbours are locked without waiting, so holding several entry locks cannot deadlock: the
//! only lock that is ever waited for is the first. What they show is asked of the block map after
//! they are locked, for the same reason as for the fault's own page; the question before is only
//! a hint of how many to lock.

use alloc::vec::Vec;

use crate::canary::{Step, left_out};
use crate::cover::{Branch, cover};
use crate::fault::{Request, entry_for};
use crate::iomap::{Backing, Extent, Intent, Iomap};
use crate::lock::Locked;
use crate::mapping::{Config, Mapping};
use crate::maps::Vma;
use crate::resolve::Shown;
use crate::seam::Mutex as _;
use crate::units::{Order, PAGE_SHIFT, PageIndex, PageRange};

impl<C: Config> Mapping<C> {
    /// The entries behind the owned one that show the same run of storage, or of zeroes. All are
    /// of its order and contiguous. Nothing is allocated or copied for them. Wants `locked` and
    /// lock 2 held; leaves the locks of the returned entries held.
    pub(crate) fn lock_around(
        &self,
        request: &Request<'_>,
        locked: &Locked<'_, C>,
        shown: Shown,
        end: PageIndex,
    ) -> Vec<Locked<'_, C>> {
        let mut behind = Vec::new();
        let writable = request.writable;
        let order = locked.order();
        let window = self.window(request.vma, locked, end);
        if window.is_empty() {
            cover(Branch::AroundNothing);
            return behind;
        }
        let limit = match self.iomap.begin(window, Intent::Read) {
            Ok(extent) => same_run(&extent, window.start, locked.start, shown, writable),
            Err(_) => {
                cover(Branch::AroundHintFails);
                return behind;
            }
        };
        self.index.with(|index| {
            let mut start = window.start;
            while start.unit(order).end <= limit {
                let wanted = entry_for(shown, locked.start, start, order);
                match self.try_grab(index, start, order, |entry| entry.same_target(wanted)) {
                    Some(next) => {
                        cover(Branch::AroundTakes);
                        behind.push(next);
                    }
                    None => {
                        cover(Branch::AroundStops);
                        break;
                    }
                }
                start = start.unit(order).end;
            }
        });
        if !behind.is_empty() && !left_out(Step::AskAgainAround) {
            self.keep_true(locked.start, &mut behind, shown, writable);
        }
        behind
    }

    /// Where neighbours may lie: behind the entry, inside the map and the file. Small entries
    /// stay inside their 2 MiB unit, so that they do not keep the next one from a large page.
    fn window(&self, vma: &Vma, locked: &Locked<'_, C>, end: PageIndex) -> PageRange {
        let own = locked.pages();
        let around = PageIndex(own.start.0 + (self.policy.around >> PAGE_SHIFT));
        let mut window = PageRange { start: own.end, end: around.min(vma.pages.end).min(end) };
        if locked.order() == Order::Pte {
            window.end = window.end.min(own.start.unit(Order::Pmd).end);
        }
        window
    }

    /// Asks again, now that all entries are owned, and gives back those for which the answer is
    /// another one. `first` is the page of the run that shows `shown`.
    fn keep_true(
        &self,
        first: PageIndex,
        behind: &mut Vec<Locked<'_, C>>,
        shown: Shown,
        writable: bool,
    ) {
        let rest = PageRange { start: behind[0].start, end: behind[behind.len() - 1].pages().end };
        let limit = match self.iomap.begin(rest, Intent::Read) {
            Ok(extent) => same_run(&extent, rest.start, first, shown, writable),
            Err(_) => {
                cover(Branch::AroundAnswerFails);
                rest.start
            }
        };
        while let Some(extra) = behind.pop_if(|next| next.pages().end > limit) {
            cover(Branch::AroundGivesBack);
            extra.unlock();
        }
    }
}

/// The page up to which `extent`, which begins at `at`, goes on with what `first` shows.
/// Shared blocks do only where they are not installed writable (I3).
fn same_run(
    extent: &Extent,
    at: PageIndex,
    first: PageIndex,
    shown: Shown,
    writable: bool,
) -> PageIndex {
    let follows = |device| extent.device == device + (at.offset() - first.offset());
    let same = match (shown, extent.backing) {
        (Shown::Zero, Backing::Hole | Backing::Unwritten) => true,
        (Shown::Storage { device }, Backing::Mapped) => follows(device),
        (Shown::Storage { device }, Backing::Shared) => {
            cover(Branch::AroundShared);
            follows(device) && (!writable || left_out(Step::SharedReadOnlyAround))
        }
        _ => false,
    };
    if same && extent.pages.start == at { extent.pages.end } else { at }
}
