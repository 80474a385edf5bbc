//! The stage: where memory is made ready before it is moved into a map.
//!
//! Two things have to appear in a map in one step, and no single system call makes them in place:
//! an empty registered range over something unregistered (plain mmap would leave a moment in
//! which an access finds fresh zero pages that nobody told it to), and zero pages that are
//! write-protected (a moment in which a store turns one into anonymous memory). So they are made
//! here and moved with mremap, which keeps registration and protection.
//!
//! mlockall(2) touches all memory that can be accessed. So slots that nobody uses cannot be; the
//! templates have to stay as they are to be moved, and step aside when they are touched.

use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustix::io::Errno;

use crate::error::EngineError;
use crate::mm::{HUGE, Region, Span, fatal};
use crate::uffd::{Report, Uffd};

/// Addresses of each template: the longest range that one move can empty.
const TEMPLATE_LEN: usize = 4 << 30;
/// Addresses of a slot: the longest range of zero pages that one move can bring.
const SLOT_LEN: usize = 32 << 20;

/// How long a template steps aside. What touches it looks again within microseconds, as a rule;
/// otherwise it is touched again.
const ASIDE: Duration = Duration::from_millis(2);

/// Empty memory to be moved over what a map shows.
#[derive(Debug)]
struct Template {
    region: Region,
    writable: bool,
    /// Shared by those that move it: while it steps aside it is not as it should arrive. Whoever
    /// wants it alone waits for them, and they for the reader of their REMAP events.
    moving: RwLock<()>,
}

impl Template {
    fn new(uffd: &Uffd, writable: bool) -> Result<Template, Errno> {
        // The guards stay: a template that merged with a map would be touched with it.
        let (region, _, _) = Region::reserve_guarded(TEMPLATE_LEN, 0, writable)?;
        uffd.register(&region, region.span(), report_for(writable))?;
        Ok(Template { region, writable, moving: RwLock::default() })
    }

    fn step_aside(&self, wake: impl FnOnce()) {
        let span = self.region.span();
        let _alone = self.moving.write().unwrap_or_else(PoisonError::into_inner);
        if self.region.bar(span).is_err() {
            // It is touched again, and tried again.
            return wake();
        }
        wake();
        std::thread::sleep(ASIDE);
        // What is locked would be touched as soon as stores are allowed.
        let opened =
            self.region.unlock(span).and_then(|()| self.region.protect(span, self.writable));
        if let Err(errno) = opened {
            fatal("opening a template", errno);
        }
    }
}

/// Memory made ready for moving into maps.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Registered, never touched, one for each protection. A move leaves its source in place, so
    /// they serve any number of movers for ever.
    writable: Template,
    read_only: Template,
    /// Slots that nobody uses, nor can.
    slots: Mutex<Vec<Region>>,
}

impl Stage {
    pub fn new(uffd: &Uffd) -> Result<Stage, EngineError> {
        let writable = Template::new(uffd, true).map_err(EngineError::NoRoom)?;
        let read_only = Template::new(uffd, false).map_err(EngineError::NoRoom)?;
        Ok(Stage { writable, read_only, slots: Mutex::default() })
    }

    /// Has a template that was touched at `address` step aside, where there is nothing to find
    /// for whoever did, and wakes him meanwhile. False if no template lies there.
    pub fn step_aside(&self, address: usize, wake: impl FnOnce()) -> bool {
        let templates = [&self.writable, &self.read_only].into_iter();
        let touched = templates.map(|template| (template, template.region.span()));
        let mut touched = touched.filter(|(_, span)| (span.start..span.end()).contains(&address));
        touched.next().map(|(template, _)| template.step_aside(wake)).is_some()
    }

    /// Makes `span` of `target` empty and registered, in place of whatever is there: in one step
    /// for each 4 GiB. Calls `done` for each; what is not done when the system refuses is as it
    /// was.
    pub fn empty(
        &self,
        target: &Region,
        span: Span,
        writable: bool,
        mut done: impl FnMut(Span),
    ) -> Result<(), Errno> {
        let template = if writable { &self.writable } else { &self.read_only };
        for piece in pieces(span, TEMPLATE_LEN) {
            let _moving = template.moving.read().unwrap_or_else(PoisonError::into_inner);
            target.receive(piece, &template.region, template.region.span().start)?;
            done(piece);
        }
        Ok(())
    }

    /// Brings write-protected zero pages, 2 MiB ones where a whole aligned unit lies in `span`,
    /// in place of whatever is there. Calls `done` for each piece that was moved.
    pub fn zeroes(
        &self,
        uffd: &Uffd,
        target: &Region,
        span: Span,
        mut done: impl FnMut(Span),
    ) -> Result<(), Errno> {
        let slot = match self.lock_slots().pop() {
            Some(slot) => slot,
            None => Region::reserve(SLOT_LEN, 0, true)?,
        };
        for piece in pieces(span, SLOT_LEN) {
            let from = Span { start: slot.span().start + piece.start % HUGE, len: piece.len };
            // Dropping the slot on an error gives its addresses back, whatever state it is in.
            // It may be locked and touched, or as the last move has left it.
            slot.renew(slot.span(), true)?;
            slot.populate_for_loads(from)?;
            uffd.register(&slot, from, Report::MissingAndProtected)?;
            uffd.write_protect(&slot, from)?;
            target.receive(piece, &slot, from.start)?;
            done(piece);
        }
        slot.bar(slot.span())?;
        self.lock_slots().push(slot);
        Ok(())
    }

    fn lock_slots(&self) -> std::sync::MutexGuard<'_, Vec<Region>> {
        self.slots.lock().expect("nothing panics while the slots are locked")
    }
}

/// What is reported of a map's empty ranges.
pub(crate) fn report_for(writable: bool) -> Report {
    if writable { Report::MissingAndProtected } else { Report::Missing }
}

/// Cuts a span at multiples of `len` (itself a multiple of 2 MiB), so that each piece fits a
/// region of `len` bytes at the address that is congruent modulo 2 MiB.
fn pieces(span: Span, len: usize) -> impl Iterator<Item = Span> {
    let mut at = span.start;
    std::iter::from_fn(move || {
        let end = span.end().min((at / len + 1) * len);
        let piece = Span { start: at, len: end - at };
        at = end;
        (piece.len > 0).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_span_and_fit() {
        let span = Span { start: 3 * HUGE + 4096, len: 40 * HUGE };
        let cut: Vec<_> = pieces(span, 16 * HUGE).collect();
        assert_eq!(cut.iter().map(|piece| piece.len).sum::<usize>(), span.len);
        assert!(cut.windows(2).all(|pair| pair[0].end() == pair[1].start));
        assert!(cut.iter().all(|piece| piece.start % HUGE + piece.len <= 16 * HUGE));
    }
}
