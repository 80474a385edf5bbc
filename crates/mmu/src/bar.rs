//! Barring: taking storage away where the kernel refuses every step that wants a mapping, and what
//! comes of it. See `ballast.rs` for why it cannot fail.

use limpid_dax::{PageIndex, PageRange};
use limpid_pmem::front::{self, Signal};
use rustix::io::Errno;

use crate::access::AccessError;
use crate::map::{LinuxMap, State};
use crate::mm::fatal;
use crate::segments::Shown;
use crate::sigsegv::Watch;
use crate::uffd::Report;

impl LinuxMap {
    /// Makes `pages` inaccessible or empty, whatever they show, with no mapping more than there
    /// are. Whole segments of storage are barred, so more than was asked may be; private copies
    /// in `pages` go, others stay.
    pub(crate) fn bar(&self, state: &mut State, pages: PageRange) {
        for (segment, shown) in state.segments.whole(pages) {
            let Shown::Storage { shift, .. } = shown else { continue };
            self.remember(state, segment);
            self.watch().bar();
            if let Err(errno) = self.region.bar(self.span(segment)) {
                fatal("barring a range of a map", errno);
            }
            state.segments.set(segment, Shown::Barred { shift }, self.engine.tick());
        }
        self.report_zeroes(state, pages);
        self.drop_filled(state, pages);
        // Copies in what is barred now.
        if let Err(errno) = self.region.drop_pages(self.span(pages)) {
            fatal("dropping pages of a barred range", errno);
        }
    }

    /// Has the loads of what was unregistered zeroes fault again.
    pub(crate) fn report_zeroes(&self, state: &mut State, pages: PageRange) {
        for (segment, shown) in state.segments.whole(pages) {
            if shown != Shown::ZeroReadOnly {
                continue;
            }
            let mut part = segment.intersect(pages);
            let register =
                |part| self.engine.uffd.register(&self.region, self.span(part), Report::Missing);
            if register(part).is_err() {
                // The whole segment needs no mapping to be split.
                part = segment;
                if let Err(errno) = register(part) {
                    fatal("registering a range of a map", errno);
                }
            }
            // What shows its zeroes a moment longer faults as well from here on.
            self.drop_filled(state, part);
        }
    }

    /// Makes all barred segments that touch `pages` empty, private copies aside, which can be
    /// accessed again. Fails if the system has no room for the mappings; what was done stays.
    pub(crate) fn unbar(&self, state: &mut State, pages: PageRange) -> Result<(), Errno> {
        for (segment, shown) in state.segments.whole(pages) {
            let Shown::Barred { shift } = shown else { continue };
            for run in self.without_copies(state, segment)? {
                self.empty_with_ballast(state, run)?;
            }
            for (copies, shown) in state.segments.parts(segment) {
                if matches!(shown, Shown::Barred { .. }) {
                    self.region.protect(self.span(copies), self.writable)?;
                    let shown = Shown::Storage { shift, tracked: false };
                    state.segments.set(copies, shown, self.engine.tick());
                }
            }
        }
        Ok(())
    }

    /// As `unbar`, for all of the map, and answers who met a barred page.
    pub(crate) fn unbar_all(&self, watch: &Watch) {
        let mut state = self.lock();
        let result = self.unbar(&mut state, self.pages);
        self.recount(&mut state);
        watch.answer(result.is_ok());
    }

    /// Has an access to a page fail for which there is no mapping to be had, until there is room
    /// (`readmit`). Needs no mapping itself. An access to what is shown by now just succeeds.
    pub(crate) fn refuse(&self, page: PageIndex) {
        let page = PageRange::new(page.0, page.0 + 1);
        let mut state = self.lock();
        if state.segments.any(page, Shown::is_storage) {
            return;
        }
        self.clear(&mut state, page);
        front::keep_in_front(Signal::Bus);
        let empty = !state.segments.any(page, |shown| !matches!(shown, Shown::Empty { .. }));
        // With a private copy there was nothing to refuse.
        let absent = self.without_copies(&state, page).is_ok_and(|runs| runs == [page]);
        if empty && absent && self.engine.uffd.poison(&self.region, self.span(page)).is_ok() {
            state.segments.set(page, Shown::Poison, 0);
            state.refused.add(page);
            self.engine.note_refusal();
        }
        self.recount(&mut state);
    }

    /// Lets accesses to refused pages fault again; true if there were any in `pages`.
    pub(crate) fn readmit(&self, pages: PageRange) -> bool {
        let mut state = self.lock();
        let refused = state.refused.take(pages);
        for part in &refused {
            for (part, shown) in state.segments.parts(*part) {
                if shown == Shown::Poison {
                    self.drop_filled(&mut state, part);
                }
            }
        }
        self.recount(&mut state);
        !refused.is_empty()
    }

    /// Why an access to `pages` failed, if they still show it: somebody may have changed that
    /// since. The next access faults anew, whatever the reason: so our handler is in front of all
    /// that the program has installed until then.
    pub(crate) fn failure(&self, pages: PageRange) -> Option<AccessError> {
        let pages = pages.intersect(self.pages);
        if self.readmit(pages) {
            return Some(AccessError::NoMappings);
        }
        let mut state = self.lock();
        if state.segments.any(pages, |shown| matches!(shown, Shown::Barred { .. })) {
            return Some(AccessError::NoMappings);
        }
        let mut failure = None;
        for (part, shown) in state.segments.parts(pages) {
            if shown == Shown::Poison {
                self.drop_filled(&mut state, part);
                failure = Some(AccessError::Bus);
            }
        }
        self.recount(&mut state);
        failure
    }

    /// What lets accesses to frozen and barred ranges wait.
    pub(crate) fn watch(&self) -> &Watch {
        self.watch.get_or_init(|| Watch::new(self.region.span()))
    }
}
