//! The threads that read the engine's userfaultfd and resolve faults.
//!
//! All threads are alike. One at a time, the leader, sleeps in read; with a message in hand it
//! lets the next one lead and resolves the fault itself, so a fault costs one hand-over. Whoever
//! moves a mapping sleeps until its REMAP event was read, with locks held that a resolver may
//! want; so at most all threads but one may resolve at a time, and that one keeps reading. Faults
//! that it reads meanwhile are queued and taken over by the first resolver that gets done.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use limpid_dax::{Mmu, PageIndex, PageRange, Target};
use rustix::io::Errno;

use crate::engine::{Engine, FaultOutcome};
use crate::error::EngineError;
use crate::mm::{Span, fatal};
use crate::sigsegv::serve_requests;
use crate::uffd::Event;

/// Threads in all. A resolver may sleep on an entry lock for the length of a writer's copy, so
/// there are a few of them, whatever the number of CPUs.
const THREADS: usize = 4;

/// How often a fault is tried again with room made for it.
const TRIES: usize = 3;

#[derive(Clone, Copy, Debug)]
struct Fault {
    address: usize,
    store: bool,
}

/// What the threads share.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    leader: Mutex<()>,
    work: Mutex<Work>,
}

#[derive(Debug, Default)]
struct Work {
    resolving: usize,
    waiting: VecDeque<Fault>,
}

/// Starts the threads.
pub(crate) fn start(engine: &'static Engine) -> Result<(), EngineError> {
    for _ in 0..THREADS {
        let builder = std::thread::Builder::new().name("limpid-fault".into());
        let started = builder.spawn(move || {
            block_signals();
            // A panic here would leave accesses hanging for ever.
            let _ends = AbortOnUnwind;
            serve(engine)
        });
        started.map_err(no_room)?;
    }
    let builder = std::thread::Builder::new().name("limpid-unbar".into());
    let started = builder.spawn(move || {
        block_signals();
        let _ends = AbortOnUnwind;
        // It waits for states of maps, as those that read events must not.
        serve_requests(|| {
            for map in engine.maps() {
                if let Some(watch) = map.watch.get()
                    && watch.is_wanted()
                {
                    map.unbar_all(watch);
                }
            }
        })
    });
    started.map(drop).map_err(no_room)
}

fn no_room(error: std::io::Error) -> EngineError {
    let errno = error.raw_os_error().map_or(Errno::AGAIN, Errno::from_raw_os_error);
    EngineError::NoRoom(errno)
}

struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

fn serve(engine: &'static Engine) -> ! {
    let shared = &engine.faults;
    loop {
        let event = {
            let _leads = shared.leader.lock().expect("a leader does not panic");
            engine.uffd.read()
        };
        let fault = match event {
            Ok(Event::Fault { address, store }) => Fault { address, store },
            Ok(Event::Other) | Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(errno) => fatal("reading userfaultfd", errno),
        };
        let mut next = shared.begin(fault);
        while let Some(fault) = next {
            resolve(engine, fault);
            next = shared.next();
        }
    }
}

impl Faults {
    /// The fault to resolve now, unless all threads but one resolve already.
    fn begin(&self, fault: Fault) -> Option<Fault> {
        let mut work = self.work.lock().expect("nothing panics with this lock held");
        if work.resolving == THREADS - 1 {
            work.waiting.push_back(fault);
            return None;
        }
        work.resolving += 1;
        Some(fault)
    }

    /// The next fault that waits; `None` ends this thread's turn as a resolver.
    fn next(&self) -> Option<Fault> {
        let mut work = self.work.lock().expect("nothing panics with this lock held");
        let next = work.waiting.pop_front();
        if next.is_none() {
            work.resolving -= 1;
        }
        next
    }
}

/// Has the map's handler settle a fault, then wakes the page in any case: whoever slept finds
/// what is there now, or faults again.
fn resolve(engine: &'static Engine, fault: Fault) {
    let address = fault.address & !0xfff;
    if let Some(route) = engine.route(address) {
        engine.counters.faults.fetch_add(1, Ordering::Relaxed);
        let page = PageIndex(route.first.0 + ((address - route.span.start) >> 12) as u64);
        let mut outcome = route.handler.fault(page, fault.store);
        for _ in 0..TRIES {
            if outcome != FaultOutcome::NoMemory || !engine.make_more_room() {
                break;
            }
            outcome = route.handler.fault(page, fault.store);
        }
        match (outcome, route.map.upgrade()) {
            (FaultOutcome::SigBus, Some(map)) => {
                let pages = PageRange::new(page.0, page.0 + 1);
                // Without room for it the access faults again.
                let _ = map.install(pages, Target::Poison);
            }
            (FaultOutcome::NoMemory, Some(map)) => map.refuse(page),
            _ => {}
        }
    }
    engine.uffd.wake(Span { start: address, len: 4096 });
}

/// Leaves the program's signals to the program's threads. Faults of our own stay deliverable:
/// the copies of a medium turn SIGBUS into an error.
fn block_signals() {
    // SAFETY: plain calls on a local signal set; only this thread's mask changes.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&mut set);
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP] {
            libc::sigdelset(&mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}
