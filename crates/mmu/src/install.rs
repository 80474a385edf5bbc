//! Installing: what each target takes.
//!
//! Every function here runs with the map's state locked and leaves `segments` telling the truth,
//! also when it fails half way.

use std::sync::atomic::Ordering;

use limpid_dax::{MmuError, PAGE_SIZE, PageRange, Target};
use rustix::io::Errno;

use crate::map::{LinuxMap, State};
use crate::pagemap::{Query, is};
use crate::segments::Shown;
use crate::uffd::Report;

impl LinuxMap {
    pub(crate) fn install_target(&self, pages: PageRange, target: Target) -> Result<(), MmuError> {
        self.engine.make_room();
        let mut result = self.try_install(pages, target);
        // The program may have used up the mappings that the budget left to it.
        if result == Err(Errno::NOMEM) && self.engine.evict() {
            result = self.try_install(pages, target);
        }
        self.engine.counters.installs.fetch_add(1, Ordering::Relaxed);
        self.engine.uffd.wake(self.span(pages));
        match result {
            Ok(()) => Ok(()),
            Err(Errno::NOMEM | Errno::AGAIN | Errno::NOSPC | Errno::NFILE) => {
                Err(MmuError::NoMemory)
            }
            Err(errno) => panic!("installing {target:?} at {pages:?}: {errno}"),
        }
    }

    fn try_install(&self, pages: PageRange, target: Target) -> Result<(), Errno> {
        assert!(!pages.is_empty());
        let mut state = self.lock();
        let result = match target {
            Target::Zero if self.writable => self.install_zero(&mut state, pages),
            Target::Zero => self.install_zero_read_only(&mut state, pages),
            Target::Storage { device, .. } => self.install_storage(&mut state, pages, device),
            Target::Private { device } => self.install_private(&mut state, pages, device),
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
        self.backing.map(&self.region, span, device, self.writable, self.private)?;
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
                    let skipped = (page - pages.start.0) * PAGE_SIZE;
                    self.copy_page(PageRange::new(page, page + 1), device.map(|at| at + skipped))?;
                }
            }
        }
        Ok(())
    }

    /// Puts an ordinary page with the contents of the medium (or zeroes) in place of nothing or
    /// of a zero page. An access between the two steps faults and waits for the entry.
    fn copy_page(&self, page: PageRange, device: Option<u64>) -> Result<(), Errno> {
        let mut bytes = [0; PAGE_SIZE as usize];
        if let Some(device) = device {
            let mut filled = 0;
            while filled < bytes.len() {
                let at = device + filled as u64;
                match rustix::io::pread(self.backing.file(), &mut bytes[filled..], at) {
                    // The host file is shorter than the pool: what it lacks has no bytes.
                    Ok(0) => return Err(Errno::NOSPC),
                    Ok(count) => filled += count,
                    Err(Errno::INTR) => continue,
                    Err(_) => return Err(Errno::NOSPC),
                }
            }
        }
        let span = self.span(page);
        self.region.drop_pages(span)?;
        self.engine.uffd.copy(&self.region, span.start, &bytes)
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
