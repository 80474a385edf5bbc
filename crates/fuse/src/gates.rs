//! Ranges of files that the kernel's page cache is kept out of while the library changes them.
//!
//! Dropping the kernel's pages after a change would not do: a page with stores of a program in it
//! is written back whole when it is dropped, over what the library just wrote. Dropping them
//! before it would not do either: they could come in again with the old bytes. So they are dropped
//! before, and requests that could bring them in again wait until the change is made.
//!
//! The kernel drops a page only when the requests under way for that page are served. So a
//! request that comes while pages are being dropped must not wait for the end of the change: it
//! waits for the end of the dropping, but for a moment only, then it is served, and the pages are
//! dropped once more, and the next request waits for longer.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use limpid_locks::{Class, Condvar, Mutex, mutex};

use crate::pages::pages_of;

/// The class of their lock.
static GATES: Class = Class::new("fuse: gates");

/// How long a request waits for pages to be dropped, at first. Dropping takes microseconds, unless
/// it waits for this very request. It is doubled with each time that pages are dropped, so that
/// requests which come one after the other do not keep a change waiting.
const MOMENT: Duration = Duration::from_millis(1);
/// The moment is doubled so many times at most.
const DOUBLED: u32 = 7;

/// A range that is being changed.
struct Gate {
    number: u64,
    ino: u64,
    pages: Range<u64>,
    /// The kernel has none of the pages, and gets none.
    closed: bool,
    /// A request brought pages in while they were being dropped.
    passed: bool,
    /// How often pages were dropped again.
    again: u32,
}

#[derive(Default)]
struct State {
    gates: Vec<Gate>,
    next: u64,
}

impl State {
    /// All gates in the way of a request for these pages.
    fn in_the_way(&mut self, ino: u64, pages: &Range<u64>) -> impl Iterator<Item = &mut Gate> {
        self.gates.iter_mut().filter(move |gate| {
            gate.ino == ino && gate.pages.start < pages.end && pages.start < gate.pages.end
        })
    }

    fn of(&mut self, number: u64) -> &mut Gate {
        let gate = self.gates.iter_mut().find(|gate| gate.number == number);
        gate.expect("a gate is there until it is opened")
    }
}

/// The ranges of a mount's files that are being changed. The lock is a leaf.
pub(crate) struct Gates {
    /// Number of gates: spares requests the lock while there is none.
    count: AtomicUsize,
    /// Number of requests that had several gates in their way at once.
    met: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Gates {
    fn default() -> Gates {
        Gates {
            count: AtomicUsize::new(0),
            met: AtomicU64::new(0),
            state: mutex(&GATES, State::default()),
            changed: Condvar::new(),
        }
    }
}

impl Gates {
    /// Keeps the kernel's pages of `bytes` out, which `drop_pages` drops, until
    /// [`open`](Gates::open) is called with the number returned. No lock may be held that serving
    /// a request takes.
    pub fn close(&self, ino: u64, bytes: Range<u64>, drop_pages: impl Fn()) -> u64 {
        // Before any page is dropped: a request that did not see the gate came before that,
        // and the kernel waits for it when it drops its pages.
        let number = self.add(ino, &bytes, false);
        loop {
            drop_pages();
            let mut state = self.state.lock();
            let gate = state.of(number);
            if !std::mem::take(&mut gate.passed) {
                gate.closed = true;
                self.changed.notify_all();
                return number;
            }
            gate.again += 1;
        }
    }

    fn add(&self, ino: u64, bytes: &Range<u64>, closed: bool) -> u64 {
        let mut state = self.state.lock();
        state.next += 1;
        let (number, pages) = (state.next, pages_of(bytes));
        state.gates.push(Gate { number, ino, pages, closed, passed: false, again: 0 });
        self.count.fetch_add(1, Ordering::SeqCst);
        number
    }

