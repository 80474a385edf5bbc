//! The stage: where memory is made ready before it is moved into a map.
//!
//! Two things have to appear in a map in one step, and no single system call makes them in place:
//! an empty registered range over something unregistered (plain mmap would leave a moment in
//! which an access finds fresh zero pages that nobody told it to), and zero pages that are
//! write-protected (a moment in which a store turns one into anonymous memory). So they are made
//! here and moved with mremap, which keeps registration and protection.

use std::sync::Mutex;

use rustix::io::Errno;

use crate::error::EngineError;
use crate::mm::{HUGE, Region, Span};
use crate::uffd::{Report, Uffd};

/// Addresses of each template: the longest range that one move can empty.
const TEMPLATE_LEN: usize = 4 << 30;
/// Addresses of a slot: the longest range of zero pages that one move can bring.
const SLOT_LEN: usize = 32 << 20;

/// Memory made ready for moving into maps.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Registered, never touched, one for each protection. A move leaves its source in place, so
    /// they serve any number of movers for ever.
    writable: Region,
    read_only: Region,
    /// Slots that nobody uses: anonymous, unregistered, never touched since they were renewed.
    slots: Mutex<Vec<Region>>,
}

impl Stage {
    pub fn new(uffd: &Uffd) -> Result<Stage, EngineError> {
        let template = |writable| -> Result<Region, Errno> {
            // The guards stay: a template that merged with a map would be touched with it.
            let (region, _, _) = Region::reserve_guarded(TEMPLATE_LEN, 0, writable)?;
            uffd.register(&region, region.span(), report_for(writable))?;
            Ok(region)
        };
        let writable = template(true).map_err(EngineError::NoRoom)?;
        let read_only = template(false).map_err(EngineError::NoRoom)?;
        Ok(Stage { writable, read_only, slots: Mutex::default() })
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
            target.receive(piece, template, template.span().start)?;
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
            slot.populate_for_loads(from)?;
            uffd.register(&slot, from, Report::MissingAndProtected)?;
            uffd.write_protect(&slot, from)?;
            target.receive(piece, &slot, from.start)?;
            done(piece);
            slot.renew(slot.span(), true)?;
        }
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
