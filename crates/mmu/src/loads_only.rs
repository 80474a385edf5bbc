//! Pages for loads only: zeroes, of which a store raises SIGBUS, because it can have no storage.
//!
//! The engine's userfaultfd can only have an access wait and be made again; refusing one store and
//! leaving loads alone is beyond it. A second descriptor with UFFD_FEATURE_SIGBUS has the kernel
//! refuse what it reports: SIGBUS for the program's own store, EFAULT for a system call's. So the
//! page is moved into place as any zero page of a writable map is (`stage.rs`), write-protected,
//! but registered there.
//!
//! A store that is refused is not reported, so nobody would learn that there is room again. So
//! the page is emptied after [`REFUSED_FOR`], and the next access faults as usual: a store that
//! still can have no storage is refused anew. A thread of its own does that, and reads the
//! events of moves, for which the mover waits with its map's state locked. So this thread never
//! waits for the state of a map: where that is locked it comes again.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use limpid_dax::PageRange;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::map::{LinuxMap, State};
use crate::mm::{Span, fatal};
use crate::segments::Shown;
use crate::thread::block_signals;
use crate::uffd::{REFUSE_FEATURES, Uffd};

/// How long stores to a page are refused before the next one is tried again.
const REFUSED_FOR: Duration = Duration::from_millis(10);

/// Addresses that show [`Shown::LoadsOnly`] with this island.
#[derive(Debug)]
struct Refusal {
    until: Instant,
    span: Span,
    island: u64,
}

/// The descriptor that refuses, and where it does, oldest first.
#[derive(Debug)]
pub(crate) struct Refusals {
    uffd: Uffd,
    spans: Mutex<VecDeque<Refusal>>,
}

impl Refusals {
    pub fn new() -> Result<Refusals, EngineError> {
        let (uffd, _) = Uffd::open(REFUSE_FEATURES)?;
        uffd.make_pollable().map_err(EngineError::NoRoom)?;
        Ok(Refusals { uffd, spans: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Refusal>> {
        self.spans.lock().expect("nothing panics with this lock held")
    }

    /// How long until the next span is due.
    fn next_due(&self) -> Option<Duration> {
        let next = self.lock().front()?.until;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Takes out what is due.
    fn due(&self) -> Vec<Refusal> {
        let now = Instant::now();
        let mut spans = self.lock();
        let count = spans.partition_point(|refusal| refusal.until <= now);
        spans.drain(..count).collect()
    }

    fn add(&self, span: Span, island: u64) {
        let mut spans = self.lock();
        // In the order of the clock: it is read with the list locked.
        spans.push_back(Refusal { until: Instant::now() + REFUSED_FOR, span, island });
    }
}

/// Starts the thread that ends refusals.
pub(crate) fn start(engine: &'static Engine) -> Result<(), EngineError> {
    let builder = std::thread::Builder::new().name("limpid-refuse".into());
    let started = builder.spawn(move || {
        block_signals();
        serve(engine)
    });
    match started {
        Ok(_) => Ok(()),
        Err(error) => {
            let errno = error.raw_os_error().map_or(Errno::AGAIN, Errno::from_raw_os_error);
            Err(EngineError::NoRoom(errno))
        }
    }
}

fn serve(engine: &'static Engine) -> ! {
    let refusals = &engine.refusals;
    loop {
        let timeout = refusals.next_due().map(|due| Timespec {
            tv_sec: due.as_secs() as i64,
            tv_nsec: due.subsec_nanos().into(),
        });
        let mut fds = [PollFd::from_borrowed_fd(refusals.uffd.as_fd(), PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => fatal("waiting for userfaultfd", errno),
        }
        // Moves, and nothing else: each mover goes on when its event is read.
        while refusals.uffd.read().is_ok() {}
        for refusal in refusals.due() {
            end_refusal(engine, &refusal);
        }
    }
}

/// Empties the span, unless something else was installed there meanwhile.
fn end_refusal(engine: &'static Engine, refusal: &Refusal) {
    let (span, island) = (refusal.span, refusal.island);
    let Some(map) = engine.route(span.start).and_then(|route| route.map.upgrade()) else { return };
    let Some(mut state) = map.try_lock() else { return engine.refusals.add(span, island) };
    let pages = map.pages_at(span);
    if map.pages.covers(pages) && state.segments.all(pages, Shown::LoadsOnly { island }) {
        map.empty(&mut state, pages);
        map.recount(&mut state);
    }
}

impl LinuxMap {
    /// Shows zeroes of which stores are refused. Who waits for the page is woken by the caller.
    pub(crate) fn install_loads_only(
        &self,
        state: &mut State,
        pages: PageRange,
    ) -> Result<(), Errno> {
        assert!(self.writable && !self.private, "only shared stores want storage");
        self.remember(state, pages);
        let (engine, span) = (self.engine, self.span(pages));
        let island = engine.tick();
        // Before the move, whose event has the thread look at its clock.
        engine.refusals.add(span, island);
        engine.stage.zeroes(&engine.refusals.uffd, &self.region, span, |piece| {
            state.segments.set(self.pages_at(piece), Shown::LoadsOnly { island }, island);
        })
    }
}
