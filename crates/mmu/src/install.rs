//! Installing: what each target takes.
//!
//! Every function here runs with the map's state locked and leaves `segments` telling the truth,
//! also when it fails half way.

use std::sync::atomic::Ordering;

use limpid_dax::{MmuError, PAGE_SIZE, PageRange, Target};
use limpid_pmem::front::{self, Signal};
use rustix::io::Errno;

use crate::map::{LinuxMap, State};
use crate::pagemap::{Query, is};
use crate::segments::Shown;
use crate::uffd::Report;

/// How often room is made for one installation; the program's other threads may take it.
const TRIES: usize = 3;

impl LinuxMap {
    pub(crate) fn install_target(&self, pages: PageRange, target: Target) -> Result<(), MmuError> {
        self.engine.make_room();
        let mut result = self.try_install(pages, target);
        // The program may have used up the mappings that the budget left to it.
        for _ in 0..TRIES {
            if result != Err(Errno::NOMEM) || !self.engine.make_more_room() {
                break;
            }
            result = self.try_install(pages, target);
        }
        if result.is_ok() {
            self.engine.readmit_refused();
        }
        self.engine.counters.installs.fetch_add(1, Ordering::Relaxed);
        self.engine.uffd.wake(self.span(pages));
        // Whatever else the system refuses (a sealed pool, say) is as final as a want of memory.
        result.map_err(|_| MmuError::NoMemory)
    }

    fn try_install(&self, pages: PageRange, target: Target) -> Result<(), Errno> {
        assert!(!pages.is_empty());
        let mut state = self.lock();
        let units = self.whole_units(&state, pages);
        if units != pages {
            self.clear(&mut state, units);
        }
        // Storage and zeroes of a shared map come in place of what is barred; the rest does not,
        // nor what replaces a part of a unit of the medium.
        let direct = !self.private
            && self.backing.options().granularity == PAGE_SIZE
            && (self.writable || target != Target::Zero)
            && target != Target::Poison;
        if !direct && let Err(errno) = self.unbar(&mut state, pages) {
            self.recount(&mut state);
            return Err(errno);
        }
        let result = match target {
            Target::Zero if self.writable => self.install_zero(&mut state, pages),
            Target::Zero => self.install_zero_read_only(&mut state, pages),
            Target::Storage { device, .. } => self.install_storage(&mut state, pages, device),
            Target::Private { device } => self.install_private(&mut state, pages, device),
            Target::LoadsOnly => self.install_loads_only(&mut state, pages),
            Target::Poison => self.install_poison(&mut state, pages),
        };
        self.recount(&mut state);
        result
    }

    /// In a map that takes no stores, memory that is not registered shows zeroes by itself.
    fn install_zero_read_only(&self, state: &mut State, pages: PageRange) -> Result<(), Errno> {
        if state.segments.all(pages, Shown::ZeroReadOnly) {
            return Ok(());
        }
        let other = |shown: Shown| shown.is_storage() || shown == Shown::Poison;
        if state.segments.any(pages, other) {
            self.clear(state, pages);
        }
        self.engine.uffd.unregister(&self.region, self.span(pages))?;
        state.segments.set(pages, Shown::ZeroReadOnly, 0);
        Ok(())
    }

    /// In a map that takes stores, zero pages are made write-protected elsewhere and moved here.
    fn install_zero(&self, state: &mut State, pages: PageRange) -> Result<(), Errno> {
        if !state.segments.any(pages, |shown| !matches!(shown, Shown::Zero { .. }))
            && self.is_present(pages)?
        {
            return Ok(());
        }
        self.replace(state, pages, |state, run| {
            self.remember(state, run);
            let engine = self.engine;
            engine.stage.zeroes(&engine.uffd, &self.region, self.span(run), |piece| {
                let now = engine.tick();
                state.segments.set(self.pages_at(piece), Shown::Zero { island: now }, now);
                // Who waits need not wait for the stage to be cleared.
                engine.uffd.wake(piece);
            })
        })
    }

    fn install_storage(
        &self,
        state: &mut State,
        pages: PageRange,
        device: u64,
    ) -> Result<(), Errno> {
        // Either kind of note counts as present: it depends on how the range was cut.
        let present = [false, true]
            .iter()
            .any(|&tracked| state.segments.all(pages, Shown::storage(pages, device, tracked)));
        if present {
            return Ok(());
        }
        self.replace(state, pages, |state, run| {
            self.remember(state, run);
            let device = device + (run.start.offset() - pages.start.offset());
            self.map_storage(state, run, device)
        })
    }

