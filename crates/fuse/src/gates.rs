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
//! dropped once more.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use limpid_locks::{Class, Condvar, Mutex, mutex};

/// The class of their lock.
static GATES: Class = Class::new("fuse: gates");

/// The kernel caches whole pages, of this many bytes.
const PAGE: u64 = 4096;
/// How long a request waits for pages to be dropped. Dropping takes microseconds, unless it waits
/// for this very request.
const MOMENT: Duration = Duration::from_millis(1);

/// A range that is being changed.
struct Gate {
    number: u64,
    ino: u64,
    pages: Range<u64>,
    /// The kernel has none of the pages, and gets none.
    closed: bool,
    /// A request brought pages in while they were being dropped.
    passed: bool,
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
    state: Mutex<State>,
    changed: Condvar,
}

fn pages(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / PAGE..bytes.end.div_ceil(PAGE)
}

impl Default for Gates {
    fn default() -> Gates {
        let (count, changed) = (AtomicUsize::new(0), Condvar::new());
        Gates { count, state: mutex(&GATES, State::default()), changed }
    }
}

impl Gates {
    /// Keeps the kernel's pages of `bytes` out, which `drop_pages` drops, until
    /// [`open`](Gates::open) is called with the number returned. No lock may be held that serving
    /// a request takes.
    pub fn close(&self, ino: u64, bytes: Range<u64>, drop_pages: impl Fn()) -> u64 {
        let number = {
            let mut state = self.state.lock();
            state.next += 1;
            let number = state.next;
            let pages = pages(&bytes);
            state.gates.push(Gate { number, ino, pages, closed: false, passed: false });
            // Before any page is dropped: a request that did not see the gate came before that,
            // and the kernel waits for it when it drops its pages.
            self.count.fetch_add(1, Ordering::SeqCst);
            number
        };
        loop {
            drop_pages();
            let mut state = self.state.lock();
            let gate = state.of(number);
            if !std::mem::take(&mut gate.passed) {
                gate.closed = true;
                self.changed.notify_all();
                return number;
            }
        }
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
    pub fn pass(&self, ino: u64, bytes: Range<u64>) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let pages = pages(&bytes);
        let moment = Instant::now() + MOMENT;
        let (mut state, mut late) = (self.state.lock(), false);
        loop {
            let (mut any, mut closed) = (false, false);
            for gate in state.in_the_way(ino, &pages) {
                any = true;
                closed |= gate.closed;
            }
            if !any {
                return;
            }
            if closed {
                self.changed.wait(&mut state);
            } else if late {
                state.in_the_way(ino, &pages).for_each(|gate| gate.passed = true);
                return;
            } else {
                late = self.changed.wait_until(&mut state, moment).timed_out();
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