    /// Does something while requests for pages of `bytes` wait; the pages that the kernel has
    /// stay.
    pub fn hold<T>(&self, ino: u64, bytes: &Range<u64>, work: impl FnOnce() -> T) -> T {
        struct Held<'a>(&'a Gates, u64);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.open(self.1);
            }
        }
        let _held = Held(self, self.add(ino, bytes, true));
        work()
    }

    /// Number of requests that had several gates in their way at once.
    pub fn met(&self) -> u64 {
        self.met.load(Ordering::Relaxed)
    }

    /// The change is made: requests go on.
    pub fn open(&self, number: u64) {
        let mut state = self.state.lock();
        state.gates.retain(|gate| gate.number != number);
        self.count.fetch_sub(1, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Waits before a request is served that brings pages into the kernel's cache: a read, or a
    /// write of whole pages. As long as any gate in its way is closed, it waits, since then bytes
    /// are being changed; where all that are in its way drop pages yet, it waits for a moment only.
    /// True if it has waited for a change.
    pub fn pass(&self, ino: u64, bytes: Range<u64>) -> bool {
        if self.count.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let (pages, begun) = (pages_of(&bytes), Instant::now());
        let (mut late, mut waited, mut met) = (false, false, false);
        let mut state = self.state.lock();
        loop {
            let (mut any, mut several, mut closed, mut again) = (false, false, false, 0);
            for gate in state.in_the_way(ino, &pages) {
                several |= any;
                any = true;
                closed |= gate.closed;
                again = again.max(gate.again);
            }
            if several && !std::mem::replace(&mut met, true) {
                self.met.fetch_add(1, Ordering::Relaxed);
            }
            if !any {
                return waited;
            }
            if closed {
                waited = true;
                self.changed.wait(&mut state);
            } else if late {
                // Their pages are dropped once more.
                state.in_the_way(ino, &pages).for_each(|gate| gate.passed = true);
                return false;
            } else {
                let moment = MOMENT * 2u32.pow(again.min(DOUBLED));
                late = self.changed.wait_until(&mut state, begun + moment).timed_out();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_request_waits_for_the_change_of_its_pages_only() {
        let gates = Gates::default();
        let number = gates.close(7, 5000..6000, || {});
        gates.pass(7, 0..4096);
        gates.pass(7, 8192..9000);
        gates.pass(8, 5000..6000);
        let (sender, receiver) = channel();
        std::thread::scope(|scope| {
            let gates = &gates;
            scope.spawn(move || {
                gates.pass(7, 4096..4097);
                sender.send(()).unwrap();
            });
            let early = receiver.recv_timeout(Duration::from_millis(50));
            assert!(early.is_err(), "the request waits");
            gates.open(number);
            receiver.recv().unwrap();
        });
        assert_eq!(gates.count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn all_gates_in_the_way_of_a_request_are_asked() {
        let gates = Arc::new(Gates::default());
        let (passes, passed) = channel();
        let changed = std::cell::Cell::new(None);
        let dropping = gates.close(7, 0..4096, || {
            if changed.get().is_some() {
                return;
            }
            // The first gate drops its pages yet when the second is closed already.
            changed.set(Some(gates.close(7, 4096..8192, || {})));
            let (gates, passes) = (gates.clone(), passes.clone());
            std::thread::spawn(move || {
                gates.pass(7, 0..8192);
                let _ = passes.send(());
            });
            let early = passed.recv_timeout(50 * MOMENT);
            assert!(early.is_err(), "the request waits for the change behind the second gate");
        });
        gates.open(dropping);
        let early = passed.recv_timeout(10 * MOMENT);
        assert!(early.is_err(), "the second gate is closed");
        gates.open(changed.get().expect("closed above"));
        passed.recv_timeout(Duration::from_secs(60)).expect("no gate is left");
        assert_eq!(gates.count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn dropping_that_waits_for_a_request_is_done_again() {
        let gates = Gates::default();
        let times = AtomicU32::new(0);
        let number = gates.close(7, 0..1, || {
            if times.fetch_add(1, Ordering::Relaxed) == 0 {
                // As the kernel: the pages are gone when the request for them is served.
                gates.pass(7, 0..4096);
            }
        });
        gates.open(number);
        assert_eq!(times.into_inner(), 2);
    }
}