    /// Shows storage in place of whatever is there, in one step.
    fn map_storage(&self, state: &mut State, pages: PageRange, device: u64) -> Result<(), Errno> {
        let span = self.span(pages);
        let wanted = self.writable && !self.private && self.is_tracked(pages, device);
        if let Err(errno) =
            self.backing.map(&self.region, span, device, self.writable, self.private)
        {
            // The kernel may have taken away what was there, and anybody could map there then.
            self.restore(state, pages);
            return Err(errno);
        }
        let tracked = match &self.engine.tracker {
            // Stores before this counted as written: only protected pages count as clean.
            Some(tracker) if wanted => {
                tracker.register(&self.region, span, Report::Protected).is_ok()
            }
            _ => false,
        };
        state.segments.set(pages, Shown::storage(pages, device, tracked), self.engine.tick());
        Ok(())
    }

    fn install_poison(&self, state: &mut State, pages: PageRange) -> Result<(), Errno> {
        self.clear(state, pages);
        if state.segments.any(pages, |shown| matches!(shown, Shown::Barred { .. })) {
            return Err(Errno::NOMEM);
        }
        // The SIGBUS of a safe access is ours, whatever handler came since the last one.
        front::keep_in_front(Signal::Bus);
        for run in self.without_copies(state, pages)? {
            self.engine.uffd.poison(&self.region, self.span(run))?;
            state.segments.set(run, Shown::Poison, 0);
        }
        Ok(())
    }

    fn install_private(
        &self,
        state: &mut State,
        pages: PageRange,
        device: Option<u64>,
    ) -> Result<(), Errno> {
        assert!(self.private, "private copies belong to private writable maps");
        for (part, shown) in state.segments.parts(pages) {
            // Storage of a private map copies itself when it is stored to.
            if shown.is_storage() {
                continue;
            }
            if shown == Shown::Poison {
                self.clear(state, part);
            }
            for run in self.without_copies(state, part)? {
                for page in run.start.0..run.end.0 {
                    let page = PageRange::new(page, page + 1);
                    let skipped = page.start.offset() - pages.start.offset();
                    self.copy_page(state, page, device.map(|at| at + skipped))?;
                }
            }
        }
        Ok(())
    }

    /// Puts an ordinary page with the contents of the medium (or zeroes) in place of nothing or
    /// of a zero page; poison where the medium fails. An access between the two steps faults and
    /// waits for the entry.
    fn copy_page(
        &self,
        state: &mut State,
        page: PageRange,
        device: Option<u64>,
    ) -> Result<(), Errno> {
        let mut bytes = [0; PAGE_SIZE as usize];
        let filled = device.is_none_or(|device| self.read_pool(device, &mut bytes));
        let span = self.span(page);
        self.region.drop_pages(span)?;
        if filled {
            return self.engine.uffd.copy(&self.region, span.start, &bytes);
        }
        self.engine.uffd.poison(&self.region, span)?;
        state.segments.set(page, Shown::Poison, 0);
        Ok(())
    }

    /// Reads one page of the pool; false if the medium cannot deliver it.
    fn read_pool(&self, device: u64, bytes: &mut [u8]) -> bool {
        let mut filled = 0;
        while filled < bytes.len() {
            let rest = &mut bytes[filled..];
            match rustix::io::pread(self.backing.file(), rest, device + filled as u64) {
                // The host file is shorter than the pool was.
                Ok(0) => return false,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Applies `put` to the runs of `pages` that may be replaced: all of them in a shared map,
    /// all but the private copies in a private one.
    fn replace(
        &self,
        state: &mut State,
        pages: PageRange,
        mut put: impl FnMut(&mut State, PageRange) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if !self.private {
            return put(state, pages);
        }
        let frozen = self.freeze(state, pages);
        let result = self
            .without_copies(state, pages)
            .and_then(|runs| runs.into_iter().try_for_each(|run| put(state, run)));
        self.thaw(state, frozen);
        result
    }

    /// True if the tables hold a page everywhere; the program may have dropped some (madvise).
    fn is_present(&self, pages: PageRange) -> Result<bool, Errno> {
        let mut present = 0;
        let query = Query { any: is::PRESENT | is::SWAPPED, ..Query::default() };
        self.engine.pagemap.scan(self.span(pages), query, |run, _| present += run.len)?;
        Ok(present == self.span(pages).len)
    }
}
