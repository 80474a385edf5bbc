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
    /// The owned entry and those behind it that show the same run of storage, or of zeroes. All are
    /// of one order and contiguous. Nothing is allocated or copied for neighbours. Wants `locked`
    /// and lock 2 held; leaves the locks of the returned entries held.
    pub(crate) fn lock_around(
        &self,
        request: &Request<'_>,
        locked: Locked,
        shown: Shown,
        end: PageIndex,
    ) -> Vec<Locked> {
        let mut run = Vec::from([locked]);
        let writable = request.writable;
        let order = locked.order();
        let window = self.window(request.vma, &locked, end);
        if window.is_empty() {
            cover(Branch::AroundNothing);
            return run;
        }
        let limit = match self.iomap.begin(window, Intent::Read) {
            Ok(extent) => same_run(&extent, window.start, &locked, shown, writable),
            Err(_) => {
                cover(Branch::AroundHintFails);
                return run;
            }
        };
        self.index.with(|index| {
            let mut start = window.start;
            while start.unit(order).end <= limit {
                let probe = Locked { start, found: locked.found };
                let wanted = entry_for(shown, run[0].start, &probe);
                match Self::try_grab(index, start, order, |entry| entry.same_target(wanted)) {
                    Some(next) => {
                        cover(Branch::AroundTakes);
                        run.push(next);
                    }
                    None => {
                        cover(Branch::AroundStops);
                        break;
                    }
                }
                start = start.unit(order).end;
            }
        });
        if run.len() > 1 && !left_out(Step::AskAgainAround) {
            self.keep_true(&mut run, shown, writable);
        }
        run
    }

    /// Where neighbours may lie: behind the entry, inside the map and the file. Small entries
    /// stay inside their 2 MiB unit, so that they do not keep the next one from a large page.
    fn window(&self, vma: &Vma, locked: &Locked, end: PageIndex) -> PageRange {
        let own = locked.pages();
        let around = PageIndex(own.start.0 + (self.policy.around >> PAGE_SHIFT));
        let mut window = PageRange { start: own.end, end: around.min(vma.pages.end).min(end) };
        if locked.order() == Order::Pte {
            window.end = window.end.min(own.start.unit(Order::Pmd).end);
        }
        window
    }

    /// Asks again, now that all entries are owned, and gives back those for which the answer is
    /// another one.
    fn keep_true(&self, run: &mut Vec<Locked>, shown: Shown, writable: bool) {
        let first = run[0];
        let rest = PageRange { start: run[1].start, end: run[run.len() - 1].pages().end };
        let limit = match self.iomap.begin(rest, Intent::Read) {
            Ok(extent) => same_run(&extent, rest.start, &first, shown, writable),
            Err(_) => {
                cover(Branch::AroundAnswerFails);
                rest.start
            }
        };
        while run.len() > 1 && run[run.len() - 1].pages().end > limit {
            if let Some(extra) = run.pop() {
                cover(Branch::AroundGivesBack);
                self.unlock_entry(extra);
            }
        }
    }
}

/// The page up to which `extent`, which begins at `at`, goes on with what the first entry shows.
/// Shared blocks do only where they are not installed writable (I3).
fn same_run(
    extent: &Extent,
    at: PageIndex,
    first: &Locked,
    shown: Shown,
    writable: bool,
) -> PageIndex {
    let follows = |device| extent.device == device + (at.offset() - first.start.offset());
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
